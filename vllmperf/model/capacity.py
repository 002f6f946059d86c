"""The highest rate that a live server keeps its SLO at: a search by runs of Poisson load, and an interval for it.

1. One request at a time: what the server does alone.
2. Rates doubled until one fails. Each step ends as soon as it is clear (goodput_test).
3. Between the last that passed and the first that failed: at the rate that the fitted step law names, or in the
   middle where no law can be had.
4. The estimate. With a law: its capacity in long simulations, corrected by what the server did with the very requests
   of these runs (calibrate). A window of a minute near saturation says little by itself: the queue takes minutes to
   fill, and at 5 % over the capacity still passes one window of three. Without a law: where a curve through the
   goodput of all windows crosses the goal.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vllmperf import _engine
from vllmperf.errors import CheckError, UsageError
from vllmperf.model.arrivals import arrivals
from vllmperf.model.calibrate import calibrate, interval, law_capacity
from vllmperf.model.goodput_test import LOOKS, Answer, Limits, answer, good
from vllmperf.model.law import Measured, fit_runs, measured
from vllmperf.model.parameters import FitResult
from vllmperf.model.simulate import Replica
from vllmperf.model.steps import Steps
from vllmperf.model.windows_curve import curve_capacity
from vllmperf.plan import Plan
from vllmperf.record.reader import Recording, read

NS = 1e9
ALONE_SHARE = 0.05
DOUBLING_SHARE = 0.06
"""Of the budget: for the run of single requests, and for each doubled rate at most."""
CLOSING_SHARE = 0.35
"""Of the time that is left: for each step between the bounds."""
LEAST_STEP_S = 3.0
DRAIN_S = 1.0
MOST_DOUBLINGS = 20
ALIKE = 0.1
"""A law whose times must be changed by more than this share to fit the server is not believed."""


@dataclass(frozen=True)
class Step:
    """One rate that was tried."""

    rate_per_s: float
    answer: Answer
    elapsed_s: float
    cut_short: bool
    path: Path


@dataclass(frozen=True)
class Capacity:
    """rate_per_s with its 95 % interval, in requests/s; method "law" or "windows"; slowness: factor on the law's times
    that the server showed. at_least: no rate failed, the true capacity lies above."""

    rate_per_s: float | None
    low: float | None
    high: float | None
    method: str
    limits: Limits
    steps: tuple[Step, ...]
    elapsed_s: float
    slowness: float | None = None
    max_num_seqs: int | None = None
    fit: FitResult | None = None
    at_least: bool = False
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        limits = self.limits
        return {
            "schema": 1,
            "capacity_per_s": {
                "value": self.rate_per_s,
                "ci95": None if self.low is None else [self.low, self.high],
            },
            "at_least": self.at_least,
            "slo": {"ttft_ms": limits.ttft_ms, "itl_ms": limits.itl_ms, "goodput": limits.share},
            "method": self.method,
            "steps": [_step_json(step) for step in self.steps],
            "elapsed_s": self.elapsed_s,
            "max_num_seqs": self.max_num_seqs,
            "law": None if self.fit is None else self.fit.to_json()["parameters"],
            "slowness": self.slowness,
            "warnings": list(self.warnings),
        }


def _step_json(step: Step) -> dict[str, Any]:
    return {
        "rate_per_s": step.rate_per_s,
        "verdict": step.answer.verdict,
        "bad_share": step.answer.bad,
        "bad_share_ci": [step.answer.low, step.answer.high],
        "requests": step.answer.n,
        "elapsed_s": step.elapsed_s,
        "cut_short": step.cut_short,
        "run_file": str(step.path),
    }


class Search:
    """The state of one search; every step is a run file in `folder`, so that a new Search there goes on."""

    def __init__(
        self,
        plan: Plan,
        limits: Limits,
        budget_s: float,
        folder: Path,
        max_num_seqs: int | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.plan, self.limits, self.folder, self.tell = plan, limits, folder, tell
        self.budget_s, self.max_num_seqs = budget_s, max_num_seqs
        self.began = time.monotonic()
        self.steps: list[Step] = []
        self.spent_before_s = 0.0
        self.alone: Recording | None = None
        self.recordings: list[Recording] = []

    @property
    def left_s(self) -> float:
        return self.budget_s - self.spent_before_s - (time.monotonic() - self.began)

    def run(self) -> Capacity:
        """Search until the budget is spent. Raises CheckError when a request alone breaks the SLO."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        if self.alone is None:
            self._measure_alone()
        assert self.alone is not None
        self._check_alone()
        rate = self._next_rate()
        while rate is not None and self.left_s > LEAST_STEP_S:
            self._step(rate)
            rate = self._next_rate()
        return self._estimate()

    # ---- steps ----

    def _measure_alone(self) -> None:
        seconds = max(ALONE_SHARE * self.budget_s, LEAST_STEP_S)
        self.tell(f"one request at a time, {seconds:.0f} s")
        plan = replace(
            self.plan,
            request_rate=math.inf,
            max_concurrency=1,
            num_prompts=None,
            duration_s=seconds,
            label="alone",
        )
        self.alone = self._carry_out(plan, self.folder / "alone.vllmperf", None)

    def _check_alone(self) -> None:
        assert self.alone is not None
        requests = self.alone.requests
        if len(requests) == 0:
            raise CheckError("not one request was answered: is the server ready?")
        share = float(np.mean(good(_scheduled(requests), self.limits)))
        if share < 0.5:
            raise CheckError(
                f"only {share:.0%} of single requests keep the SLO: no rate can; look at --ttft and --itl, or at the "
                f"run {self.alone.path}"
            )

    def _step(self, rate: float) -> None:
        doubling = not any(step.answer.verdict == "fail" for step in self.steps)
        share = DOUBLING_SHARE * self.budget_s if doubling else CLOSING_SHARE * self.left_s
        seconds = min(max(share, LEAST_STEP_S), max(self.left_s, LEAST_STEP_S))
        self.tell(
            f"step {len(self.steps) + 1}: {rate:.4g}/s, up to {seconds:.0f} s, {self.left_s:.0f} s left"
        )
        plan = replace(
            self.plan,
            request_rate=rate,
            burstiness=1.0,
            arrival="poisson",
            max_concurrency=None,
            num_prompts=None,
            duration_s=seconds,
            seed=self.plan.seed + 101 * (len(self.steps) + 1),
            grace_period_s=min(self.plan.grace_period_s, max(3.0, 0.2 * seconds)),
            label=f"{rate:.9g}",
        )
        looks = Looks(self.limits, seconds)
        began = time.monotonic()
        path = self.folder / f"step-{len(self.steps) + 1:02d}.vllmperf"
        recording = self._carry_out(plan, path, looks)
        self._add(path, recording, time.monotonic() - began, looks.cut)
        self.tell(f"  {self.steps[-1].answer.verdict}, {self.steps[-1].answer.bad or 0:.2%} bad")
        if looks.cut:
            time.sleep(DRAIN_S)  # what was cut leaves the server's queue

    def _carry_out(self, plan: Plan, path: Path, looks: Looks | None) -> Recording:
        from vllmperf.api import make_run

        path.unlink(missing_ok=True)
        make_run(plan, path, False, looks)
        return read(path, texts=False)

    def _add(self, path: Path, recording: Recording, elapsed_s: float, cut: bool) -> None:
        requests = recording.requests
        scheduled, kept = requests["scheduled_ns"], good(requests, self.limits)
        if cut:  # what was cut while it could still have kept the SLO says nothing
            known = _decided(requests, self.limits)
            scheduled, kept, requests = scheduled[known], kept[known], requests[known]
        found = answer(scheduled, kept, requests["end_ns"], self.limits)
        self.steps.append(Step(float(recording.plan["request_rate"]), found, elapsed_s, cut, path))
        self.recordings.append(recording)

    def _resume(self) -> None:
        path = self.folder / "alone.vllmperf"
        if path.exists():
            self.alone = read(path, texts=False)
            self.spent_before_s += float(self.alone.plan.get("duration_s") or 0.0)
        for path in sorted(self.folder.glob("step-*.vllmperf")):
            recording = read(path, texts=False)
            if recording.state not in ("finished", "interrupted"):
                path.unlink()  # the step that was under way when the search was ended
                continue
            elapsed = float(recording.requests["end_ns"].max(initial=0)) / NS
            self._add(path, recording, elapsed, elapsed < 0.9 * float(recording.plan["duration_s"]))
            self.spent_before_s += elapsed

    # ---- where to look next ----

    def _next_rate(self) -> float | None:
        failed = [step.rate_per_s for step in self.steps if step.answer.verdict == "fail"]
        if not failed:
            if len(self.steps) >= MOST_DOUBLINGS:
                return None
            return 2 * self.steps[-1].rate_per_s if self.steps else self._first_rate()
        passed = [step.rate_per_s for step in self.steps if step.answer.verdict != "fail"]
        low = max((rate for rate in passed if rate < min(failed)), default=min(failed) / 4)
        law = self._law()
        if law is not None:
            rate, _ = law_capacity(law[0], self._lengths(), self.limits, seeds=1, requests=10_000)
            # Just below what the law says: there the queue is long enough to show, and still ends.
            return float(np.clip(0.97 * rate, low / 2, 0.99 * min(failed)))
        return math.sqrt(low * min(failed))

    def _first_rate(self) -> float:
        assert self.alone is not None
        requests = self.alone.requests
        spans = (requests["end_ns"] - requests["sent_ns"]) / NS
        return 1.0 / float(np.median(spans))

    # ---- what is known ----

    def _measured(self) -> list[Measured]:
        assert self.alone is not None
        return [measured(one.path.stem, arrivals(one)) for one in (self.alone, *self.recordings)]

    def _law(self) -> tuple[Replica, FitResult] | None:
        runs = self._measured()
        if any(run.why_not for run in runs):
            return None
        try:
            found = fit_runs(runs)
        except UsageError:
            return None
        value = {name: one.value for name, one in found.parameters.items()}
        alpha, beta = value["alpha"] or 0.0, value["beta"] or 0.0
        if alpha <= 0 or beta < 0:
            return None
        slots = self.max_num_seqs or _slots([run.steps for run in runs if run.steps])
        step_gamma = max(value["step_gamma"] or 0.0, 0.0)
        step_delta = max(value["step_delta"] or value["delta"] or 0.0, 0.0)
        return Replica(
            alpha, beta, step_gamma, step_delta, self._front_ms(alpha + step_gamma, step_delta), slots
        ), found

    def _front_ms(self, step_ms: float, step_delta_ms: float) -> float:
        """What a single request waits beyond its own step."""
        assert self.alone is not None
        requests = self.alone.requests
        began = requests[
            (requests["first_token_ns"] != _engine.NONE) & (requests["prompt_tokens"] != _engine.NONE)
        ]
        ttft = (began["first_token_ns"] - began["sent_ns"]) / 1e6
        rest = ttft - step_ms - step_delta_ms * began["prompt_tokens"]
        return max(float(np.median(rest)), 0.0) if len(rest) else 0.0

    def _lengths(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of prompts and outputs of all requests that completed; cut runs have too few long ones and are left out."""
        requests = np.concatenate([one.requests for one in (self._whole() or self.recordings)])
        done = requests[(requests["prompt_tokens"] != _engine.NONE) & (requests["output_tokens"] > 0)]
        return done["prompt_tokens"].astype(np.int64), done["output_tokens"].astype(np.int64)

    # ---- the answer ----

    def _estimate(self) -> Capacity:
        if not any(step.answer.verdict == "fail" for step in self.steps):
            best = max((step.rate_per_s for step in self.steps), default=None)
            told = "no rate failed within the budget: the capacity lies above the highest one tried"
            return self._result(best, best, None, "steps", (told,), at_least=True)
        result, why_not = self._by_law()
        return result or self._by_windows(why_not)

    def _result(
        self,
        rate: float | None,
        low: float | None,
        high: float | None,
        method: str,
        warnings: tuple[str, ...],
        **more: Any,
    ) -> Capacity:
        elapsed_s = self.spent_before_s + time.monotonic() - self.began
        return Capacity(
            rate, low, high, method, self.limits, tuple(self.steps), elapsed_s, warnings=warnings, **more
        )

    def _by_law(self) -> tuple[Capacity | None, str]:
        law = self._law()
        if law is None:
            return (
                None,
                "no step law could be had from these runs (other clients, several engines, merged chunks?)",
            )
        replica, found = law
        try:
            slow = calibrate([one.requests for one in self._whole()], replica)
        except ValueError as error:
            return None, f"the step law is not used: {error}"
        if abs(math.log(slow.slowness)) > ALIKE:
            return (
                None,
                f"the step law is not used: the server takes {slow.slowness:.2f} times as long as it says",
            )
        rate, chance = law_capacity(replica, self._lengths(), self.limits)
        rate /= slow.slowness
        low, high = interval(rate, slow, chance)
        return self._result(
            rate,
            low,
            high,
            "law",
            self._doubts(rate),
            slowness=slow.slowness,
            max_num_seqs=replica.max_num_seqs,
            fit=found,
        ), ""

    def _whole(self) -> list[Recording]:
        """Runs that were not cut short."""
        return [one for one, step in zip(self.recordings, self.steps, strict=True) if not step.cut_short]

    def _by_windows(self, why_not: str) -> Capacity:
        steps = [
            (step.rate_per_s, good(one.requests, self.limits), one.requests["scheduled_ns"])
            for step, one in zip(self.steps, self.recordings, strict=True)
        ]
        rate, low, high = curve_capacity(steps, self.limits.share)
        return self._result(rate, low, high, "windows", (why_not,))

    def _doubts(self, rate: float) -> tuple[str, ...]:
        """Steps that contradict the estimate."""
        return tuple(
            f"step at {step.rate_per_s:.4g}/s {step.answer.verdict}ed, against the estimate"
            for step in self.steps
            if (step.answer.verdict == "pass" and step.rate_per_s > 1.1 * rate)
            or (step.answer.verdict == "fail" and step.rate_per_s < 0.9 * rate)
        )


class Looks:
    """Looks at a running step at times that double, and ends it when the answer is clear."""

    def __init__(self, limits: Limits, seconds: float) -> None:
        self.limits, self.cut = limits, False
        self.at_s = [seconds / 2**place for place in range(LOOKS - 1, 0, -1)]
        self.rows: list[NDArray[np.void]] = []

    def __call__(self, batch: _engine.Batch, counters: _engine.Counters) -> bool:
        if self.cut:
            return False
        self.rows.append(np.frombuffer(batch["records"], dtype=np.dtype(_engine.RECORD_DTYPE)))
        elapsed = (time.monotonic_ns() - counters["start_mono_ns"]) / NS if counters["start_mono_ns"] else 0.0
        if not self.at_s or elapsed < self.at_s[0]:
            return False
        while self.at_s and elapsed >= self.at_s[0]:
            self.at_s.pop(0)
        requests = np.concatenate(self.rows)
        # Requests that are still out are later than those that are back: a pass cannot be told before the end, a
        # failure can.
        found = answer(requests["scheduled_ns"], good(requests, self.limits), requests["end_ns"], self.limits)
        self.cut = found.verdict == "fail"
        return self.cut


def _slots(runs: list[Steps]) -> int:
    """The most sequences that steps usually hold while others wait: the server's --max-num-seqs."""
    held = [(run.decodes + run.admitted)[run.pending > run.admitted] for run in runs]
    seen = np.concatenate(held)
    return int(np.quantile(seen, 0.98)) if len(seen) else 1


def _scheduled(requests: NDArray[np.void]) -> NDArray[np.void]:
    """A closed loop has no schedule: its requests were due when they were sent."""
    found = requests.copy()
    found["scheduled_ns"] = requests["sent_ns"]
    return found


def _decided(requests: NDArray[np.void], limits: Limits) -> NDArray[np.bool_]:
    """Completed, or out for longer than the SLO allows for the first token."""
    done: NDArray[np.bool_] = requests["outcome"] == _engine.OUTCOMES.index("completed")
    if limits.ttft_ms is None:
        return done
    first = np.where(
        requests["first_token_ns"] == _engine.NONE, requests["end_ns"], requests["first_token_ns"]
    )
    late: NDArray[np.bool_] = (first - requests["scheduled_ns"]) / 1e6 > limits.ttft_ms
    return done | late


def save_json(path: Path, result: Capacity) -> None:
    """Write to_json() in whole or not at all."""
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(json.dumps(result.to_json(), indent=2) + "\n", encoding="utf-8")
    part.replace(path)
