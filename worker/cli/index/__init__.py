"""``python -m worker index``: finds out what each node pack does when it is imported."""
