"""The parts of ``scripts/review_nodes``."""
