"""The run file: written while a run goes, read by everything after it."""
