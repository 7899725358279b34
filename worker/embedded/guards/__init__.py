"""Keeps what a caller sends from doing harm in ComfyUI, without a change of its files."""
