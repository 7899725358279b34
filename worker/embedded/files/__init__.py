"""Manages the files that ComfyUI's nodes read and write, and makes its cache respect them."""
