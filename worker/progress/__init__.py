"""Follows how far a job is, and shows it in a terminal or in a notebook."""
