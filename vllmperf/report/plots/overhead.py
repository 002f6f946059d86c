"""Where the client's TTFT comes from: the server's own, and what router, proxy and network add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from vllmperf.numbers import brief, fixed
from vllmperf.report.plots import figure
from vllmperf.report.plots.bars import places_for
from vllmperf.report.plots.palette import COLOURS, DARK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SERVER, OUTSIDE = COLOURS[0], COLOURS[1]
ROOM = 1.7
"""Over the longest bar: for the words behind it."""


@figure.in_style
def overhead(
    runs: Mapping[str, Sequence[tuple[float, float]]],
    ax: Axes | None = None,
    label: str = "mean TTFT, ms",
) -> Axes:
    """A bar for each name as long as the client's TTFT, in two parts: the server's own TTFT and the rest.

    runs: by name, for each run the server's and the client's TTFT in ms. Bars show means over the runs, the words behind them
    also the least and the largest rest of a run.
    """
    ax = ax if ax is not None else figure.new_axes(7, 1.3 + 0.5 * len(runs))
    longest = 0.0
    for place, pairs in enumerate(runs.values()):
        server, client = (fmean(part) for part in zip(*pairs, strict=True))
        rest = [seen - own for own, seen in pairs]
        inside = min(server, client)
        longest = max(longest, server, client)
        ax.barh(place, inside, height=0.6, color=SERVER)
        ax.barh(place, max(client - inside, 0.0), left=inside, height=0.6, color=OUTSIDE)
        beside: dict[str, Any] = {
            "xytext": (5, 0),
            "textcoords": "offset points",
            "va": "center",
            "fontsize": 8,
            "color": DARK,
        }
        ax.annotate(_words(server, client, rest), (max(server, client), place), **beside)
    ax.set_yticks(range(len(runs)), list(runs))
    ax.invert_yaxis()
    ax.set_xlim(0, ROOM * (longest or 1.0))
    ax.set_xlabel(label)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    _legend(ax)
    return ax


def _words(server: float, client: float, rest: Sequence[float]) -> str:
    """31.2 + 0.62 ms, 1.9 % (0.55 … 0.70)"""
    mean = fmean(rest)
    sign = "+" if mean >= 0 else "−"
    share = f", {brief(100 * mean / client, 2)} %" if client > 0 and mean >= 0 else ""
    places = places_for([mean], 2)
    ends = f" ({fixed(min(rest), places)} … {fixed(max(rest), places)})" if len(rest) > 1 else ""
    return f"{fixed(server, places_for([server], 3))} {sign} {fixed(abs(mean), places)} ms{ends}{share}"


def _legend(ax: Axes) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(color=SERVER, label="the server's own"),
        Patch(color=OUTSIDE, label="the rest: router, proxy, network"),
    ]
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), frameon=False, ncols=2, fontsize=8)
