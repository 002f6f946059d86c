"""HTTP over runs: the load generator as a service."""
