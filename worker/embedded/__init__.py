"""Runs ComfyUI in this process. No other folder uses ComfyUI's modules."""
