"""Model files: those that workflows name, and those that lie on the volume."""
