"""The steps of an engine, seen from outside: when one client sends all the load, every step ends with a bunch of
arrivals, one token for each stream that decodes.

A stream gets exactly one token in each step, so the bunches are cut where arrivals lie apart, and mended where a
stream would appear twice in a bunch (cut it) or would have skipped one (it was the same step, written slowly).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vllmperf.model.arrivals import NONE, Arrivals

CUT = 0.3
"""Arrivals that lie further apart than this share of the median gap of a stream belong to two steps."""
ROUNDS = 6
"""Mending ends when nothing changes, or after so many rounds."""
BEHIND, MOSTLY, LEAST_BEHIND = 0.1, 0.5, 5
"""First tokens that mostly come this share of a step behind those of the streams that decode are not of their step."""
LEAST_TOKENS = 50
"""Fewer do not show how streams shift against one another."""


@dataclass(frozen=True)
class Steps:
    """Steps in order of time; all arrays have one element a step.

    end_ns: float64, the first arrival of its bunch. duration_ns: float64, since the end before; NaN for the first.
    decodes: streams that got a token which was not their first. admitted: streams that got their first.
    prefill_tokens: of the prompts of those. context_tokens: tokens that the decoding streams look back on.
    pending: requests that were sent, had no token yet, and so may have been computed in this step.
    arrived: requests that were sent in this step.
    blurred: a token of this step or of one beside it came in one read with another, so that its time is not known.
    spread_ns: last less first arrival of the bunch.
    regular: share of all tokens that came exactly one step after the token before them. Where it is far from 1 the
    steps cannot be told apart. wander: by how much streams slowly shift against one another within the bunches, as a
    share of a step. Those of one engine do so only where it writes slowly, the oldest stream first.
    apart: prompts were computed in steps of their own, in which nobody decoded; each of those is part of the step after.
    """

    end_ns: NDArray[np.float64]
    duration_ns: NDArray[np.float64]
    decodes: NDArray[np.int64]
    admitted: NDArray[np.int64]
    prefill_tokens: NDArray[np.int64]
    context_tokens: NDArray[np.int64]
    pending: NDArray[np.int64]
    arrived: NDArray[np.int64]
    blurred: NDArray[np.bool_]
    spread_ns: NDArray[np.float64]
    regular: float
    wander: float = 0.0
    apart: bool = False

    def __len__(self) -> int:
        return len(self.end_ns)

    @property
    def pure(self) -> NDArray[np.bool_]:
        """Steps that did nothing but decode, right after another step, and whose time is known."""
        pure: NDArray[np.bool_] = (self.decodes > 0) & (self.admitted == 0) & (self.pending == 0)
        return pure & ~self.blurred & np.isfinite(self.duration_ns)


def steps(arrivals: Arrivals) -> Steps:
    """The steps behind the arrivals. Empty when there are none."""
    before = _place_of_token_before(arrivals)
    bunches = _prompts_cut_off(arrivals, _bunches(arrivals, before))
    number = _with_prompts_between(bunches, before)
    follows = before >= 0
    distance = number[follows] - number[before[follows]]
    # A first token may share its step with the second: that of a prompt which had a step of its own.
    regular = float(np.mean((distance == 1) | (distance == 0))) if follows.any() else 0.0
    apart = len(number) > 0 and int(bunches[-1] - number[-1]) >= LEAST_BEHIND
    return replace(_described(arrivals, number, regular), apart=apart)


def _place_of_token_before(arrivals: Arrivals) -> NDArray[np.int64]:
    """For each arrival the place of the same stream's token before it; -1 for a first token."""
    order = np.lexsort((arrivals.place, arrivals.stream))
    before = np.full(len(order), -1, dtype=np.int64)
    before[order[1:]] = order[:-1]
    before[arrivals.place == 0] = -1
    return before


