"""Makes ComfyUI tell more of a run: models that are loaded, and previews."""
