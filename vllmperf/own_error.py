"""What this machine adds to latencies, and from which load on it does: runs against the simulator, held against its truth."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vllmperf import temporary
from vllmperf.errors import CheckError, UsageError
from vllmperf.loadgen import known_error
from vllmperf.loadgen.environment import environment
from vllmperf.loadgen.recorded import record_run
from vllmperf.loadgen.request_id import number_of
from vllmperf.loadgen.task import Task
from vllmperf.run import Run
from vllmperf.shown import Shown

NS_PER_MS = 1e6
POINT_S = 2.0
"""How long a point is loaded, about."""
TTFT_MS = 50
MOST_EVENTS_PER_S = 10_000
"""At the points of many streams: what a stream adds is asked for there, not what a full core does."""
STREAMS = (1, 10, 100, 500, 1000, 2000, 5000)
EVENTS_PER_S = (12_500, 25_000, 50_000, 100_000, 200_000)
EVENT_STREAMS = 500
REQUESTS_PER_S = (250, 500, 1000, 2000, 4000, 8000)
HONEST_MS = 1.0
"""A client that adds more than this at the 99th percentile, or sends so late, no longer measures the server."""
HELD = 0.95
"""Share of the asked rate that must really have come."""
PREFIX = "selftest-"


class Added(NamedTuple):
    """What the client adds to one latency, in ms: measured minus true, of the same requests (or gaps)."""

    mean: float
    p99: float


@dataclass(frozen=True, slots=True)
class Point:
    """One load. streams: asked for, None in an open loop. events_per_s, requests_per_s: what the server really did.

    lag_p99_ms: how late requests left; None in a closed loop. shared: share of the events that came in one read with
    another one.
    """

    streams: int | None
    asked_per_s: float
    events_per_s: float
    requests_per_s: float
    ttft_ms: Added
    itl_ms: Added
    lag_p99_ms: float | None
    shared: float | None

    @property
    def is_honest(self) -> bool:
        """No figure is off by more than HONEST_MS."""
        return max(self.ttft_ms.p99, self.itl_ms.p99, self.lag_p99_ms or 0.0) <= HONEST_MS

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ttft_ms": self.ttft_ms._asdict(), "itl_ms": self.itl_ms._asdict()}


class Limit(NamedTuple):
    """A rate per second up to which the client was honest (None: at none that was tried), and why not more was seen:
    "client", "simulator" (it could not do more beside the client), or None at the end of the ladder."""

    per_s: float | None
    stopped_by: str | None


@dataclass(frozen=True, slots=True, repr=False)
class SelfTest(Shown):
    """What this machine adds to latencies, at three ladders of loads: streams, events/s and requests/s.

    at: when, UTC. took_s: how long the test took. timer_ms: how late the requests of a light open loop left, p50, p99 and the
    latest.

    >>> light = Point(1, 20.0, 20.0, 1.0, ttft_ms=Added(0.01, 0.02), itl_ms=Added(0.0, 0.01), lag_p99_ms=None, shared=0.0)
    >>> SelfTest("2026-12-01T10:00:00Z", {}, streams=(light,), events=(), requests=(), timer_ms={}, took_s=60.0).is_honest
    True
    """

    at: str
    environment: dict[str, object]
    streams: tuple[Point, ...]
    events: tuple[Point, ...]
    requests: tuple[Point, ...]
    timer_ms: dict[str, float]
    took_s: float

    @property
    def events_limit(self) -> Limit:
        """Up to how many events/s the client was honest."""
        return _limit(self.events, lambda point: point.events_per_s)

    @property
    def requests_limit(self) -> Limit:
        """Up to how many requests/s the client was honest."""
        return _limit(self.requests, lambda point: point.requests_per_s)

    @property
    def is_honest(self) -> bool:
        """Whether the machine measures one stream rightly: else nothing that it measures can be relied on."""
        return self.streams[0].is_honest

    def to_dict(self) -> dict[str, object]:
        """Everything as JSON has it."""
        ladders = {name: [point.to_dict() for point in getattr(self, name)] for name in LADDERS}
        limits = {name: getattr(self, name)._asdict() for name in ("events_limit", "requests_limit")}
        own = {name: getattr(self, name) for name in ("at", "environment", "timer_ms", "took_s")}
        return {**own, **ladders, **limits}


LADDERS = ("streams", "events", "requests")


def measured(show: Callable[[str], None] = lambda _: None, point_s: float = POINT_S) -> SelfTest:
    """Load the simulator at each point and keep what was found for later runs. point_s: seconds a point, about.

    The simulator runs in this process and shares the machine with the client, as with `bench --sim`; the truth is what
    it wrote down, so its own lateness does not count.
    """
    began = time.monotonic()
    streams = tuple(_streams(show, point_s))
    events = tuple(_ladder(show, EVENTS_PER_S, lambda rate: _events(rate, point_s), lambda p: p.events_per_s))
    requests = tuple(
        _ladder(show, REQUESTS_PER_S, lambda rate: _requests(rate, point_s), lambda p: p.requests_per_s)
    )
    found = SelfTest(
        at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        environment=environment(),
        streams=streams,
        events=events,
        requests=requests,
        timer_ms=_timer(point_s),
        took_s=time.monotonic() - began,
    )
    known_error.keep(found.to_dict())
    return found


def _streams(show: Callable[[str], None], point_s: float) -> Iterator[Point]:
    for n in STREAMS:
        show(f"selftest: {n:,} streams")
        itl_ms = max(10.0, n / MOST_EVENTS_PER_S * 1e3)
        try:
            yield _closed(n, itl_ms, point_s)
        except UsageError:
            if n == STREAMS[0]:
                raise
            return  # too few descriptors or ports for so many


def _events(rate: float, point_s: float) -> Point:
    return _closed(EVENT_STREAMS, EVENT_STREAMS / rate * 1e3, point_s)


def _closed(streams: int, itl_ms: float, point_s: float) -> Point:
    """Each stream is used twice, so that connecting is not all there is to see."""
    output_len = max(2, round((point_s * 1e3 / 2 - TTFT_MS) / itl_ms))
    sim = {"ttft_ms": TTFT_MS, "itl_ms": itl_ms}
    rounds = 2 if streams > 1 else max(2, round(point_s * 1e3 / (TTFT_MS + itl_ms * 10)))
    output_len = output_len if streams > 1 else 10
    load = {"max_concurrency": streams, "num_prompts": rounds * streams, "output_len": output_len}
    return _point(sim, load, streams, streams / itl_ms * 1e3)


def _requests(rate: float, point_s: float) -> Point:
    load = {
        "request_rate": rate,
        "arrival": "constant",
        "num_prompts": round(rate * point_s),
        "output_len": 2,
    }
    return _point({"ttft_ms": 10, "itl_ms": 5}, load, None, rate)


def _ladder(
    show: Callable[[str], None],
    rates: tuple[int, ...],
    at: Callable[[float], Point],
    came: Callable[[Point], float],
) -> Iterator[Point]:
    """Points of growing rates, until the client is no longer honest or the rate did not come."""
    for rate in rates:
        show(f"selftest: {rate:,} a second")
        point = at(rate)
        if not point.is_honest or came(point) < HELD * rate:
            again = at(rate)  # a neighbour may have taken the core: one bad moment is no limit
            point = min(point, again, key=lambda one: (not one.is_honest, -came(one)))
        yield point
        if not point.is_honest or came(point) < HELD * rate:
            return


def _limit(points: tuple[Point, ...], came: Callable[[Point], float]) -> Limit:
    honest = [came(point) for point in points if point.is_honest]
    last = points[-1]
    why = "client" if not last.is_honest else "simulator" if came(last) < HELD * last.asked_per_s else None
    return Limit(max(honest, default=None), why)


def _timer(point_s: float) -> dict[str, float]:
    with temporary.new_folder("vllmperf-selftest-") as folder:
        load = {
            "request_rate": 100,
            "arrival": "constant",
            "num_prompts": round(100 * point_s),
            "output_len": 1,
        }
        run = _run({"ttft_ms": 5, "itl_ms": 5}, load, Path(folder))
        late = run.requests["sent_ns"] - run.requests["scheduled_ns"]
        p50, p99 = np.percentile(late / NS_PER_MS, [50, 99])
        return {"p50": float(p50), "p99": float(p99), "max": float(late.max() / NS_PER_MS)}


# ---- one point ----


def _point(sim: dict[str, Any], load: dict[str, Any], streams: int | None, asked_per_s: float) -> Point:
    with temporary.new_folder("vllmperf-selftest-") as name:
        folder = Path(name)
        run = _run(sim, load, folder)
        truth = Truth(folder / "truth")
        summary = run.summary
        lag = run.requests["sent_ns"] - run.requests["scheduled_ns"]
        measured = run.requests["ttft_ms"][truth.numbers]
        return Point(
            streams=streams,
            asked_per_s=asked_per_s,
            events_per_s=truth.events_per_s,
            requests_per_s=truth.requests_per_s,
            ttft_ms=_added(measured - truth.ttft_ms),
            itl_ms=_added(_gap_errors_ms(run, truth)),
            lag_p99_ms=float(np.percentile(lag / NS_PER_MS, 99)) if streams is None else None,
            shared=summary["client"]["coalesced_share"],
        )


def _run(sim: dict[str, Any], load: dict[str, Any], folder: Path) -> Run:
    task = Task.of(
        {
            "simulator": {**sim, "truth": str(folder / "truth")},
            "input_len": 16,
            "request_id_prefix": PREFIX,
            "server_metrics": False,
            **load,
        }
    )
    run = record_run(task, folder / "run.vllmperf")
    if run.recording.state == "interrupted":
        raise KeyboardInterrupt
    outcomes = run.summary["requests"]["outcomes"]
    if list(outcomes) != ["completed"]:
        raise CheckError(f"the selftest's requests to its own simulator did not all complete: {outcomes}")
    return run


def _gap_errors_ms(run: Run, truth: Truth) -> NDArray[np.floating[Any]]:
    """Measured minus true of each gap. A request that came in one read has no gaps of its own and is left out."""
    offsets, gaps_ms = run.recording.gap_request, run.recording.gaps_ns / NS_PER_MS
    pairs = (
        (gaps_ms[offsets[number] : offsets[number + 1]], true)
        for number, true in zip(truth.numbers, truth.itl_ms, strict=True)
    )
    errors = [measured - true for measured, true in pairs if len(measured) == len(true)]
    return np.concatenate(errors) if errors else np.zeros(0)


def _added(errors_ms: NDArray[np.floating[Any]]) -> Added:
    """p99: of the absolute error."""
    if not len(errors_ms):
        return Added(math.inf, math.inf)
    return Added(float(errors_ms.mean()), float(np.percentile(np.abs(errors_ms), 99)))


class Truth:
    """What the simulator really did, by its truth file, in the order of `numbers`, those of the requests.

    TTFT: from the kernel's stamp of the request to the clock just before the first write. ITL: between writes, an array
    a request.
    """

    def __init__(self, path: Path) -> None:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        rows = [row for row in rows if row["path"].endswith("completions")]
        self.numbers = np.array([number_of(row["request_id"], PREFIX) for row in rows])
        arrived = np.array([row["arrived_real_ns"] - row["real_minus_mono_ns"] for row in rows])
        written = [np.array(row["written_mono_ns"]) for row in rows]
        self.ttft_ms = (np.array([times[0] for times in written]) - arrived) / NS_PER_MS
        self.itl_ms = [np.diff(times) / NS_PER_MS for times in written]
        events = np.sort(np.concatenate(written))
        self.events_per_s = _steady_rate(events)
        self.requests_per_s = _steady_rate(np.sort(arrived))


def _steady_rate(times_ns: NDArray[np.int64]) -> float:
    """Events per second over the middle half of them: neither ramp nor drain."""
    quarter = len(times_ns) // 4
    low, high = times_ns[quarter], times_ns[-1 - quarter]
    return float((len(times_ns) - 1 - 2 * quarter) / max(high - low, 1) * 1e9)
