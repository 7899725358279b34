"""Encodes images as PNG, WebP or JPEG."""
