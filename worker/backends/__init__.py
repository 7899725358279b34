"""What runs graphs: one module for each way to do it."""
