"""What ComfyUI's nodes read and write, and what its cache knows of it."""
