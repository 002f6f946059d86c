"""Every metric once: what it is called, what it measures, how it is computed, who shows it.

METRICS have many samples in a run, FIGURES are one number of a run. The summary, its JSON, tables, HTML, CSV, data frames,
`compare`, vLLM's result file, the objectives of goodput and docs/metrics.md read these two tables and nothing else: to
add a metric, add an entry here (with its function) and a test.

Metrics are of completed requests, from the moments at which the kernel received a chunk. This module is imported to check
a plan, so NumPy is not imported before a metric is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vllmperf.metrics.entry import Figure, Metric

if TYPE_CHECKING:
    from vllmperf.metrics.gap_values import GapValues
    from vllmperf.metrics.statistics import Samples
    from vllmperf.metrics.view import Completed, Floats, Rows

TOKENS_KNOWN_FROM = 0.9
"""itl_token is given when the tokens of at least this share of the chunks are known."""

VLLM = ("vllm-0.6", "vllm-0.8", "vllm-2026")


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


def _network(rows: Rows) -> Floats:
    """What the server did before the first token is not a part of it; without a stream nor what it did after that."""
    import numpy as np

    before = rows.field("server_queue_ns") + rows.field("server_prefill_ns")
    of_body = rows.between("sent_ns", "last_token_ns") - before - rows.field("server_decode_ns")
    of_stream = rows.between("sent_ns", "first_token_ns") - before
    return np.where(np.isnan(of_stream), of_body, of_stream)


def _delivery(rows: Rows) -> Floats:
    return rows.between("first_token_ns", "last_token_ns") - rows.field("server_decode_ns")


def _inference(rows: Rows) -> Floats:
    return rows.field("server_prefill_ns") + rows.field("server_decode_ns")


def _itl_streamed(done: Completed) -> GapValues | None:
    from vllmperf.metrics import statistics

    return done.itl_values if done.n_gaps > statistics.EXACT_UP_TO else None


def _itl_token(done: Completed) -> Samples:
    import numpy as np

    if not _knows_tokens(done):
        return np.zeros(0, dtype=np.float32)
    values = done.itl_token_values
    if values is done.itl_values:  # the usual stream: spare the copies
        return done.gaps_ns
    return values.all()


def _itl_token_streamed(done: Completed) -> GapValues | None:
    from vllmperf.metrics import statistics

    if done.n_gaps <= statistics.EXACT_UP_TO and _tokens_of_gaps(done) <= statistics.EXACT_UP_TO:
        return None
    return done.itl_token_values if _knows_tokens(done) else None


def _knows_tokens(done: Completed) -> bool:
    known = int(done.gap_facts.known.sum(dtype="int64"))
    return known > 0 and known >= TOKENS_KNOWN_FROM * done.n_gaps


def _tokens_of_gaps(done: Completed) -> int:
    return int(done.gap_facts.tokens.sum(dtype="int64"))


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
        streamed=_itl_streamed,
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
        streamed=_itl_token_streamed,
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
    Metric(
        name="client_wait",
        short="Client",
        label="Time from when a request was due until it left",
        formula="sent − scheduled",
        source="clock of the engine",
        needs="a schedule (open loop)",
        of_request=_between("scheduled_ns", "sent_ns"),
        is_scheduled=True,
    ),
    Metric(
        name="network",
        short="Network, front end",
        label="Time between us and the server's engine, both ways, its front end included",
        formula="TTFT − (server_queue + server_prefill); of an answer that is no stream, E2EL − all three times of the server",
        source="our stamps; the server's answer",
        needs="a server that tells its times in the answer (vLLM: --enable-per-request-metrics)",
        of_request=_network,
    ),
    Metric(
        name="server_queue",
        short="Server queue",
        label="Time that a request waited in the server's engine",
        formula="first scheduled − queued",
        source="the server's answer (`metrics.queue_time_ms`)",
        needs="a server that tells its times in the answer",
        of_request=lambda rows: rows.field("server_queue_ns"),
    ),
    Metric(
        name="server_prefill",
        short="Server prefill",
        label="Time that the server's engine took for the first token, preemptions included",
        formula="first token − first scheduled",
        source="the server's answer (`metrics.time_to_first_token_ms`)",
        needs="a server that tells its times in the answer",
        of_request=lambda rows: rows.field("server_prefill_ns"),
    ),
    Metric(
        name="server_decode",
        short="Server decode",
        label="Time that the server's engine took for the other tokens, preemptions included",
        formula="last token − first token, as they were made",
        source="the server's answer (`metrics.generation_time_ms`)",
        needs="a server that tells its times in the answer",
        of_request=lambda rows: rows.field("server_decode_ns"),
    ),
    Metric(
        name="server_inference",
        short="Server inference",
        label="Time that the server's engine worked on a request",
        formula="server_prefill + server_decode",
        source="the server's answer",
        needs="a server that tells its times in the answer",
        of_request=_inference,
    ),
    Metric(
        name="delivery",
        short="Delivery",
        label="How much longer the tokens took to arrive than to be made; below 0: the first one was held back",
        formula="(last token chunk − first token chunk) − server_decode",
        source="our stamps; the server's answer",
        needs="a stream of a server that tells its times in the answer",
        of_request=_delivery,
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
        path=("tokens", "per_chunk"),
        label="Output tokens a chunk",
        unit="tokens/chunk",
        formula="output tokens / token chunks, of streams whose tokens are known by usage or token ids",
        needs="a stream with usage or token ids",
        compute=lambda done: done.tokens_per_chunk,
    ),
    Figure(
        path=("speculative", "draft_tokens"),
        label="Drafted tokens",
        unit="tokens",
        formula="tokens that speculative decoding proposed: by the answers, else by the increase of the server's counter",
        needs="a server that tells its drafts (vLLM: --per-request-spec-decode-metrics, or /metrics)",
        compute=lambda done: done.drafts.tokens,
    ),
    Figure(
        path=("speculative", "accepted_tokens"),
        label="Accepted tokens",
        unit="tokens",
        formula="drafted tokens that became output, by the same source",
        needs="a server that tells its drafts",
        compute=lambda done: done.drafts.accepted,
    ),
    Figure(
        path=("speculative", "acceptance"),
        label="Accepted share of the drafted tokens",
        unit="share",
        formula="accepted / drafted tokens",
        needs="drafts",
        compute=lambda done: done.drafts.acceptance,
    ),
    Figure(
        path=("speculative", "tokens_per_step"),
        label="Output tokens a step with drafts",
        unit="tokens/step",
        formula="1 + accepted tokens / steps that verified drafts",
        needs="a server that tells its steps",
        compute=lambda done: done.drafts.tokens_per_step,
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
