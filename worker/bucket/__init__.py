"""An S3 bucket, and a job's uploads into it."""
