"""The arrays of a vLLM result written with --save-detailed, one entry a request, and the figures that follow from them.

As calculate_metrics in vLLM's benchmarks (0.6.4 to 0.33): statistics are of completed requests, gaps of all of them together,
standard deviations are of the population, percentiles linear. TPOT and E2EL need `latencies`, which vLLM up to 0.8 does not
write. TPOT of our own files does not follow from the arrays: it is by choice, and leaves out an answer that came in one read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vllmperf.metrics.definitions import METRICS
from vllmperf.metrics.entries import Entries, Recount
from vllmperf.numbers import measured

ARRAYS = (
    *("input_lens", "output_lens", "ttfts", "itls", "latencies", "start_times", "queue_times"),
    *("generated_texts", "errors"),
)
NUMBERS = ("input_lens", "output_lens", "ttfts", "latencies")
MS = 1000.0
Floats = NDArray[np.float64]


def entries_of(data: Mapping[str, Any], metrics: Mapping[str, Mapping[str, Any] | None]) -> Entries | None:
    """metrics: the rows that the file states, by key. None for a file without arrays."""
    arrays = {name: data[name] for name in ARRAYS if isinstance(data.get(name), list)}
    if not arrays:
        return None
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        return Entries(lengths, None, {})
    is_done = _completed(data, arrays)
    bad = [name for name in NUMBERS if name in arrays and not all(map(_is_time, arrays[name]))]
    if not all(isinstance(gaps, list) and all(map(_is_time, gaps)) for gaps in arrays.get("itls", ())):
        bad.append("itls")
    if is_done is None or bad:
        return Entries(lengths, None if is_done is None else sum(is_done), {}, tuple(bad))
    done = {
        name: [one for one, ok in zip(array, is_done, strict=True) if ok] for name, array in arrays.items()
    }
    if "tool" in data:
        metrics = {key: row for key, row in metrics.items() if key != "tpot_ms"}
    return Entries(lengths, sum(is_done), {**_totals(done), **_statistics(done, metrics)})


def _is_time(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and measured(value) is not None


def _completed(data: Mapping[str, Any], arrays: Mapping[str, list[Any]]) -> list[bool] | None:
    """Which requests completed; None where nothing says it. A status line without a reason leaves the error of a failed request
    empty; its output length is then 0, and no token came."""
    if "errors" not in arrays:
        all_done = [True] * len(next(iter(arrays.values())))
        return all_done if len(all_done) == data.get("completed") else None
    no_error = [not error for error in arrays["errors"]]
    if sum(no_error) == data.get("completed") or not {"ttfts", "output_lens"} <= arrays.keys():
        return no_error
    came = [bool(ttft or n) for ttft, n in zip(arrays["ttfts"], arrays["output_lens"], strict=True)]
    with_tokens = [a and b for a, b in zip(no_error, came, strict=True)]
    return with_tokens if sum(with_tokens) == data.get("completed") else no_error


def _totals(done: Mapping[str, list[Any]]) -> dict[str, Recount]:
    named = (("tokens.prompt", "input_lens"), ("tokens.output", "output_lens"))
    return {path: Recount(sum(done[name]), 0.0) for path, name in named if name in done}


def _statistics(
    done: Mapping[str, list[Any]], metrics: Mapping[str, Mapping[str, Any] | None]
) -> dict[str, Recount]:
    found: dict[str, Recount] = {}
    for metric in METRICS:
        row, times = metrics.get(metric.key), _times_ms(metric.key, done)
        if row is None or times is None:
            continue
        values, half = times
        for name in row:
            of = _statistic(name)
            if of is not None:
                found[f"metrics.{metric.key}.{name}"] = Recount(of(values) if len(values) else 0.0, half)
    return found


def _statistic(name: str) -> Callable[[Floats], float] | None:
    if name in ("mean", "std"):
        return lambda values: float(getattr(values, name)())
    try:
        share = float(name.removeprefix("p"))
    except ValueError:
        return None
    is_share = name.startswith("p") and 0 <= share <= 100
    return (lambda values: float(np.percentile(values, share))) if is_share else None


def _times_ms(key: str, done: Mapping[str, list[Any]]) -> tuple[Floats, float] | None:
    """A metric's values in ms, and by how much each may be off as it was printed; None where an array is missing."""
    if key == "ttft_ms" and "ttfts" in done:
        return _array(done["ttfts"]), _half_ms(done["ttfts"])
    if key == "itl_ms" and "itls" in done:
        gaps = list(chain.from_iterable(done["itls"]))
        return _array(gaps), _half_ms(gaps)
    if key == "e2el_ms" and "latencies" in done:
        return _array(done["latencies"]), _half_ms(done["latencies"])
    if key == "tpot_ms" and {"latencies", "ttfts", "output_lens"} <= done.keys():
        tokens = np.asarray(done["output_lens"], np.float64)
        several = tokens > 1
        after_ms = (_array(done["latencies"]) - _array(done["ttfts"]))[several]
        half = _half_ms(done["latencies"]) + _half_ms(done["ttfts"])
        return after_ms / (tokens[several] - 1), half
    return None


def _array(seconds: list[float]) -> Floats:
    return np.asarray(seconds, np.float64) * MS


def _half_ms(seconds: Iterable[float]) -> float:
    """Half the last digit of the longest number."""
    halves = [half_digit(value) for value in seconds if value]
    return min(halves, default=0.0) * MS


def half_digit(value: float) -> float:
    """Half the last digit that JSON shows; 0 for a whole number and what is none."""
    if not isinstance(value, float) or not math.isfinite(value):
        return 0.0
    return 0.5 * 10.0 ** int(Decimal(repr(value)).as_tuple().exponent)
