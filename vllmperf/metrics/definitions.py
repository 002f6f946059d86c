"""Every metric once: what it is called, what it measures, how it is computed, who shows it.

METRICS have many samples in a run, FIGURES are one number of a run. The summary, its JSON, tables, HTML, CSV, data frames,
`compare`, vLLM's result file, the objectives of goodput and docs/metrics.md read these two tables and nothing else: to
add a metric, add an entry here (with its function) and a test.

Metrics are of completed requests, from the moments at which the kernel received a chunk. This module is imported to check
a plan, so NumPy is not imported before a metric is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllmperf.metrics.statistics import Samples
    from vllmperf.metrics.view import Completed, Floats, Rows

TOKENS_KNOWN_FROM = 0.9
"""itl_token is given when the tokens of at least this share of the chunks are known."""

REPEAT_AT_MOST = 64_000_000
"""itl_token is given up to this many tokens (256 MB of samples)."""

VLLM = ("vllm-0.6", "vllm-0.8", "vllm-2026")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A time with many samples in a run.

    Either `of_request` gives one value for each request (ns, NaN where it has none), or `samples` gives all values of the
    completed requests (ns, empty where there are none).
    """

    name: str
    """For --percentile-metrics, --goodput, and as an attribute of a Run."""
    short: str
    """In a table."""
    label: str
    formula: str
    source: str
    needs: str
    of_request: Callable[[Rows], Floats] | None = None
    samples: Callable[[Completed], Samples] | None = None
    is_shown: bool = False
    """A row of the table unless others are asked for."""
    is_scheduled: bool = False
    """Counts from the schedule, which a closed loop does not have."""
    profiles: tuple[str, ...] = ()
    """Profiles that have a metric of this name by a rule of their own."""
    vllm: bool = False
    """Stands under this name in vLLM's result file."""
    unit: str = "ms"

    @property
    def key(self) -> str:
        """In summary["metrics"] and as a column."""
        return f"{self.name}_{self.unit}"

    def all_samples(self, done: Completed) -> Samples:
        """All values of the completed requests in ns."""
        if self.samples is not None:
            return self.samples(done)
        assert self.of_request is not None
        values = self.of_request(done)
        known: Samples = values[values == values]  # without NaN
        return known


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of a run; None where it was not measured. path: its keys in the summary."""

    path: tuple[str, ...]
    label: str
    unit: str
    formula: str
    needs: str
    compute: Callable[[Completed], float | int | None] | None = None
    """None: comes with the part of the summary that it stands in."""
    is_shown: bool = False
    """Among the throughput of the table, with `unit` behind it."""
    vllm: str | None = None
    """Its key in vLLM's result file."""
    profiles: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return ".".join(self.path)

    def of(self, summary: Mapping[str, Any]) -> float | int | None:
        """Its value in a summary; None where its part is None or of an older version."""
        found: Any = summary
        for key in self.path:
            found = None if found is None else found.get(key)
        value: float | int | None = found
        return value


def _between(earlier: str, later: str) -> Callable[[Rows], Floats]:
    return lambda rows: rows.between(earlier, later)


def _tpot(rows: Rows) -> Floats:
    """A choice's answer takes as long as the whole request, whatever the number of choices."""
    import numpy as np

    time = rows.between("first_token_ns", "last_token_ns")
    tokens = rows.tokens_per_choice
    # One read may have brought everything: then the time between the tokens is unknown, not zero.
    time[~(tokens > 1) | (time <= 0)] = np.nan
    return time / np.maximum(tokens - 1, 1e-9)


def _slot_wait(rows: Rows) -> Floats:
    import numpy as np

    return np.where(np.isnan(rows.field("scheduled_ns")), np.nan, rows.field("slot_wait_ns"))


def _itl_token(done: Completed) -> Samples:
    import numpy as np

    tokens = done.gap_tokens
    is_known = tokens > 0
    if len(tokens) == 0 or is_known.mean() < TOKENS_KNOWN_FROM or tokens.sum(dtype=np.int64) > REPEAT_AT_MOST:
        return np.zeros(0, dtype=np.float32)
    counts = tokens[is_known]
    if (counts == 1).all():  # the usual stream: spare the copies
        return done.gaps_ns if is_known.all() else done.gaps_ns[is_known]
    per_token = np.divide(done.gaps_ns[is_known], counts, dtype=np.float32)
    return np.repeat(per_token, counts)


