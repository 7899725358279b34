"""Installs node packs with their requirements. Needs the standard library, pip, git and the sources of ``worker``."""
