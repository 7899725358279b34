"""What ``scripts/plan_fleet`` is made of: the traffic, the model of an endpoint, the choices, table and plot."""
