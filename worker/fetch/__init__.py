"""Fetches large files over HTTP: resumable, several at once, checked, and never over a file that is there.

It knows neither ComfyUI nor workflows. Who calls it says from where, to where, and which hosts may be asked.
"""
