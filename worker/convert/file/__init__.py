"""The workflow as the file has it: its graphs, the ids of its nodes, and their order."""