METRICS = (
    Metric(
        name="ttft",
        short="TTFT",
        label="Time to first token",
        formula="first token chunk (of any choice) − sent",
        source="kernel stamp of the first token chunk; clock at the hand-over to the transport",
        needs="a streamed answer",
        of_request=_between("sent_ns", "first_token_ns"),
        is_shown=True,
        profiles=(*VLLM, "guidellm", "llm_bench"),
        vllm=True,
    ),
    Metric(
        name="ttft_scheduled",
        short="TTFT from schedule",
        label="Time to first token, from when it was due",
        formula="first token chunk (of any choice) − scheduled",
        source="kernel stamp of the first token chunk; the plan's schedule",
        needs="a streamed answer and a schedule (open loop)",
        of_request=_between("scheduled_ns", "first_token_ns"),
        is_shown=True,
        is_scheduled=True,
    ),
    Metric(
        name="ttft_text",
        short="TTFT of text",
        label="Time to first token of the answer, reasoning left aside",
        formula="first token chunk with text or a tool call − sent",
        source="kernel stamp of that chunk; clock at the hand-over to the transport",
        needs="a streamed answer with text",
        of_request=_between("sent_ns", "first_text_ns"),
    ),
    Metric(
        name="tpot",
        short="TPOT",
        label="Time per output token after the first",
        formula="(last token chunk − first token chunk) / (output tokens / choices − 1)",
        source="kernel stamps; token count by usage",
        needs="a streamed answer of two or more tokens a choice that did not all come in one read",
        of_request=_tpot,
        is_shown=True,
        profiles=(*VLLM, "guidellm"),
        vllm=True,
    ),
    Metric(
        name="itl",
        short="ITL",
        label="Inter-token latency: gap between token chunks",
        formula="token chunk − the one before it of the same choice; an even share of several in one read",
        source="kernel stamps",
        needs="a streamed answer of two or more token chunks a choice",
        samples=lambda done: done.gaps_ns,
        is_shown=True,
        profiles=(*VLLM, "guidellm"),
        vllm=True,
    ),
    Metric(
        name="itl_token",
        short="ITL per token",
        label="Inter-token latency, each chunk's gap spread over its tokens",
        formula="gap / tokens of the later chunk, counted once for each of them",
        source="kernel stamps; token ids or usage of each chunk",
        needs="known token counts for at least 90 % of the chunks",
        samples=_itl_token,
    ),
    Metric(
        name="e2el",
        short="E2EL",
        label="End-to-end latency",
        formula="last token chunk of any choice (or end of the JSON body) − sent",
        source="kernel stamps; clock at the hand-over to the transport",
        needs="any completed request",
        of_request=_between("sent_ns", "last_token_ns"),
        is_shown=True,
        profiles=(*VLLM, "guidellm", "llm_bench"),
        vllm=True,
    ),
    Metric(
        name="e2el_scheduled",
        short="E2EL from schedule",
        label="End-to-end latency, from when it was due",
        formula="last token chunk of any choice (or end of the JSON body) − scheduled",
        source="kernel stamps; the plan's schedule",
        needs="a schedule (open loop)",
        of_request=_between("scheduled_ns", "last_token_ns"),
        is_shown=True,
        is_scheduled=True,
    ),
    Metric(
        name="connect",
        short="Connect",
        label="Time to open a connection (a part of TTFT)",
        formula="connection ready − sent",
        source="the transport's socket events",
        needs="a request that opened its connection",
        of_request=_between("sent_ns", "connected_ns"),
    ),
    Metric(
        name="slot_wait",
        short="Slot wait",
        label="Time that a due request waited for a concurrency slot",
        formula="slot free − scheduled",
        source="clock of the engine",
        needs="a schedule (open loop)",
        of_request=_slot_wait,
    ),
)

