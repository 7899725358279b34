"""What a node pack does when it is imported: ``python -m worker index`` compares the process before and after."""
