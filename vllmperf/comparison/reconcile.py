"""Why two tools give different figures: the definition, the load that was really sent, tokens, connections, or chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from vllmperf.comparison.figures import Figures
from vllmperf.metrics.definitions import METRICS
from vllmperf.metrics.estimates import estimates
from vllmperf.metrics.quantity import Quantity, of_metric, quantity
from vllmperf.metrics.summary import Summary
from vllmperf.numbers import brief

STATISTICS = ("mean", "p50", "p99")
WANTED = (
    *(quantity(name) for name in ("requests_per_s", "output_tokens_per_s")),
    *(of_metric(metric, word) for metric in METRICS if metric.vllm for word in STATISTICS),
)
MATTERS = 0.01
"""A share by which two numbers must differ to be told."""
NO_RATE = (None, "inf", float("inf"))
MS_PER_S = 1000.0
BOTH = 2**0.5
"""An interval of a difference, where the other side is about as uncertain as ours."""
RULES = {
    "guidellm": "counts the whole run, percentiles are values that occurred, ITL is one value a request (its mean gap), TPOT "
    "counts the first token (docs/guidellm.md)",
    "llm_bench": "counts the whole run, latency per token counts the first token, rounded percentiles (docs/llm_bench.md)",
    "aiperf": "inter-token latency is one value a request, as our TPOT, by tokens that its own tokenizer counts",
    "vLLM": "counts the whole run, one SSE event is one token in ITL (docs/profiles.md)",
    "vllm-": "counts the whole run, one SSE event is one token in ITL (docs/profiles.md)",
}
"""By the beginning of the profile."""
CONNECTS = ("vllm-0.6", "vllm-0.8")
"""Tools that open a connection for each request."""


@dataclass(frozen=True, slots=True)
class Split:
    """One figure of both sides and what its difference is made of, in its own unit. definition: what the other rule makes of the
    same requests; rest: what remains; both None where no side has requests. chance: half a 95 % interval of the difference, where
    the side with requests tells it and the other one is as uncertain."""

    name: str
    label: str
    unit: str
    first: float
    second: float
    definition: float | None
    rest: float | None
    chance: float | None

    @property
    def is_chance(self) -> bool | None:
        """Whether the rest may be chance."""
        return None if self.chance is None or self.rest is None else abs(self.rest) <= self.chance


@dataclass(frozen=True, slots=True)
class Reason:
    """kind: definition, load, tokens, path or doubt. size: of the second side against the first, as a share, or None."""

    kind: str
    words: str
    size: float | None = None


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Both sides, the figures that both have, and what else differs."""

    first: str
    second: str
    figures: tuple[Split, ...]
    reasons: tuple[Reason, ...]

    def to_dict(self) -> dict[str, object]:
        figures = {one.name: {**asdict(one), "rest_within_chance": one.is_chance} for one in self.figures}
        return {
            "a": self.first,
            "b": self.second,
            "figures": figures,
            "reasons": [asdict(one) for one in self.reasons],
        }


def reconcile(first: Figures, second: Figures, by_other_rule: Figures | None) -> Reconciled:
    """by_other_rule: the side that has requests, by the rule of the other side; None where neither has, or the rule is one."""
    return Reconciled(
        first.name, second.name, tuple(_splits(first, second, by_other_rule)), tuple(_reasons(first, second))
    )


def _splits(first: Figures, second: Figures, other: Figures | None) -> Iterator[Split]:
    ours = first if first.done is not None else second
    known = {} if ours.done is None else estimates(ours.done, WANTED)
    for wanted in WANTED:
        a, b = first.value(wanted), second.value(wanted)
        if a is None or b is None:
            continue
        definition = _definition(wanted, first, second, other)
        half = known[wanted.name].interval.half if wanted.name in known else None
        yield Split(
            wanted.name,
            wanted.label,
            wanted.unit,
            a,
            b,
            definition,
            None if definition is None else b - a - definition,
            None if half is None else half * BOTH,
        )


def _definition(wanted: Quantity, first: Figures, second: Figures, other: Figures | None) -> float | None:
    if first.rule == second.rule:
        return 0.0
    there = None if other is None else other.value(wanted)
    own = first if first.done is not None else second
    value = own.value(wanted)
    if there is None or value is None:
        return None
    return there - value if own is first else value - there


def _reasons(first: Figures, second: Figures) -> Iterator[Reason]:
    for side in (first, second):
        rule = next(
            (text for name, text in RULES.items() if side.rule.startswith(name) and side.done is None), None
        )
        if first.rule != second.rule and rule:
            yield Reason("definition", f"{side.name} ({side.rule}): {rule}")
    yield from _load(first, second)
    for side in (first, second):
        yield from _tokens(side)
        yield from _path(side)
        yield from _outside_the_server(side)
        if first.rule != second.rule:
            yield from _stamps(side)
        yield from (Reason("doubt", f"{side.name}: {words}") for words in side.warnings)


