"""Modules that stay empty until something of them is used."""
