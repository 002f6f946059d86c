"""What a server says of itself at /metrics, while a run goes."""
