"""How much two runs differ, with intervals: paired by request where both sent the same ones, else as independent runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vllmperf.metrics.difference import Difference, difference, paired_mean, paired_percentile
from vllmperf.metrics.estimates import estimates
from vllmperf.metrics.quantity import Quantity
from vllmperf.metrics.statistics import NS_PER_MS
from vllmperf.metrics.view import Completed, Floats

IN_BOTH = 0.9
"""Share of the requests of the larger run that must have been completed in both for pairs."""

Differences = dict[str, Difference]


def differences(
    first: Completed, second: Completed, wanted: Sequence[Quantity], is_paired: bool
) -> Differences:
    """By name; quantities that a run does not have are left out."""
    found = _independent(first, second, wanted)
    if is_paired and (pairs := Pairs.of(first, second)) is not None:
        by_request = [one for one in wanted if one.metric is not None and one.metric.of_request is not None]
        found |= {one.name: paired for one in by_request if (paired := pairs.difference(one)) is not None}
    return found


def _independent(first: Completed, second: Completed, wanted: Sequence[Quantity]) -> Differences:
    a, b = estimates(first, wanted), estimates(second, wanted)
    return {name: difference(a[name], b[name]) for name in a if name in b}


class Pairs:
    """Requests that both runs completed, one by one, in the order in which the first run sent them."""

    def __init__(
        self, sides: Sequence[Completed], rows: Sequence[NDArray[np.intp]], in_flight: Floats
    ) -> None:
        self.sides, self.rows, self.in_flight = sides, rows, in_flight

    @classmethod
    def of(cls, first: Completed, second: Completed) -> Pairs | None:
        """None where too many requests have no partner."""
        numbers = [side.requests["index"] for side in (first, second)]
        shared, in_first, in_second = np.intersect1d(numbers[0], numbers[1], return_indices=True)
        if len(shared) < max(IN_BOTH * max(map(len, numbers)), 1):
            return None
        order = np.argsort(first.requests["sent_ns"][in_first], kind="stable")
        rows = in_first[order], in_second[order]
        levels = [side.in_flight_at_send[chosen] for side, chosen in zip((first, second), rows, strict=True)]
        return cls((first, second), rows, (levels[0] + levels[1]) / 2)

    def difference(self, wanted: Quantity) -> Difference | None:
        """None for what is neither a mean nor a percentile, and where no request has a value."""
        assert wanted.metric is not None
        assert wanted.metric.of_request is not None
        values = [
            wanted.metric.of_request(side)[rows] / NS_PER_MS
            for side, rows in zip(self.sides, self.rows, strict=True)
        ]
        is_known = ~np.isnan(values[0]) & ~np.isnan(values[1])
        if not is_known.any():
            return None
        a, b, level = values[0][is_known], values[1][is_known], self.in_flight[is_known]
        if wanted.statistic == "mean":
            return paired_mean(a, b, in_flight=level)
        if wanted.percentile is None:
            return None
        return paired_percentile(a, b, wanted.percentile, in_flight=level)
