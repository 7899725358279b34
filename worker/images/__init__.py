"""The formats in which pictures are saved."""
