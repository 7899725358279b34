"""Watches the node that runs: whether it moves, what it waits for, and that it stops."""
