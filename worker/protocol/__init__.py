"""What ComfyUI says, read alike by both backends: messages, outcomes, refusals."""
