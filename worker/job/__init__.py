"""What a caller sends → a ``Job``, and its input files."""
