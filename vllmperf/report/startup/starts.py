"""Starts in a notebook: a page as their picture, a DataFrame and plots on demand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from vllmperf.starts.result import Start

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


class Starts(tuple[Start, ...]):
    """Any starts: those of vllmperf.startup(), or of parsed logs.

    interrupted: a Ctrl-C ended the measurement, and these are the starts known until then.

    >>> Starts(interrupted=True).interrupted
    True
    """

    interrupted: bool

    def __new__(cls, starts: Iterable[Start] = (), *, interrupted: bool = False) -> Self:
        made = super().__new__(cls, starts)
        made.interrupted = interrupted
        return made

    def __str__(self) -> str:
        """The table that the command line prints."""
        from vllmperf.report.startup.table import text

        return text(self)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from vllmperf.report.startup.html import fragment

        return fragment(self)

    @property
    def phases(self) -> pd.DataFrame:
        """One row a start and phase, as a pandas DataFrame. UsageError without pandas."""
        from vllmperf.report.startup.dataframe import phases

        return phases(self)

    def to_dict(self) -> dict[str, object]:
        """As `vllmperf startup --json` prints it."""
        from vllmperf.report.startup.json import to_json

        return to_json(self)

    def plot(self, ax: Axes | None = None) -> Axes:
        """The waterfall of one start, a bar each of more. Gives matplotlib's Axes; UsageError without matplotlib."""
        from vllmperf.report.startup import plot

        return plot.waterfall(self[0], ax) if len(self) == 1 else plot.stacked(self, ax)

    def save_html(self, path: str | Path) -> Path:
        """Write one self-contained page. UsageError when it cannot be written."""
        from vllmperf.report.startup.html import page
        from vllmperf.whole_file import write_whole

        shown = page(self)
        write_whole(Path(path), shown, "replace")
        return Path(path)
