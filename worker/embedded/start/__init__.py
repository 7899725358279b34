"""From settings to a ComfyUI that has started."""
