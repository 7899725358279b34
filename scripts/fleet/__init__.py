"""The parts of ``scripts/plan_fleet``: traffic, the model of an endpoint, choices, tables and plots."""
