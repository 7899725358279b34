"""The files that a job brings: decodes, fetches, recognises and stages them."""
