"""Finds the model files that a workflow names or the network volume has, and what is wrong with them."""
