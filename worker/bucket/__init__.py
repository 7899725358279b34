"""S3 buckets, and a job's uploads to them."""
