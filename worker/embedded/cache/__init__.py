"""ComfyUI's cache of node results: what it knows a node by, and the files of the nodes that it serves."""
