"""Rate types: which strategies run one after another, and when the requests of each leave.

A profile is what the report calls so: synchronous, concurrent, throughput, async (constant or poisson), sweep.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vllmperf.errors import UsageError
from vllmperf.loadgen.schedule import Schedule

RATE_TYPES = ("synchronous", "concurrent", "throughput", "constant", "poisson", "async", "sweep")
SEED = 42
MOST_TIMES = 50_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """One benchmark's load. max_concurrency: None for the environment's."""

    type: str
    streams: int = 1
    rate: float | None = None
    max_concurrency: int | None = None
    burst: bool = False
    seed: int = SEED

    def to_dict(self, start_time: float) -> dict[str, Any]:
        """args.strategy of the report."""
        found: dict[str, Any] = {"type_": self.type, "start_time": start_time}
        if self.type == "concurrent":
            found["streams"] = self.streams
        if self.type in ("throughput", "constant", "poisson"):
            found["max_concurrency"] = self.max_concurrency
        if self.rate is not None:
            found |= {"rate": self.rate, "initial_burst": self.burst}
        if self.type == "poisson":
            found["random_seed"] = self.seed
        return found

    def limit(self, usual: int) -> int:
        """How many requests may be open at once."""
        if self.type in ("synchronous", "concurrent"):
            return self.streams
        return self.max_concurrency or usual

    def schedule(self, max_requests: int | None, max_seconds: float | None) -> Schedule:
        """How many requests, and their times where they have times of their own."""
        if self.rate is None:
            return Schedule(max_requests, None)
        if max_seconds is None and max_requests is None:
            raise ValueError("a schedule needs an end")
        times_s = self.times_s(max_requests, math.inf if max_seconds is None else max_seconds)
        times_ns: NDArray[np.int64] = np.rint(times_s * 1e9).astype(np.int64)
        return Schedule(len(times_ns), iter([times_ns]))

    def times_s(self, most: int | None, end_s: float) -> NDArray[np.float64]:
        """Times in s from the start, those before end_s, at most so many."""
        many = MOST_TIMES if most is None else most
        if self.rate is not None and self.rate * min(end_s, 1e9) > many == MOST_TIMES:
            raise UsageError(
                f"--rate {self.rate:g} for {end_s:g} s is more than {MOST_TIMES} requests: lower it"
            )
        times = self._poisson_s() if self.type == "poisson" else self._constant_s()
        return np.fromiter(_until(islice(times, many), end_s), dtype=np.float64)

    def _constant_s(self) -> Iterator[float]:
        """Request i at i / rate; with the burst floor(rate) requests at once and then from 1 / rate on."""
        rate = self.rate or 1.0
        if self.burst:
            yield from [0.0] * math.floor(rate)
        number = 1 if self.burst else 0
        while True:
            yield number / rate
            number += 1

    def _poisson_s(self) -> Iterator[float]:
        """Drawn as guidellm draws them: Python's generator, exponential gaps."""
        rate, generator, at = self.rate or 1.0, random.Random(self.seed), 0.0
        yield from [0.0] * (math.floor(rate) if self.burst else 1)
        while True:
            at += generator.expovariate(rate)
            yield at


def _until(times: Iterator[float], end_s: float) -> Iterator[float]:
    for time_s in times:
        if time_s >= end_s:
            return
        yield time_s