def _bunches(arrivals: Arrivals, before: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of its step for each arrival."""
    at = arrivals.at_ns
    if len(at) == 0:
        return np.zeros(0, dtype=np.int64)
    apart = np.diff(at, prepend=at[0])
    follows = before >= 0
    usual = float(np.median(at[follows] - at[before[follows]])) if follows.any() else 0.0
    border = apart > CUT * usual
    border[0] = False
    for _ in range(ROUNDS):
        number = np.cumsum(border).astype(np.int64)
        missing = _same_bunch_twice(number, before)
        surplus = _skipped(number, before)
        if len(missing) == 0 and len(surplus) == 0:
            break
        for late in missing:
            early = int(before[late])
            if not border[early + 1 : late + 1].any():
                border[early + 1 + int(np.argmax(apart[early + 1 : late + 1]))] = True
        border[surplus] = False
    numbers: NDArray[np.int64] = np.cumsum(border).astype(np.int64)
    return numbers


def _prompts_cut_off(arrivals: Arrivals, number: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bunches without the first tokens that come behind them, where most do: an engine that computes prompts in steps of
    their own, which are short."""
    if len(number) == 0:
        return number
    count = int(number[-1]) + 1
    decodes = arrivals.place > 0
    last = np.full(count, -1, dtype=np.int64)
    np.maximum.at(last, number[decodes], np.flatnonzero(decodes))
    mixed = (last >= 0) & (np.bincount(number[~decodes], minlength=count) > 0)
    ends = np.searchsorted(number, np.arange(count), side="right")
    tail = last[mixed & (last + 1 < ends)] + 1
    starts = np.searchsorted(number, np.arange(count))
    usual = float(np.median(np.diff(arrivals.at_ns[starts]))) if count > 1 else np.inf
    behind = tail[arrivals.at_ns[tail] - arrivals.at_ns[tail - 1] > BEHIND * usual]
    if len(behind) < max(LEAST_BEHIND, MOSTLY * mixed.sum()):
        return number
    cut = np.zeros(len(number), dtype=np.int64)
    cut[behind] = 1
    return np.asarray(number + np.cumsum(cut))


def _with_prompts_between(number: NDArray[np.int64], before: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bunches of nothing but first tokens, while streams that decode wait, joined with the next bunch of those: the
    engine computed prompts in a step of their own, which lengthens that one step of the others."""
    follows = before >= 0
    if not follows.any():
        return number
    total = int(number[-1]) + 1
    decoding = np.bincount(number[follows], minlength=total) > 0
    change = np.zeros(total + 1, dtype=np.int64)
    np.add.at(change, number[before[follows]] + 1, 1)
    np.add.at(change, number[follows], -1)
    between = ~decoding & (np.cumsum(change)[:total] > 0)
    joined: NDArray[np.int64] = np.cumsum(np.append(True, ~between[:-1])) - 1
    return joined[number]


def _same_bunch_twice(number: NDArray[np.int64], before: NDArray[np.int64]) -> NDArray[np.int64]:
    """Arrivals whose stream is in the same bunch already."""
    return np.flatnonzero((before >= 0) & (number == number[before]))


def _skipped(number: NDArray[np.int64], before: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of borders whose bunch holds no stream of the bunch before it, and all of them skipped that one."""
    follows = before >= 0
    total = int(number[-1]) + 1
    decoding = np.bincount(number[follows], minlength=total)
    passed = np.cumsum(decoding > 0)
    distance = np.where(follows, passed[number] - passed[number[before]], 0)
    skipped = np.bincount(number[distance == 2], minlength=total)
    first: NDArray[np.int64] = np.searchsorted(number, np.arange(total))
    wrong = (decoding > 0) & (skipped == decoding)
    wrong[1:] &= ~wrong[:-1]  # of two in a row the first is mended, the other looked at again
    return np.asarray(first[wrong])


def _described(arrivals: Arrivals, number: NDArray[np.int64], regular: float) -> Steps:
    count = int(number[-1]) + 1 if len(number) else 0
    first_place = np.searchsorted(number, np.arange(count))
    end = _ends(arrivals, number, count)
    last = arrivals.at_ns[np.append(first_place[1:], len(number)) - 1] if count else end
    is_first = arrivals.place == 0
    prompt = arrivals.prompt_tokens[arrivals.stream]
    context = prompt + arrivals.place

    def per_step(mask: NDArray[np.bool_], weights: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        chosen = None if weights is None else weights[mask].astype(np.float64)
        return np.bincount(number[mask], weights=chosen, minlength=count).astype(np.int64)

    return Steps(
        end_ns=end,
        duration_ns=np.diff(end, prepend=np.nan),
        decodes=per_step(~is_first),
        admitted=per_step(is_first),
        prefill_tokens=per_step(is_first, prompt),
        context_tokens=per_step(~is_first, context),
        pending=_pending(arrivals, end),
        arrived=_arrived(arrivals, end),
        blurred=_beside(per_step(arrivals.shared) > 0),
        spread_ns=last - end,
        regular=regular,
        wander=_wander(arrivals, number, end),
    )


def _ends(arrivals: Arrivals, number: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """The first arrival of a stream that decodes; of any where none does."""
    decodes = arrivals.place > 0
    found = np.full(count, np.inf)
    np.minimum.at(found, number[decodes], arrivals.at_ns[decodes])
    early = np.full(count, np.inf)
    np.minimum.at(early, number, arrivals.at_ns)
    return np.where(np.isfinite(found), found, early)


def _wander(arrivals: Arrivals, number: NDArray[np.int64], end_ns: NDArray[np.float64]) -> float:
    """Chance moves a stream's arrivals about a place in the bunch, and a fixed order gives each a place of its own.
    What is left of their scatter, when that from one token to the next is taken off, is a slow shift."""
    rows = np.lexsort((arrivals.place, arrivals.stream))
    rows = rows[arrivals.place[rows] > 0]
    if len(rows) < LEAST_TOKENS or len(end_ns) < 2:
        return 0.0
    stream = arrivals.stream[rows]
    offset = arrivals.at_ns[rows] - end_ns[number[rows]]
    _, place = np.unique(stream, return_inverse=True)
    tokens = np.bincount(place)
    offset = offset - (np.bincount(place, offset) / tokens)[place]
    same = stream[1:] == stream[:-1]
    quick = np.mean(np.diff(offset)[same] ** 2) / 2 if same.any() else 0.0
    slow = max(float(np.mean(offset**2) - quick), 0.0)
    return float(np.sqrt(slow) / np.median(np.diff(end_ns)))


def _beside(marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    wide = marked.copy()
    wide[1:] |= marked[:-1]
    wide[:-1] |= marked[1:]
    return wide


def _pending(arrivals: Arrivals, end_ns: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many requests lay without a token in some part of each step, the step of their first token included."""
    sent = arrivals.sent_ns[arrivals.sent_ns != NONE]
    first = arrivals.first_ns[arrivals.sent_ns != NONE].astype(np.float64)
    first[first == NONE] = np.inf
    opened = np.searchsorted(end_ns, sent, side="left")  # the step in progress when it was sent
    closed = np.searchsorted(end_ns, first, side="right")  # its first token lies in the step before this one
    change = np.zeros(len(end_ns) + 1, dtype=np.int64)
    np.add.at(change, opened, 1)
    np.add.at(change, np.maximum(closed, opened), -1)
    return np.cumsum(change)[: len(end_ns)]


def _arrived(arrivals: Arrivals, end_ns: NDArray[np.float64]) -> NDArray[np.int64]:
    sent = arrivals.sent_ns[arrivals.sent_ns != NONE]
    return np.bincount(np.searchsorted(end_ns, sent, side="left"), minlength=len(end_ns))[: len(end_ns)]
