"""Starts stock ComfyUI with its own page in place of the worker, with the worker's models, node packs and flags."""
