"""Reads the logs of vLLM's starts: envelopes, lines, markers, attempts, phases."""
