"""What ComfyUI says of a prompt, in types of this project. Both backends use it."""
