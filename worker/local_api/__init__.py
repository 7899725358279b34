"""RunPod's endpoint API on this machine: what works here works there."""
