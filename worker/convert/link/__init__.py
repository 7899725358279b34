"""Between nodes: where a link really begins, and what subgraphs and primitives hand on."""
