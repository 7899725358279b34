"""RunPod's endpoint API on this machine: a caller that works here works on RunPod."""
