"""Tells Prometheus about the worker and its jobs."""
