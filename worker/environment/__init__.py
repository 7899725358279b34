"""What a workflow needs besides itself, models and node packs: read from files, found here, and written into one file.

Nothing here fetches or installs by itself.
"""
