"""Turns the measurements into statistics, JSON, tables and plots."""
