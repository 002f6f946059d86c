"""One benchmark: the engine sends, a run file keeps what came, and its requests are read from there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import vllmperf._engine as _engine
from vllmperf import temporary
from vllmperf.dropin.guidellm.profiles import Strategy
from vllmperf.dropin.guidellm.source import Source
from vllmperf.dropin.guidellm.target import Target
from vllmperf.formats.guidellm_report import CUT, Request
from vllmperf.loadgen import resolve
from vllmperf.loadgen.bodies import Body
from vllmperf.loadgen.environment import environment
from vllmperf.loadgen.feed import Feeder
from vllmperf.loadgen.request_id import request_id
from vllmperf.loadgen.run import engine_config
from vllmperf.loadgen.session import Session
from vllmperf.loadgen.subscribers import Enough, Progress, live, recorder, until
from vllmperf.record.reader import Recording, read
from vllmperf.record.writer import RunWriter
from vllmperf.server_words import said

NS = 1e9
NONE = _engine.NONE
NO_STREAM = "no_stream"


@dataclass(frozen=True, slots=True)
class Limits:
    """The end of a benchmark, and the most requests that may be open where the strategy does not say."""

    max_requests: int | None
    max_seconds: float | None
    max_concurrency: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a benchmark brought. requests: all that were sent, in the order in which they ended."""

    requests: list[Request]
    start_time: float
    interrupted: bool


@dataclass(frozen=True, slots=True)
class Counting:
    """Which count of tokens goes into the report: "response" (usage) or "request" (what was asked)."""

    prompt: str = "response"
    output: str = "response"


def run(
    target: Target,
    source: Source,
    strategy: Strategy,
    limits: Limits,
    counting: Counting,
    progress: Progress | None = None,
    look: Enough | None = None,
) -> Outcome:
    """Carry a strategy out. progress and look are called a few times a second (see load.subscribers)."""
    with temporary.new_folder("vllmperf-") as folder:
        path = Path(folder) / "run.vllmperf"
        state = _record(path, target, source, strategy, limits, progress, look)
        recording = read(path)
    requests = list(_requests(recording, target, source, counting))
    requests.sort(key=lambda item: item.end)
    return Outcome(requests, recording.counters["start_real_ns"] / NS, state == "interrupted")


def _record(
    path: Path,
    target: Target,
    source: Source,
    strategy: Strategy,
    limits: Limits,
    progress: Progress | None,
    look: Enough | None,
) -> str:
    task = target.task.replace(
        max_concurrency=strategy.limit(limits.max_concurrency),
        num_prompts=limits.max_requests,
        duration=limits.max_seconds,
    )
    plan = task.plan
    when = strategy.schedule(limits.max_requests, limits.max_seconds)
    bodies = (Body(target.body(source.item(number % source.count))) for number in itertools.count())
    config = engine_config(task, resolve.usable_addresses(plan.url), when)
    config |= {"follow_redirects": target.follows_redirects, "strict_events": True}
    facts = {**task.facts(), "strategy": strategy.to_dict(0.0)}
    session = Session(config, Feeder(bodies, when, plan.load.max_concurrency))
    with RunWriter(
        path, plan.to_dict(), environment(), secrets=task.credentials.secrets, facts=facts
    ) as writer:
        session.subscribe(recorder(writer))
        if look is not None:
            session.subscribe(until(look))
        if progress is not None:
            session.subscribe(live(session, progress))
        return session.run()


def _requests(recording: Recording, target: Target, source: Source, counting: Counting) -> Iterator[Request]:
    """The requests that were sent, as guidellm tells of them."""
    start_ns = int(recording.counters["start_real_ns"])
    names = recording.requests.dtype.names or ()
    for row, text, error in zip(recording.requests.tolist(), recording.texts, recording.errors, strict=True):
        record = dict(zip(names, row, strict=True))
        if record["sent_ns"] != NONE:
            item = source.item(record["index"] % source.count)
            asked = (item.shown, item.prompt_tokens, item.output_tokens)
            yield _request(record, text, error, asked, target, counting, start_ns)


def _request(
    record: dict[str, int],
    text: str | None,
    error: str | None,
    asked: tuple[str, int | None, int | None],
    target: Target,
    counting: Counting,
    start_ns: int,
) -> Request:
    def at(name: str) -> float | None:
        return None if record[name] == NONE else (start_ns + record[name]) / NS

    outcome = _outcome(record)
    status = {"completed": "successful", "incomplete": "incomplete"}.get(outcome, "errored")
    usage = (_known(record["prompt_tokens"]), _known(record["output_tokens"]))
    # what was cut off did not bring what was asked, and tokens without a time are in no figure
    asked_output = asked[2] if status == "successful" else None
    is_timed = record["first_token_ns"] != NONE
    sent_ns, slot_ns = record["sent_ns"], record["slot_wait_ns"]
    due_ns = record["scheduled_ns"] if record["scheduled_ns"] != NONE else sent_ns - max(slot_ns, 0)
    return Request(
        id=request_id(target.task.plan.workload.request_id_prefix or "", record["index"]),
        type=target.route,
        status=status,
        prompt=asked[0],
        output=text or "",
        prompt_tokens=_count(counting.prompt, asked[1], usage[0]),
        output_tokens=_count(counting.output, asked_output, usage[1]) if is_timed else 0,
        targeted=(start_ns + due_ns) / NS,
        start=(start_ns + sent_ns) / NS,
        end=at("end_ns") or (start_ns + sent_ns) / NS,
        first=at("first_token_ns"),
        last=at("last_token_ns"),
        error=_error(outcome, record["status"], error),
        worker=record["thread"],
    )


def _known(value: int) -> int | None:
    return None if value == NONE else value


def _count(preferred: str, asked: int | None, answered: int | None) -> int:
    """Tokens by the preferred source, else by the other one."""
    first, second = (asked, answered) if preferred == "request" else (answered, asked)
    return first or second or 0


def _outcome(record: Mapping[str, int]) -> str:
    """The engine's, with two exceptions.

    As in guidellm a stream that ends in order needs no [DONE] and no finish reason. Unlike there an answer without a
    stream is none: it has no times of tokens.
    """
    outcome = _engine.OUTCOMES[record["outcome"]]
    if outcome == "truncated" and record["clean_end"]:
        outcome = "completed"
    return NO_STREAM if outcome == "completed" and record["first_token_ns"] == NONE else outcome


def _error(outcome: str, status: int, text: str | None) -> str | None:
    if outcome == "completed":
        return None
    if outcome == "incomplete":
        return CUT
    if outcome == NO_STREAM:
        return f"{NO_STREAM}: the server did not stream, its answer came as one piece of JSON"
    answered = f" {status}" if outcome == "http_error" else ""
    return f"{outcome}{answered}: {said(text)}" if text else outcome + answered
