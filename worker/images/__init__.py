"""Image formats and their encoders."""
