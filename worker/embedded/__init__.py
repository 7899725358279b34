"""Runs ComfyUI in this process. No other part of the worker imports ComfyUI's modules."""
