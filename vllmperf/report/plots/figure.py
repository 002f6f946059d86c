"""Figures that no backend and no pyplot knows of: a notebook shows them, save() writes them, nothing has to be closed.

Importing this raises UsageError without matplotlib.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

from vllmperf.errors import UsageError

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError:
    raise UsageError("plots need matplotlib: pip install 'vllmperf[plots]'") from None

STYLE: dict[Any, Any] = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
Drawn = TypeVar("Drawn")
Given = ParamSpec("Given")


class Picture(Figure):
    """A figure that a notebook shows as it is."""

    def _repr_png_(self) -> bytes:
        data = io.BytesIO()
        self.savefig(data, format="png", dpi=100, bbox_inches="tight")
        return data.getvalue()


class PictureAxes(Axes):
    """Axes that a notebook shows with their figure."""

    def _repr_png_(self) -> bytes:
        whole = self.get_figure(root=True)
        assert isinstance(whole, Picture)
        return whole._repr_png_()


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = None) -> Picture:
    """An empty figure of this many inches."""
    return Picture(figsize=(width, height), layout=layout)


def new_axes(width: float, height: float) -> Axes:
    """Axes on a figure of their own."""
    return new_figure(width, height, "constrained").add_subplot(axes_class=PictureAxes)


def new_panels(width: float, height: float, heights: Sequence[float]) -> tuple[Picture, Sequence[Axes]]:
    """A figure of panels one below the other that share x. A notebook shows the whole for each of them."""
    whole = new_figure(width, height)
    kind = {"axes_class": PictureAxes}
    return whole, list(whole.subplots(len(heights), 1, sharex=True, height_ratios=heights, subplot_kw=kind))


def styled(draw: Callable[[], Drawn]) -> Drawn:
    """What draw() draws, in the style of our pictures."""
    with mpl.rc_context(STYLE):
        return draw()


def in_style(draw: Callable[Given, Drawn]) -> Callable[Given, Drawn]:
    """For functions that draw: always in the style of our pictures."""

    @functools.wraps(draw)
    def drawn(*args: Given.args, **settings: Given.kwargs) -> Drawn:
        return styled(lambda: draw(*args, **settings))

    return drawn


def save(figure: Figure, path: Path) -> None:
    """Write a picture; the name's ending says of which kind."""
    figure.savefig(path, dpi=150, bbox_inches="tight")
