"""What people see of starts: table, waterfall, HTML, CSV, comparison. Pure functions of Start objects."""

from vllmperf.report.startup.starts import Starts

__all__ = ["Starts"]
