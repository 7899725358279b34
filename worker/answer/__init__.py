"""Turns what a graph produced into the answer that a caller gets."""
