"""What is made of the measurements: statistics, JSON, tables and plots."""