def _load(first: Figures, second: Figures) -> Iterator[Reason]:
    sides = _loads(first), _loads(second)
    is_result = _is_closed(first) and _is_closed(second)
    for name, unit in (
        ("requests completed", "load"),
        ("requests failed", "load"),
        ("requests/s", "load"),
        ("mean requests at once", "load"),
        ("asked concurrency", "load"),
        ("prompt tokens a request", "load"),
        ("output tokens a request", "tokens"),
    ):
        a, b = (side.get(name) for side in sides)
        if a is None or b is None or abs(b - a) <= MATTERS * max(abs(a), abs(b)):
            continue
        if name == "requests/s" and is_result:
            continue
        yield Reason(unit, f"{name} {a:,.4g} → {b:,.4g}", None if a == 0 else b / a - 1)


def _is_closed(side: Figures) -> bool:
    """Whether a limit of requests in flight is the load, so that the rate is a result."""
    plan = {} if side.summary is None else side.summary["plan"]
    return bool(plan.get("max_concurrency")) and plan.get("request_rate") in NO_RATE


def _at_once(summary: Summary) -> float | None:
    """Mean requests in flight: as the file says, else by Little's law."""
    said, rate, e2el = (
        summary["in_flight"]["mean"],
        summary["throughput"].get("requests_per_s"),
        summary["metrics"]["e2el_ms"],
    )
    if said is not None or rate is None or not e2el:
        return said
    return float(rate * e2el["mean"] / MS_PER_S)


def _loads(side: Figures) -> Mapping[str, float | None]:
    if side.summary is None:
        return {}
    requests, tokens = side.summary["requests"], side.summary["tokens"]
    completed = requests["completed"]

    def each(count: float | None) -> float | None:
        return None if count is None or not completed else count / completed

    return {
        "requests completed": completed,
        "requests failed": requests["not_completed"],
        "requests/s": side.summary["throughput"]["requests_per_s"],
        "mean requests at once": _at_once(side.summary),
        "asked concurrency": side.summary["in_flight"]["asked"],
        "prompt tokens a request": each(tokens["prompt"]),
        "output tokens a request": each(tokens["output"]),
    }


def _tokens(side: Figures) -> Iterator[Reason]:
    yield from (Reason("tokens", f"{side.name}: {note}") for note in side.notes)


def _path(side: Figures) -> Iterator[Reason]:
    if side.rule in CONNECTS:
        yield Reason("path", f"{side.name} ({side.rule}) opens a connection for each request, inside TTFT")
    if side.summary is None or side.done is None:
        return
    opened, connect = side.summary["client"]["connections_opened"], side.summary["client"]["connect_ms"]
    completed = side.summary["requests"]["completed"]
    if connect and completed:
        share = min(opened / completed, 1.0)
        yield Reason(
            "path",
            f"{side.name}: {opened:,} connections for {completed:,} requests, {connect['mean']:.3g} ms each: "
            f"{share * connect['mean']:.3g} ms of mean TTFT at most",
        )


def _outside_the_server(side: Figures) -> Iterator[Reason]:
    """What client, network and the server's front end can have added at most, where the answers tell the engine's times."""
    times = None if side.summary is None else side.summary.get("server_times")
    if not times or not (split := times["split_ms"]):
        return
    engine_ms = sum(split[f"server_{part}"] or 0.0 for part in ("queue", "prefill", "decode"))
    e2el_ms = split["e2el"] or 0.0
    yield Reason(
        "path",
        f"{side.name}: the engine's own times make {brief(engine_ms)} of {brief(e2el_ms)} ms of mean E2EL, so its client, the "
        f"network and the front end are at most {brief(e2el_ms - engine_ms)} ms of a difference",
    )


def _stamps(side: Figures) -> Iterator[Reason]:
    """When a chunk is stamped: at its arrival, or when a program came to it."""
    if side.done is None:
        yield Reason(
            "path",
            f"{side.name} ({side.rule}) stamps a chunk when its program comes to it: what that was late is in its times, and the "
            "file does not tell how much",
        )
    elif side.summary is not None and (lag := side.summary["client"]["client_lag_ms"]):
        yield Reason(
            "path",
            f"{side.name} stamps a chunk when it arrives; its program saw it {lag['p50']:.3g} ms (p50), {lag['p99']:.3g} ms "
            "(p99) later",
        )
