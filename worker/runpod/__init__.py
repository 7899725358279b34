"""RunPod: its loop, its posts, and the process that serves it."""
