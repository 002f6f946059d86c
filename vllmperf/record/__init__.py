"""The run file: written while a run goes, merged, read by everything after it."""

from vllmperf.record.merging import merge

__all__ = ["merge"]
