"""A ComfyUI server, over its HTTP API and its websocket."""
