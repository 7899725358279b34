"""Runs, one after the other, whichever backend runs them: turns, limits of time, folders, a worker's life."""
