"""Workflows that requests run by name, and the inputs that requests set."""
