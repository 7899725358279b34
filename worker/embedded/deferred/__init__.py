"""Imports what the start of ComfyUI does not need only when something uses it."""
