"""Frees memory between jobs, and keeps what one job takes within bounds."""
