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
PARTS: dict[str, dict[str, Any]] = {
    "the server's own": {"facecolor": SERVER},
    "either: known to a bucket": {"facecolor": "white", "edgecolor": SERVER, "hatch": "////"},
    "the rest: router, proxy, network": {"facecolor": OUTSIDE},
}
ROOM = 1.7
"""Over the longest bar: for the words behind it."""
FirstToken = tuple[float, float, float]
"""Of a run, in ms: the client's TTFT, and the least and the most that the server's own may be; equal where it is known."""


@figure.in_style
def overhead(
    runs: Mapping[str, Sequence[FirstToken]], ax: Axes | None = None, label: str = "mean TTFT, ms"
) -> Axes:
    """A bar for each name as long as the client's TTFT, in parts: the server's own TTFT, what may be either, and the rest.

    Bars show means over the runs; the words behind them the server's part, the rest, the least and the largest rest of a run, and
    the share of the rest.
    """
    ax = ax if ax is not None else figure.new_axes(7, 1.3 + 0.5 * len(runs))
    ends = {name: _ends(each) for name, each in runs.items()}
    for place, (name, each) in enumerate(runs.items()):
        client = fmean(one[0] for one in each)
        for start, end, look in zip((0.0, *ends[name]), (*ends[name], client), PARTS.values(), strict=True):
            ax.barh(place, end - start, left=start, height=0.6, linewidth=0, **look)
        beside: dict[str, Any] = {
            "xytext": (5, 0),
            "textcoords": "offset points",
            "va": "center",
            "fontsize": 8,
            "color": DARK,
        }
        ax.annotate(_words(each), (client, place), **beside)
    ax.set_yticks(range(len(runs)), list(runs))
    ax.invert_yaxis()
    ax.set_xlim(0, ROOM * (max((one[0] for each in runs.values() for one in each), default=0.0) or 1.0))
    ax.set_xlabel(label)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    _legend(ax, any(low < high for low, high in ends.values()))
    return ax


def _ends(runs: Sequence[FirstToken]) -> tuple[float, float]:
    """Where the server's own ends at the least and at the most, within the client's."""
    client, low, high = (fmean(part) for part in zip(*runs, strict=True))
    return min(low, client), min(high, client)


def _words(runs: Sequence[FirstToken]) -> str:
    """31.2 + 0.62 ms (0.55 … 0.70), 1.9 %; with buckets: 24.6 ms, the server's 20.0 … 40.0"""
    client, low, high = (fmean(part) for part in zip(*runs, strict=True))
    places = places_for([client], 3)
    if low < high:
        return f"{fixed(client, places)} ms, the server's {fixed(low, places)} … {fixed(high, places)}"
    rest = [seen - own for seen, own, _ in runs]
    mean = fmean(rest)
    fine = places_for([mean], 2)
    ends = f" ({_signed(min(rest), fine)} … {_signed(max(rest), fine)})" if len(rest) > 1 else ""
    share = f", {brief(100 * mean / client, 2)} %" if client > 0 and mean >= 0 else ""
    return f"{fixed(low, places)} {'+' if mean >= 0 else '−'} {fixed(abs(mean), fine)} ms{ends}{share}"


def _signed(value: float, places: int) -> str:
    return fixed(value, places).replace("-", "−")


def _legend(ax: Axes, has_buckets: bool) -> None:
    from matplotlib.patches import Patch

    parts = [(name, look) for name, look in PARTS.items() if has_buckets or not name.startswith("either")]
    handles = [Patch(label=name, **look) for name, look in parts]
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), frameon=False, ncols=3, fontsize=8)
