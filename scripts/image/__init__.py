"""The scripts that the container image holds besides the worker, and the programs that check the image."""
