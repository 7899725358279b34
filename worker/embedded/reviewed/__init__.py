"""Which of ComfyUI's node classes were reviewed for callers whom the operator does not know."""
