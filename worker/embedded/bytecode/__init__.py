"""Code that Python had to compile, kept for later starts: ``BYTECODE_CACHE``."""
