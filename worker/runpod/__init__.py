"""Serves RunPod: sends heartbeats, takes jobs, and posts their progress and results."""