@dataclass
class Profile:
    """The strategies of a command, and what those that ran have measured."""

    type: str
    strategies: list[Strategy]
    size: int = 0
    swept: str = "constant"
    burst: bool = False
    seed: int = SEED
    max_concurrency: int | None = None
    rates: list[float] = field(default_factory=list)
    concurrencies: list[float] = field(default_factory=list)

    @property
    def types(self) -> list[str]:
        """Types of all strategies, those of a sweep that are not known yet too."""
        if self.type == "sweep":
            return ["synchronous", "throughput", *[self.swept] * (self.size - 2)]
        return [strategy.type for strategy in self.strategies]

    def measured(self, rate: float, concurrency: float) -> None:
        """A strategy has ended. After the first two of a sweep its rates are known."""
        self.rates.append(rate)
        self.concurrencies.append(concurrency)
        if self.type == "sweep" and len(self.rates) == 2:
            self.strategies += [
                self._at(found) for found in sweep_rates(self.rates[0], self.rates[1], self.size)
            ]

    def _at(self, rate: float) -> Strategy:
        return Strategy(
            type=self.swept, rate=rate, burst=self.burst, max_concurrency=self.max_concurrency, seed=self.seed
        )

    def to_dict(self) -> dict[str, Any]:
        """args.profile of the report."""
        return {
            "type_": self.type,
            "completed_strategies": len(self.rates),
            "measured_rates": list(self.rates),
            "measured_concurrencies": list(self.concurrencies),
            **self._own(),
            "strategy_types": self.types,
        }

    def _own(self) -> dict[str, Any]:
        if self.type == "synchronous":
            return {}
        if self.type == "concurrent":
            return {"streams": [strategy.streams for strategy in self.strategies]}
        if self.type == "throughput":
            return {"max_concurrency": self.max_concurrency}
        swept = self.type == "sweep"
        return {
            "max_concurrency": self.max_concurrency,
            "strategy_type": self.swept if swept else self.strategies[0].type,
            "rate": -1 if swept else [strategy.rate for strategy in self.strategies],
            "initial_burst": self.burst,
            "random_seed": self.seed,
            **({"sweep_size": self.size, "rate_type": self.swept} if swept else {}),
        }


def sweep_rates(synchronous: float, throughput: float, size: int) -> list[float]:
    """Even steps from the rate of one request at a time, which is left out, to the highest."""
    rates: list[float] = np.linspace(synchronous, throughput, size - 1)[1:].tolist()
    return [rate for rate in rates if rate > 0]


def profile(
    kind: str,
    rates: Sequence[float] | None,
    *,
    usual_sweep: int = 10,
    burst: bool = False,
    seed: int = SEED,
    max_concurrency: int | None = None,
    swept: str = "constant",
) -> Profile:
    """The profile of a rate type. Raises UsageError for rates that do not go with it."""
    most = max_concurrency
    if kind in ("synchronous", "throughput"):
        if rates is not None:
            raise UsageError(f"--rate does not go with --rate-type {kind}: leave it out")
        return Profile(kind, [Strategy(type=kind, max_concurrency=most)], max_concurrency=most)
    if kind == "sweep":
        size = _sweep_size(rates, usual_sweep)
        first = [Strategy(type="synchronous"), Strategy(type="throughput", max_concurrency=most)]
        return Profile(kind, first, size, swept, burst, seed, most)
    if not rates:
        what = "streams" if kind == "concurrent" else "requests per second"
        raise UsageError(f"--rate-type {kind} needs --rate with the {what}, or several with commas between")
    if kind == "concurrent":
        return Profile(kind, [Strategy(type=kind, streams=_streams(rate)) for rate in rates])
    drawn = "constant" if kind == "async" else kind
    strategies = [
        Strategy(type=drawn, rate=float(rate), burst=burst, max_concurrency=most, seed=seed) for rate in rates
    ]
    return Profile("async", strategies, burst=burst, seed=seed, max_concurrency=most)


def _streams(rate: float) -> int:
    if rate != int(rate):
        raise UsageError(f"--rate {rate:g} with --rate-type concurrent: give whole numbers of streams")
    return int(rate)


def _sweep_size(rates: Sequence[float] | None, usual: int) -> int:
    if rates and len(rates) > 1:
        raise UsageError("--rate with --rate-type sweep is one number, how many benchmarks it runs")
    size = rates[0] if rates else usual
    if size != int(size) or size < 2:
        raise UsageError(
            f"--rate {size:g} with --rate-type sweep: give a whole number of benchmarks from 2 on"
        )
    return int(size)
