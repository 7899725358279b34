"""Turns a workflow as ComfyUI's editor saves it into the API graph that the editor's page sends to the server."""
