"""``python -m worker prepare``: says what files need, fetches models, and has node packs installed."""
