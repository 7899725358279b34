"""The backend that is a client of a ComfyUI server elsewhere."""
