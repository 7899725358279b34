"""Installs node packs with their requirements. Needs the standard library, pip and git alone."""
