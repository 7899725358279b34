"""Patches ComfyUI in memory, so that what a caller sends does no harm there."""
