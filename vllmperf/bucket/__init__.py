"""Results in an S3 bucket: places, uploads that are confirmed, and an outbox that keeps what waits."""
