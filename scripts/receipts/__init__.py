"""Draws the metrics of an answer."""
