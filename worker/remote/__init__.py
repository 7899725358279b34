"""Runs graphs on a ComfyUI server elsewhere, as its client."""
