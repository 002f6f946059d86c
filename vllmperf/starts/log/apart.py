"""Ready lines that stand apart from vLLM's: stderr and stdout were kept in two files and joined one behind the other.

Uvicorn says ready on stderr, without a stamp; vLLM's logger writes to stdout. A ready line that stands where no server
can have said it is loose, and is given to a start only where that is known: by the pid, else by its stamp, else where
there are as many loose ones as starts that wait for one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from vllmperf.starts.log.attempt import Attempt, Life
from vllmperf.starts.log.marker import version_key
from vllmperf.starts.log.summary import root_of, version
from vllmperf.starts.log.wallclock import Moment
from vllmperf.starts.result import NS_PER_S

ROUTES_SINCE = (0, 5, 2)  # earlier releases print nothing between the engine's last line and uvicorn's first
NEAR_NS = 2 * NS_PER_S  # stamps of two streams differ by so much


def settle(attempts: Sequence[Attempt]) -> list[Attempt]:
    """One server's attempts, with the loose ready lines where they belong. Attempts themselves are not changed."""
    attempts = [*map(_hosted, _without_strangers(attempts))]
    lives = [life for attempt in attempts for life in _loose(attempt)]
    if not lives:
        return list(attempts)
    waiting = [attempt for attempt in attempts if _waits(attempt)]
    given = _given(waiting, lives, {id(a): b.first for a, b in pairwise(attempts)})
    settled = [
        _with(attempt, given[id(attempt)]) if id(attempt) in given else attempt for attempt in attempts
    ]
    claimed = {life.ready.line for life in given.values()}
    return [each for each in settled if not (each.is_web_only and _is_claimed(each, claimed))]


def _without_strangers(attempts: Sequence[Attempt]) -> list[Attempt]:
    """The last start takes the first ready line that stands behind it. It is loose where an earlier start waits and
    the last one did not come as far as uvicorn, or the pid is the earlier one's."""
    out = list(attempts)
    last = out[-1]
    if last.ready is None or _is_stamped(last.ready) or last.is_web_only:
        return out
    life = Life(last.ready_pid, last.ready)
    earlier = [attempt for attempt in out[:-1] if attempt.front is not None and _waits(attempt)]
    if earlier and (last.front is None or not _fits(last, life)):
        out[-1] = replace(last, ready=None, ready_stamp=None, loose=[life, *last.loose])
    return out


def _hosted(attempt: Attempt) -> Attempt:
    """Ray Serve's line of the engine's replica counts before the engine's too, where its stamp comes after them."""
    if attempt.ready is not None or not attempt.replicas.early or not attempt.is_hosted_engine_up:
        return attempt
    done = max(attempt.done.values(), key=lambda moment: moment.line, default=attempt.last)
    said = (
        each.moment
        for each in attempt.replicas.early
        if _is_stamped(each.moment)
        and _is_before(done, each.moment)
        and attempt.replicas.is_ready(each.component, each.message, attempt.server_pids)
    )
    ready = min(said, key=_instant, default=None)
    problem = root_of(attempt) if ready is not None else None
    return (
        attempt if ready is None or problem is not None else replace(attempt, ready=ready, ready_stamp=ready)
    )


def _loose(attempt: Attempt) -> list[Life]:
    """Those of an attempt in which nothing but uvicorn speaks are all loose."""
    own = (
        [Life(attempt.ready_pid, attempt.ready)] if attempt.is_web_only and attempt.ready is not None else []
    )
    return sorted([*own, *attempt.loose], key=lambda life: life.ready.line)


def _is_claimed(attempt: Attempt, claimed: set[int]) -> bool:
    lives = _loose(attempt)
    return bool(lives) and any(life.ready.line in claimed for life in lives)


def _waits(attempt: Attempt) -> bool:
    """Whether a start came as far as uvicorn, and nothing says whether that came up."""
    if attempt.ready is not None:
        return False
    problem = root_of(attempt)
    if attempt.front is not None:
        return problem is None or problem.line > attempt.front.line
    if problem is not None or attempt.has_engine_failed:
        return False
    old = version_key(version(attempt) or "")
    sized = attempt.has("blocks", "gpu_blocks", "cpu_blocks")
    return bool(old) and old < ROUTES_SINCE and attempt.api and sized


def _given(
    waiting: Sequence[Attempt], lives: Sequence[Life], ends: Mapping[int, Moment | None]
) -> dict[int, Life]:
    """{id of an attempt: its life}. ends: the first moment of the attempt after it."""
    out: dict[int, Life] = {}
    stamped = [life for life in lives if life.bound and _is_stamped(life.ready)]
    for attempt in waiting:
        front, end = attempt.front or attempt.last, ends.get(id(attempt))
        fitting = [
            life
            for life in stamped
            if _fits(attempt, life) and _is_before(front, life.ready) and not _is_before(end, life.ready)
        ]
        if fitting:
            out[id(attempt)] = min(fitting, key=lambda life: _instant(life.ready))
            stamped.remove(out[id(attempt)])
    rest = [attempt for attempt in waiting if id(attempt) not in out]
    bare = [life for life in lives if not _is_stamped(life.ready)]
    for pids in dict.fromkeys(frozenset(attempt.server_pids) for attempt in rest):
        of_pids = [attempt for attempt in rest if attempt.server_pids == pids]
        mine = [life for life in bare if _fits(of_pids[0], life)]
        if len(mine) == len(of_pids) or len(of_pids) == 1:
            pairs = zip(of_pids, mine, strict=False)
            out |= {id(attempt): life for attempt, life in pairs if life.bound}
    return out


def _fits(attempt: Attempt, life: Life) -> bool:
    """By the pid, where vLLM's own lines say that of the server."""
    return not attempt.server_pids or life.pid in attempt.server_pids


def _is_stamped(moment: Moment) -> bool:
    return moment.stamp is not None or moment.envelope_ns is not None


def _is_before(moment: Moment | None, ready: Moment) -> bool:
    """Whether a ready line that has a stamp comes after a moment, as far as both have stamps of one kind."""
    if moment is None:
        return False
    if ready.envelope_ns is not None and moment.envelope_ns is not None and ready.local == moment.local:
        return ready.envelope_ns + NEAR_NS >= moment.envelope_ns
    if ready.stamp is not None and moment.stamp is not None:
        return (ready.turn, ready.stamp) >= (moment.turn, moment.stamp)
    return False


def _instant(moment: Moment) -> tuple[int, int, tuple[int, ...]]:
    return moment.envelope_ns or 0, moment.turn, tuple(moment.stamp or ())


def _with(attempt: Attempt, life: Life) -> Attempt:
    """The attempt as ready: without a stamp as late as the last line before uvicorn's first."""
    stamp = life.ready if life.ready.stamp is not None else attempt.front or attempt.last
    ready = life.ready if _is_stamped(life.ready) or stamp is None else stamp._replace(line=life.ready.line)
    return replace(attempt, ready=ready, ready_stamp=stamp, ready_apart=True)
