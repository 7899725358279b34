"""The only door into ComfyUI's modules: find a tree, boot it in this process, run graphs, bridge its versions."""
