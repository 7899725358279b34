"""Node classes whose files are loaded when a class of theirs is asked for."""
