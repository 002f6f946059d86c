"""How results look. A result holds data and asks here to be shown; `report.views`, far above it, does the showing.

Results import no report. The face of the package says where the views are, and they are loaded when the first result is
shown (docs/shown.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Views(Protocol):
    """What shows results. Each raises TypeError for a result that has no such view."""

    def text(self, result: object) -> str:
        """The table that the command line prints, without colours."""

    def html(self, result: object) -> str:
        """A fragment of a page that brings its style along."""

    def data(self, result: object) -> dict[str, Any]:
        """The object that the command line prints with --json, of a result that is not such data itself."""

    def axes(self, result: object, ax: Axes | None, what: str = "") -> Axes:
        """A picture by matplotlib, on axes of yours or on new ones; what: which one, of a result that has several. Raises
        UsageError without matplotlib."""


def _nowhere() -> Views:
    raise RuntimeError("the face of the package has not said where the views are")


views: Callable[[], Views] = _nowhere
"""Where they are; the face of the package sets it."""


class Shown:
    """A result whose repr() is what the command line prints, and that a notebook shows as HTML."""

    __slots__ = ()

    def __repr__(self) -> str:
        return views().text(self)

    def _repr_html_(self) -> str:
        return views().html(self)
