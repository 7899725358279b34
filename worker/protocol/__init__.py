"""Turns what ComfyUI says about a prompt into this project's types, for both backends."""
