"""The highest rate that a live server keeps its SLO at: a search by runs of Poisson load.

1. One request at a time: what the server does alone.
2. Rates doubled until one fails. Each step ends as soon as it has failed for sure, or is far from failing (early_stop.py).
3. Between the last that passed and the first that failed: at the rate that the fitted step law names, or in the
   middle where no law can be had.
4. The estimate (estimate.py).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

import vllmperf._engine as _engine
from vllmperf.errors import CheckError, SettingError
from vllmperf.loadgen.recorded import ONLY_TIME, record_run
from vllmperf.loadgen.subscribers import Watch
from vllmperf.loadgen.task import Task
from vllmperf.metrics.definitions import per_request
from vllmperf.metrics.view import COMPLETED, Rows
from vllmperf.model.answer_check import check_answered
from vllmperf.model.arrivals import arrivals
from vllmperf.model.calibrate import law_capacity
from vllmperf.model.capacity import Capacity, Step, carried
from vllmperf.model.early_stop import INCOMPLETE, EarlyStop, decided
from vllmperf.model.estimate import Found, estimate, lengths, needed_budget_s, served
from vllmperf.model.law import Measured, measured
from vllmperf.model.server_law import ServerLaw, server_law
from vllmperf.model.slo import FILL_TIMES, Answer, Limits, good, judged
from vllmperf.record.reader import Recording, read
from vllmperf.record.table import Requests
from vllmperf.whole_file import write_whole

NS = 1e9
NONE = _engine.NONE
ALONE_SHARE = 0.05
DOUBLING_SHARE = 0.06
"""Of the budget: for the run of single requests, and for each doubled rate at most."""
DOUBLING_REQUESTS = 300
"""A doubled rate only brackets: it ends after so many requests."""
CLOSING_SHARE = 0.35
"""Of the time that is left: for each step between the bounds."""
GRACE_SHARE = 0.15
"""Of a step's time: for what is in flight at its end."""
LEAST_STEP_S = 3.0
MOST_DOUBLINGS = 24
FIRST = 4.0
"""The first rate is what a server could do that serves so many at once as fast as one."""
DRAIN_TRIES = 6
DRAIN_TIMES = 5.0
"""So many times as long as alone a single request may take before it is given up and sent again."""
DRAINED = 1.5
"""A single request that takes this many times as long as in the run alone meets no queue."""
AROUND = (0.85, 0.97, 0.93, 1.04)
"""Of the rate that the law names, in turn. The first is one that a step can show to be carried. Just below the law's rate the
queue is long enough to show, and still ends; the others tell whether what the law says is so."""
FILLED = 1.1
"""A step at a rate of the law's lasts this many times as long as a queue needs to show, where there is time. Without a law more
and shorter steps tell more."""
LATE_SHARE = 0.1
SOME = 3


