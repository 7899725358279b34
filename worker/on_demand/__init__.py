"""Fetches models that jobs bring by their addresses, and keeps them for later jobs: ``MODEL_SOURCES``."""
