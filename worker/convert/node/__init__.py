"""One node: what its class declares, its widgets and their values, and what does not fit."""
