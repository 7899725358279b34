"""git as tests run it: with a name, and with a default branch, whatever the machine has."""

from __future__ import annotations

GIT = [
    "/usr/bin/env",
    "git",
    "-c",
    "user.name=test",
    "-c",
    "user.email=test@example.com",
    "-c",
    "init.defaultBranch=main",
]
