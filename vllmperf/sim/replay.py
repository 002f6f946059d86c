"""The batching simulator in virtual time: arrivals and lengths in, the times of all tokens and steps out.

The scheduler and the law of step times are those of `vllmperf sim --mode batching`; there are no sockets and
no clock, so an hour of load takes about a second. `docs/simulator.md` says what the settings mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vllmperf.errors import UsageError
from vllmperf.sim.config import checked


@dataclass(frozen=True)
class Replay:
    """What happened; all times in ns from 0.

    requests: structured array, one row a request in the order given: arrival_ns, scheduled_ns (of its first
    admission), first_token_ns, last_token_ns, cached_tokens (of the prompt, found in the prefix cache),
    preemptions.
    steps: one row a step: start_ns, end_ns, decodes, padded (decodes paid for: the graph's size),
    decode_context (tokens that decodes read), prefills (requests), prefill_tokens, prefill_attention (pairs of
    tokens), running, waiting, admitted, preempted, used_blocks; empty when steps were not wanted.
    visits: how often the simulation looked at a request: what the replay cost. Where nobody can be thrown out and no
    prefix is shared, twice a request; else once for each token.
    """

    requests: NDArray[np.void]
    steps: NDArray[np.void]
    n_steps: int
    visits: int
    output_tokens: NDArray[np.int64]

    @property
    def ttft_ms(self) -> NDArray[np.float64]:
        """From arrival to the first token, of each request."""
        return self._between_ms("arrival_ns", "first_token_ns")

    @property
    def queue_ms(self) -> NDArray[np.float64]:
        """From arrival to the first admission, of each request."""
        return self._between_ms("arrival_ns", "scheduled_ns")

    @property
    def tpot_ms(self) -> NDArray[np.float64]:
        """Mean time between the tokens of each request; NaN when it has only one."""
        gaps = self.output_tokens - 1
        span = self._between_ms("first_token_ns", "last_token_ns")
        return np.where(gaps > 0, span / np.maximum(gaps, 1), np.nan)

    def _between_ms(self, begin: str, end: str) -> NDArray[np.float64]:
        span: NDArray[np.int64] = self.requests[end] - self.requests[begin]
        return span / 1e6

    @property
    def duration_s(self) -> float:
        """From time 0 to the last token."""
        return float(self.requests["last_token_ns"].max(initial=0)) / 1e9


def replay(
    prompt_tokens: ArrayLike,
    output_tokens: ArrayLike,
    *,
    arrival_s: ArrayLike | None = None,
    concurrency: int | None = None,
    prefix: ArrayLike | None = None,
    prefix_tokens: ArrayLike | None = None,
    priority: ArrayLike | None = None,
    steps: bool = True,
    **settings: Any,
) -> Replay:
    """Serve the requests, which come at `arrival_s` (s from 0, ascending) or in a closed loop of `concurrency`.

    Arrays have one element a request; a number stands for the same of all. Requests with an equal number in
    `prefix` begin with the same `prefix_tokens` tokens. settings: those of `vllmperf.sim.config.SETTINGS` for
    the batching mode. UsageError for settings or requests that cannot be.
    """
    import vllmperf._sim as _sim

    if (arrival_s is None) == (concurrency is None):
        raise UsageError("replay needs either arrival_s or a concurrency")
    if concurrency is not None and concurrency < 1:
        raise UsageError(f"concurrency is {concurrency}; it must be at least 1")
    if (prefix is None) != (prefix_tokens is None):
        raise UsageError("prefix and prefix_tokens belong together; give both or none")
    arrival_ns = None if arrival_s is None else np.rint(np.asarray(arrival_s, np.float64) * 1e9)
    arrival, prompt, output, group, group_tokens, order = same_length(
        (arrival_ns, prompt_tokens, output_tokens, prefix, prefix_tokens, priority)
    )
    try:
        n_steps, visits, requests, step_rows = _sim.replay(
            checked({**settings, "mode": "batching"}),
            arrival,
            prompt,
            output,
            group,
            group_tokens,
            order,
            concurrency or 0,
            steps,
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    return Replay(
        np.frombuffer(requests, row_type(_sim.REPLAY_REQUEST)),
        np.frombuffer(step_rows, row_type(_sim.REPLAY_STEP)),
        n_steps,
        visits,
        output,
    )


def same_length(given: tuple[ArrayLike | None, ...]) -> list[Any]:
    """int64 arrays of one length; None stays None."""
    there = [np.atleast_1d(np.asarray(values)) for values in given if values is not None]
    try:
        (length,) = np.broadcast_shapes(*(values.shape for values in there))
    except ValueError:
        lengths = ", ".join(str(len(values)) for values in there)
        raise UsageError(f"the arrays of requests have different lengths: {lengths}") from None
    return [
        None
        if values is None
        else np.ascontiguousarray(np.broadcast_to(np.asarray(values), length), np.int64)
        for values in given
    ]


def row_type(columns: str) -> np.dtype[np.void]:
    return np.dtype([(name, np.int64) for name in columns.split()])
