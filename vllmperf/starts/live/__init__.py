"""Measures starts as they happen: pods of a cluster, or a command as a child."""
