"""Model files: which ones a workflow names, which ones are on the network volume, and what is wrong with them."""
