"""Models that RunPod has cached for the endpoint, in the layout of Hugging Face's own cache."""
