"""Uploads a job's files to an S3 bucket."""
