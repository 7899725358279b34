"""Compares a stock ComfyUI server with the worker: the program behind ``scripts/compare_packs``."""
