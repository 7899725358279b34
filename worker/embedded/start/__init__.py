"""Starts ComfyUI in this process, as the settings say."""
