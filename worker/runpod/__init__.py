"""Serving RunPod: a process with a heartbeat, a loop that takes jobs, and the posts of their progress and results."""
