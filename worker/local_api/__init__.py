"""Serves RunPod's endpoint API on this machine, so that a caller that works here works on RunPod."""
