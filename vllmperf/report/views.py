"""What shows which result: the one list behind repr(), notebooks and .plot() (vllmperf/shown.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from vllmperf.comparison.comparison import Comparison, Comparisons
from vllmperf.distribution import Distribution
from vllmperf.model.capacity import Capacity
from vllmperf.model.parameters import Fit
from vllmperf.model.sizing import Sizing
from vllmperf.own_error import SelfTest
from vllmperf.repeats import Repeats
from vllmperf.report import capacity, compare, fit, repeats, selftest, size, sweep
from vllmperf.report import html as pages
from vllmperf.report.sheet import Sheet
from vllmperf.report.startup import html as start_pages
from vllmperf.report.startup import json as start_json
from vllmperf.report.startup import table as start_table
from vllmperf.run import Run
from vllmperf.starts.log import schema
from vllmperf.starts.result import ParsedFile, Start
from vllmperf.sweeps.result import Measured, Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes


SHEETS: Mapping[type, Callable[[Any], Sheet]] = {
    Fit: fit.sheet,
    Sizing: size.sheet,
    Capacity: capacity.sheet,
    SelfTest: selftest.sheet,
    Repeats: repeats.sheet,
    Sweep: sweep.sheet,
}


def text(result: object) -> str:
    match result:
        case Comparison() | Comparisons():
            return compare.text(result)
        case Start():
            return start_table.text((result,))
        case ParsedFile():
            return start_table.text((result.start,))
    return _sheet(result).text()


def html(result: object) -> str:
    match result:
        case Run():
            return pages.of_run(result)
        case Comparison() | Comparisons():
            return compare.fragment(result)
        case Start():
            return start_pages.fragment((result,))
        case ParsedFile():
            return start_pages.fragment((result.start,))
    return _sheet(result).fragment()


def _sheet(result: object) -> Sheet:
    if type(result) not in SHEETS:
        raise _none(result)
    return SHEETS[type(result)](result)


def data(result: object) -> dict[str, Any]:
    match result:
        case Start():
            return start_json.start_object(result)
        case ParsedFile():
            return schema.to_json(result)
    raise _none(result)


def axes(result: object, ax: Axes | None, what: str = "") -> Axes:
    from vllmperf.report.plots import capacity as capacities
    from vllmperf.report.plots import fit as fits
    from vllmperf.report.plots import sizing as sizings
    from vllmperf.report.plots import sweep as sweeps
    from vllmperf.report.plots.distributions import cumulative
    from vllmperf.report.plots.figure import styled
    from vllmperf.report.startup.plot import waterfall

    match result:
        case Distribution():
            return cumulative(result, ax)
        case Start():
            return waterfall(result, ax)
        case Fit():
            return styled(lambda: fits.axes(result, ax))
        case Capacity():
            return styled(lambda: capacities.axes(result, ax))
        case Sizing():
            return styled(lambda: sizings.axes(result, ax))
        case Sweep():
            return sweeps.axes(result, what, ax)
        case Measured():
            return sweeps.of_point(result, what, ax)
    raise _none(result)


def _none(result: object) -> TypeError:
    return TypeError(f"report/views.py has no such view of a {type(result).__name__}")
