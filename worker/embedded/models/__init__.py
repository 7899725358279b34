"""Follows ComfyUI while it reads model files and brings models to the device."""
