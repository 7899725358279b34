"""``python -m worker check``: prints settings and what a job would find here, and fails where none could run."""
