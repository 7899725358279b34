"""Measures one job: how long each part of it took, what it read, and what it used."""
