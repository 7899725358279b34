"""From what a graph produced to the answer that a caller gets."""
