"""The page at ``/`` of the local API, on which a browser tries workflows. Its files are in ``static``."""
