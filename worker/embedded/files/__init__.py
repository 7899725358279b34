"""Manages the files that ComfyUI's nodes read and write."""
