"""Turns what a caller sends into a ``Job`` and its input files."""
