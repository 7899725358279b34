"""The contenders that are compared, and their processes."""
