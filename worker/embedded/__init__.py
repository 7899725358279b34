"""The only door into ComfyUI's modules: it runs in this process."""
