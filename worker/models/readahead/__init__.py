"""Reads the model files of a workflow into the page cache before ComfyUI asks for them: ``MODEL_READAHEAD``.

``names`` finds what a workflow names, in the order of need. ``assumed`` and ``known`` find the files, before and after
ComfyUI is loaded. ``page_cache`` asks the kernel what is there, and ``reader`` reads the rest with many threads.
``read_ahead`` puts these together, one reading for each job.
"""
