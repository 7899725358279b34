"""Installs node packs with their requirements. It needs the standard library, pip, git and ``worker``'s sources."""
