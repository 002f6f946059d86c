"""Starts of servers: what a log tells of them (`log`), and how they are measured (`live`)."""
