"""What is in the image beside the worker, and what looks at the image."""
