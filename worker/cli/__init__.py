"""The command line: one module for each command, their options, and the exit codes."""
