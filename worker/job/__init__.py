"""From what a caller sends to a ``Job``, and its input files."""