FIGURES = (
    Figure(
        path=("duration_s",),
        label="Duration",
        unit="s",
        formula="last end − first sent, of all requests",
        needs="a request that was sent and ended",
        compute=lambda done: done.whole.window_s,
        vllm="duration",
        profiles=VLLM,
    ),
    Figure(
        path=("requests", "completed"),
        label="Successful requests",
        unit="requests",
        formula="requests with the outcome `completed`",
        needs="nothing",
        compute=lambda done: len(done.whole.requests),
        vllm="completed",
        profiles=VLLM,
    ),
    Figure(
        path=("requests", "not_completed"),
        label="Failed requests",
        unit="requests",
        formula="requests with any other outcome; those cut off at the end of the run are among them",
        needs="nothing",
        compute=lambda done: len(done.mask) - len(done.whole.requests),
        vllm="failed",
        profiles=VLLM,
    ),
    Figure(
        path=("tokens", "prompt"),
        label="Input tokens",
        unit="tokens",
        formula="sum of prompt tokens by the server's usage; a prompt counts once, whatever the number of choices",
        needs="usage",
        # a server that counts 0 has not counted
        compute=lambda done: done.whole.sum("prompt_tokens") or None,
        vllm="total_input_tokens",
        profiles=VLLM,
    ),
    Figure(
        path=("tokens", "cached"),
        label="Cached input tokens",
        unit="tokens",
        formula="sum of prompt tokens that the server found in its cache, by its usage",
        needs="usage with prompt_tokens_details",
        compute=lambda done: done.whole.sum("cached_tokens"),
    ),
    Figure(
        path=("tokens", "output"),
        label="Output tokens",
        unit="tokens",
        formula="sum of the output tokens of all choices, by the best source there was (`tokens.source`)",
        needs="a completed request",
        compute=lambda done: done.whole.sum("output_tokens"),
        vllm="total_output_tokens",
        profiles=VLLM,
    ),
    Figure(
        path=("throughput", "requests_per_s"),
        label="Requests/s",
        unit="requests/s",
        formula="completed requests / time that counts",
        needs="a duration",
        compute=lambda done: done.work_per_s(),
        is_shown=True,
        vllm="request_throughput",
        profiles=VLLM,
    ),
    Figure(
        path=("throughput", "output_tokens_per_s"),
        label="Output tokens/s",
        unit="output tokens/s",
        formula="output tokens of all choices / time that counts",
        needs="a duration",
        compute=lambda done: done.output_tokens_per_s,
        is_shown=True,
        vllm="output_throughput",
        profiles=VLLM,
    ),
    Figure(
        path=("throughput", "total_tokens_per_s"),
        label="All tokens/s",
        unit="tokens/s in and out",
        formula="(input tokens + output tokens of all choices) / time that counts",
        needs="a duration and usage",
        compute=lambda done: done.total_tokens_per_s,
        is_shown=True,
        vllm="total_token_throughput",
        profiles=VLLM,
    ),
    Figure(
        path=("throughput", "peak_output_tokens_per_s"),
        label="Output tokens in the busiest second",
        unit="output tokens in the busiest second",
        formula="most output tokens whose chunks arrived within one of the seconds counted from the first send; tokens that no "
        "chunk names are shared evenly among the request's chunks",
        needs="a streamed answer; with several choices a request, --record-chunks",
        compute=lambda done: done.peak_output_tokens_per_s,
        is_shown=True,
        vllm="max_output_tokens_per_s",
        profiles=VLLM,
    ),
    Figure(
        path=("goodput", "requests_per_s"),
        label="Requests/s within the objectives",
        unit="good requests/s",
        formula="completed requests that met every objective of --goodput / time that counts; a value equal to its limit is met, "
        "an answer of one token meets any TPOT",
        needs="objectives",
        vllm="request_goodput",
        profiles=VLLM,
    ),
    Figure(
        path=("goodput", "share"),
        label="Requests within the objectives",
        unit="share",
        formula="completed requests that met every objective / sent requests, of those that count",
        needs="objectives",
    ),
    Figure(
        path=("throughput", "scheduled_per_s"),
        label="Requests/s scheduled",
        unit="requests/s",
        formula="(sent requests − 1) / (last − first scheduled), of those that were sent",
        needs="a schedule (open loop)",
        compute=lambda done: done.rate_of("scheduled_ns"),
    ),
    Figure(
        path=("throughput", "sent_per_s"),
        label="Requests/s sent",
        unit="requests/s",
        formula="(sent requests − 1) / (last − first sent)",
        needs="a schedule (open loop)",
        compute=lambda done: done.rate_of("sent_ns"),
    ),
    Figure(
        path=("in_flight", "max"),
        label="Most requests at once",
        unit="requests",
        formula="most requests between sent and end at one moment, whatever became of them",
        needs="a request that was sent",
        compute=lambda done: done.in_flight.max,
        vllm="max_concurrent_requests",
        profiles=VLLM,
    ),
    Figure(
        path=("in_flight", "mean"),
        label="Mean requests at once",
        unit="requests",
        formula="mean over the time that counts",
        needs="a duration",
        compute=lambda done: done.in_flight.mean,
    ),
    Figure(
        path=("in_flight", "mean_sending"),
        label="Mean requests at once while sending",
        unit="requests",
        formula="mean over the time that counts, up to the last send",
        needs="two requests that were sent",
        compute=lambda done: done.in_flight.mean_sending,
    ),
)

BY_NAME = {metric.name: metric for metric in METRICS}
NAMES = tuple(BY_NAME)
OBJECTIVES = tuple(metric.name for metric in METRICS if metric.of_request is not None)
"""What goodput can set a limit for: metrics with one value a request."""


def per_request(rows: Rows, name: str) -> Floats:
    """A metric's value in ns for each request, NaN where it has none. Only for OBJECTIVES."""
    of_request = BY_NAME[name].of_request
    assert of_request is not None, f"{name} has no value for a request"
    return of_request(rows)
