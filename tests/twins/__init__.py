"""Slow, obvious versions of the algorithms in C: what the tests hold those against."""