class Search:
    """The state of one search. Every step is a run file in `folder`, so that a new Search there goes on."""

    def __init__(
        self,
        task: Task,
        limits: Limits,
        budget_s: float,
        folder: Path,
        max_num_seqs: int | None = None,
        tell: Callable[[str], None] = lambda _: None,
        watch: Watch | None = None,
    ) -> None:
        self.task, self.limits, self.folder, self.tell, self.watch = task, limits, folder, tell, watch
        self.budget_s, self.max_num_seqs = budget_s, max_num_seqs
        self.began = self.now_s()
        self.spent_before_s = 0.0
        self.alone: Recording | None = None
        self.steps: list[Step] = []
        self.recordings: list[Recording] = []
        self.runs: list[Measured] = []
        self.interrupted = False
        self.undrained: float | None = None
        self.by_law = False

    def now_s(self) -> float:
        return time.monotonic()

    @property
    def spent_s(self) -> float:
        return self.spent_before_s + self.now_s() - self.began

    @property
    def left_s(self) -> float:
        return self.budget_s - self.spent_s

    def run(self) -> Capacity:
        """Search until the budget is spent, or until Ctrl-C; what came until then is estimated from.

        Raises CheckError when a request alone breaks the SLO, TargetError when none is answered, UsageError when the
        folder holds another search.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        _check_same(self.folder / "search.json", self.task, self.limits)
        try:
            self._resume()
            if self.alone is None:
                self._measure_alone()
            if not self.interrupted:
                self._check_alone()
            self._search()
        except KeyboardInterrupt:
            self.interrupted = True
        return self._estimate()

    def _search(self) -> None:
        while not self.interrupted and self.left_s > LEAST_STEP_S:
            rate = self._next_rate()
            if rate is None:
                return
            self._step(rate)

    # ---- steps ----

    def _measure_alone(self) -> None:
        seconds = max(ALONE_SHARE * self.budget_s, LEAST_STEP_S)
        self.tell(f"one request at a time, {seconds:.0f} s")
        self._add_alone(
            self._carry_out(self._single(duration=seconds, label="alone"), self.folder / "alone.vllmperf")
        )

    def _single(self, **more: Any) -> Task:
        """One request at a time."""
        usual = {
            "request_rate": math.inf,
            "arrival": None,
            "burstiness": 1.0,
            "num_prompts": None,
            "until": None,
            "max_errors": None,
            "max_error_rate": None,
            "keep_gaps": "all",
        }
        return self.task.replace(**{**usual, "max_concurrency": 1, **more})

    def _add_alone(self, recording: Recording) -> None:
        self.alone = recording
        self.runs.append(measured("alone", arrivals(recording)))

    def _check_alone(self) -> None:
        assert self.alone is not None
        check_answered(self.alone)
        done = self.alone.requests[self.alone.requests["outcome"] == COMPLETED]
        bad = int((~good(_as_sent(done), self.limits)).sum())
        surely = float(stats.beta.ppf(0.025, bad, len(done) - bad + 1)) if bad else 0.0
        if surely > 1 - self.limits.share:
            ttft_ms, tpot_ms = _latencies(_as_sent(done))
            raise CheckError(
                f"{bad} of {len(done)} single requests break the SLO: no rate keeps it; look at its limits "
                f"(alone, TTFT is {_told(ttft_ms)} ms and TPOT {_told(tpot_ms)} ms)"
            )

    def _step(self, rate: float) -> None:
        seconds, number = self._seconds(rate), len(self.steps) + 1
        self.tell(f"step {number}: {rate:.4g}/s, up to {seconds:.0f} s, {self.left_s:.0f} s left")
        task = self.task.replace(
            request_rate=rate,
            burstiness=1.0,
            arrival="poisson",
            max_concurrency=None,
            **ONLY_TIME,
            duration=seconds,
            seed=(self.task.plan.workload.seed + 101 * number) % 2**32,
            grace_period=min(self.task.plan.limits.grace_period, self._grace_s(seconds)),
            label=f"{rate:.9g}/s",
        )
        doubling = not any(step.above for step in self.steps)
        early_stop, began = EarlyStop(self.limits, seconds, early=doubling), self.now_s()
        recording = self._carry_out(task, self.folder / f"step-{number:02d}.vllmperf", early_stop)
        self._add(recording, self.now_s() - began, early_stop.cut)
        step = self.steps[-1]
        self.tell(f"  {step.answer.verdict}, {step.answer.bad or 0:.2%} bad")
        if step.above and not self.interrupted:
            self._drain()

    def _grace_s(self, seconds: float) -> float:
        return max(LEAST_STEP_S, GRACE_SHARE * seconds, 2 * self._alone_s())

    def _seconds(self, rate: float) -> float:
        room = max(self.left_s / (1 + GRACE_SHARE), LEAST_STEP_S)
        if any(step.above for step in self.steps):
            filled_s = FILLED * FILL_TIMES * (self.limits.ttft_ms or 0.0) / 1000 if self.by_law else 0.0
            return min(max(CLOSING_SHARE * self.left_s, filled_s, LEAST_STEP_S), room)
        usual = max(DOUBLING_REQUESTS / rate, 4 * self._alone_s())
        return min(max(min(usual, DOUBLING_SHARE * self.budget_s), LEAST_STEP_S), room)

    def _carry_out(self, task: Task, path: Path, early_stop: EarlyStop | None = None) -> Recording:
        path.unlink(missing_ok=True)
        record_run(task, path, None, early_stop, watch=self.watch)
        recording = read(path, texts=False)
        self.interrupted = self.interrupted or recording.state == "interrupted"
        return recording

    def _drain(self) -> None:
        """Send single requests until one meets no queue: a cut step leaves work behind on some servers."""
        alone_s = self._alone_s()
        self.undrained = None
        for _ in range(DRAIN_TRIES):
            if self.left_s < LEAST_STEP_S or self.interrupted:
                break
            wait_s = min(max(LEAST_STEP_S, DRAIN_TIMES * alone_s), self.left_s)
            probe = self._single(
                num_prompts=1,
                duration=wait_s,
                grace_period=0.0,
                seed=(self.task.plan.workload.seed + 77) % 2**32,
                label="drain",
            )
            requests = self._carry_out(probe, self.folder / "drain.vllmperf").requests
            completed = len(requests) > 0 and bool((requests["outcome"] == COMPLETED).all())
            if completed and _spans_s(requests).max() <= DRAINED * alone_s:
                return
        if not self.interrupted:
            self.undrained = self.steps[-1].rate_per_s

    def _add(self, recording: Recording, elapsed_s: float, cut: bool) -> None:
        requests = recording.requests
        known = requests[decided(requests, self.limits)]
        found = judged(known, self.limits)
        ttft_ms, tpot_ms = _latencies(requests)
        self.steps.append(
            Step(
                rate_per_s=float(recording.plan["request_rate"]),
                answer=found,
                above=found.verdict == "fail" or (found.verdict == "unclear" and _above(found, self.limits)),
                elapsed_s=elapsed_s,
                cut_short=cut,
                path=recording.path,
                ttft_ms=_mean(ttft_ms),
                tpot_ms=_mean(tpot_ms),
                ttft_of_share_ms=_quantile(ttft_ms, self.limits.share),
                tpot_of_share_ms=_quantile(tpot_ms, self.limits.share),
                late=_late(requests, self.limits),
                met=found.bad is not None and found.bad <= 1 - self.limits.share and not cut,
            )
        )
        self.recordings.append(recording)
        self.runs.append(measured(recording.path.stem, arrivals(recording)))

    def _resume(self) -> None:
        path = self.folder / "alone.vllmperf"
        if not path.exists():
            return
        alone = read(path, texts=False)
        if alone.state != "finished":
            path.unlink()
            return
        self._add_alone(alone)
        self.spent_before_s += float(alone.plan["duration"])
        for path in sorted(self.folder.glob("step-*.vllmperf")):
            recording = read(path, texts=False)
            if recording.state != "finished":
                path.unlink()  # the step that was under way when the search was ended
                continue
            elapsed = float(recording.requests["end_ns"].max(initial=0)) / NS
            last = float(recording.requests["scheduled_ns"].max(initial=0)) / NS
            early = last < 0.9 * float(recording.plan["duration"])
            self._add(recording, elapsed, early and bool((recording.requests["outcome"] == INCOMPLETE).any()))
            self.spent_before_s += elapsed
        self.tell(f"going on after {len(self.steps)} steps of an earlier search, {self.left_s:.0f} s left")

    # ---- where to look next ----

    def _next_rate(self) -> float | None:
        above = [step.rate_per_s for step in self.steps if step.above]
        if not above:
            if len(self.steps) >= MOST_DOUBLINGS:
                return None
            return 2 * self.steps[-1].rate_per_s if self.steps else FIRST / self._alone_s()
        below = [step.rate_per_s for step in self.steps if not step.above]
        law = self._law()[0]
        self.by_law = law is not None
        if law is not None:
            rate, _ = law_capacity(law.replica, lengths(self._whole()), self.limits, seeds=1, requests=10_000)
            closing = sum(step.rate_per_s >= min(above) / 2 for step in self.steps)
            return float(AROUND[closing % len(AROUND)] * min(rate, max(above)))
        low = max((rate for rate in below if rate < min(above)), default=min(above) / 4)
        return math.sqrt(low * min(above))

    def _alone_s(self) -> float:
        assert self.alone is not None
        return float(np.median(_spans_s(self.alone.requests)))

    def _law(self) -> tuple[ServerLaw | None, str]:
        assert self.alone is not None
        return server_law(self.runs, self.alone.requests, self.max_num_seqs)

    def _whole(self) -> list[Recording]:
        """Runs that were served to their end; when none was, all."""
        pairs = zip(self.recordings, self.steps, strict=True)
        return [one for one, step in pairs if not step.cut_short and served(one)] or self.recordings

    # ---- the answer ----

    def _estimate(self) -> Capacity:
        law, why_not = self._law() if self.alone is not None and self.steps else (None, "no step was made")
        found = estimate(self.steps, self.recordings, self.limits, law, why_not)
        low = found.low or math.inf
        seen = carried(self.steps, low if found.method == "law" else math.inf, low)
        return Capacity(
            rate_per_s=seen.rate_per_s,
            confidence=seen.confidence,
            unsure_per_s=seen.unsure_per_s,
            estimate_per_s=found.rate,
            low=found.low,
            high=found.high,
            method=found.method,
            limits=self.limits,
            steps=tuple(self.steps),
            elapsed_s=self.spent_s,
            slowness=found.slowness,
            max_num_seqs=law.slots if law else self.max_num_seqs,
            fit=law.fit if law and found.method == "law" else None,
            at_least=found.method == "steps" and found.rate is not None,
            interrupted=self.interrupted,
            warnings=(*found.warnings, *self._warnings(found)),
            curve=found.curve,
            needed_budget_s=needed_budget_s(found, self.spent_s),
        )

    def _warnings(self, found: Found) -> list[str]:
        told = []
        late = [step for step in self.steps if step.late > 1 - self.limits.share]
        if late:
            told.append(
                f"this client itself sent {late[-1].late:.1%} of the requests late at {late[-1].rate_per_s:.4g}/s: "
                "the server may carry more than it says here"
            )
        if self.undrained is not None:
            told.append(
                f"after {self.undrained:.4g}/s the server did not come back to what it does alone: its queue was still "
                "long, or it hangs"
            )
        if found.rate is None or found.method == "steps":
            return told
        for step in self.steps:
            too_low = step.answer.verdict == "pass" and step.rate_per_s > 1.1 * found.rate
            too_high = step.answer.verdict == "fail" and step.rate_per_s < 0.9 * found.rate
            if too_low or too_high:
                told.append(f"the step at {step.rate_per_s:.4g}/s ({step.answer.verdict}) speaks against it")
        return told


def _above(found: Answer, limits: Limits) -> bool:
    """What an unclear step speaks for: a few bad requests of few may be chance."""
    bad = round((found.bad or 0.0) * found.n)
    return found.bad is None or (found.bad > 1 - limits.share and bad >= SOME)


def _as_sent(requests: Requests) -> NDArray[np.void]:
    """A closed loop has no schedule: its requests were due when they were sent."""
    found = requests.copy()
    found["scheduled_ns"] = requests["sent_ns"]
    return found


def _spans_s(requests: Requests) -> NDArray[np.float64]:
    return np.asarray((requests["end_ns"] - requests["sent_ns"]) / NS)


def _latencies(requests: Requests) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """TTFT from the scheduled time, and TPOT, of what completed, in ms."""
    done = Rows(requests[requests["outcome"] == COMPLETED])
    ttft, tpot = (per_request(done, name) / 1e6 for name in ("ttft_scheduled", "tpot"))
    return ttft[~np.isnan(ttft)], tpot[~np.isnan(tpot)]


def _told(values: NDArray[np.float64]) -> str:
    return f"{np.median(values):.4g}" if len(values) else "unknown"


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def _quantile(values: NDArray[np.float64], share: float) -> float | None:
    return float(np.quantile(values, share)) if len(values) else None


def _late(requests: Requests, limits: Limits) -> float:
    """Share of the requests that were sent later than planned by a good part of what the SLO allows."""
    sent = requests[requests["sent_ns"] != NONE]
    allowed_ms = LATE_SHARE * (limits.ttft_ms if limits.ttft_ms is not None else 1000.0)
    return float(np.mean((sent["sent_ns"] - sent["scheduled_ns"]) / 1e6 > allowed_ms)) if len(sent) else 0.0


def _check_same(path: Path, task: Task, limits: Limits) -> None:
    """Leave word of what is searched for. Raises UsageError when the folder holds steps of something else."""
    wanted = task.described()
    names = ("url", "model", "dataset_name", "input_len", "output_len", "prefix_len", "random_range_ratio")
    mine = {name: wanted.get(name) for name in names}
    mine |= {"ttft_ms": limits.ttft_ms, "tpot_ms": limits.tpot_ms, "goodput": limits.share}
    if path.exists():
        try:
            theirs = dict(json.loads(path.read_text(encoding="utf-8-sig")))
        except (ValueError, TypeError):
            raise SettingError(
                "{path} is no file of a search: choose another {output_dir}", path=path
            ) from None
        other = [name for name, value in mine.items() if theirs.get(name) != value]
        if other:
            raise SettingError(
                "{folder} holds a search with another {name} ({theirs}): choose another {output_dir}",
                folder=path.parent,
                name=other[0],
                theirs=theirs.get(other[0]),
            )
    write_whole(path, json.dumps(mine, indent=2) + "\n")
