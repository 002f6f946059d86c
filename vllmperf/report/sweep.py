"""A sweep as people read it: a table of the set-ups for each load, and what each changes against the first one in a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from vllmperf.metrics.quantity import Quantity, quantity
from vllmperf.metrics.repeats import repeat_interval
from vllmperf.numbers import NOTHING, brief, clean, decimals, fixed, number, plural
from vllmperf.report.margins import margin
from vllmperf.report.sheet import Sheet
from vllmperf.report.table import Row, Span, Table
from vllmperf.sweeps.effects import Effect
from vllmperf.sweeps.result import NOT_YET, Measured, Sweep
from vllmperf.sweeps.servers import server_columns

COLUMNS = {
    "TTFT p50, ms": quantity("ttft_p50"),
    "p99": quantity("ttft_p99"),
    "ITL mean, ms": quantity("itl_mean"),
    "output tokens/s": quantity("output_tokens_per_s"),
    "requests/s": quantity("requests_per_s"),
}
OF_SERVERS = {
    "replicas": ("replicas", 1.0),
    "prefix hits, %": ("server_prefix_hit_rate", 100.0),
    "requests max/min": ("server_requests_max_over_min", 1.0),
    "CV, %": ("server_requests_cv", 100.0),
    "running": ("server_running_mean", 1.0),
    "waiting": ("server_waiting_mean", 1.0),
    "KV cache, %": ("server_kv_cache_share_max", 100.0),
    "preemptions": ("server_preemptions", 1.0),
}
"""Column of the rows, and what makes it the number that is shown."""
SERVER_WORDS = (
    "servers: between the pages of metrics before and after each run, means over the repeats; running and waiting of all "
    "replicas, means over time; KV cache: the largest of any replica"
)
WORDS = {
    "output_tokens_per_s": "throughput",
    "ttft_p50": "TTFT p50",
    "ttft_p99": "TTFT p99",
    "itl_mean": "ITL",
}


def sheet(found: Sweep) -> Sheet:
    """The set-ups at each load, and what each changes."""
    return Sheet([_head(found), *_tables(found), list(_sentences(found)), list(_notes(found))])


def _head(found: Sweep) -> list[Span]:
    done = sum(one.told is not None for one in found.points)
    parts = [
        plural(len(found.setups), "set-up"),
        plural(len(found.loads), "load"),
        plural(found.definition.course.repeat, "repeat"),
    ]
    words = f"{' × '.join(parts)}: {done} of {plural(len(found.points), 'point')} measured, in {found.path}"
    return [(words, "strong" if found.is_complete else "warning")]


def _tables(found: Sweep) -> list[Table]:
    tables = []
    for load in found.loads:
        rows = tuple(_row(name, found.of(name, load)) for name in found.setups)
        servers = tuple(_server_row(name, found.of(name, load)) for name in found.setups)
        tables += [
            Table(load or "set-up", tuple(COLUMNS), rows),
            Table("servers", tuple(OF_SERVERS), servers),
        ]
    return [one for one in tables if any(cell != NOTHING for row in one.rows for cell in row.cells)]


def _server_row(name: str, runs: Sequence[Measured]) -> Row:
    known = [server_columns(run.servers) for run in runs if run.servers]
    cells = [_mean([one[column] for one in known], factor) for column, factor in OF_SERVERS.values()]
    return Row(clean(name), tuple(cells))


def _mean(values: Sequence[float | None], factor: float) -> str:
    known = [factor * value for value in values if value is not None]
    return number(fmean(known)) if known else NOTHING


def _row(name: str, runs: Sequence[Measured]) -> Row:
    cells = [_cell(one, runs) for one in COLUMNS.values()]
    return Row(clean(name), tuple(cell for cell, _ in cells), margins=tuple(margins for _, margins in cells))


def _cell(one: Quantity, runs: Sequence[Measured]) -> tuple[str, str]:
    values = [value for run in runs if (value := run.value(one)) is not None]
    if not values:
        return NOTHING, ""
    mean = fmean(values)
    places, bounds = decimals([mean]), repeat_interval(values)
    if bounds.low is None or bounds.high is None:
        return fixed(mean, places), ""
    return fixed(mean, places), margin(mean, (bounds.low, bounds.high), places)


# ---- sentences ----


def _sentences(found: Sweep) -> Iterator[Span]:
    for load in found.loads:
        for setup in found.setups[1:]:
            known = [one for one in found.effects if (one.setup, one.load) == (setup, load)]
            if known:
                yield _sentence(known), ""


def _sentence(effects: Sequence[Effect]) -> str:
    first = effects[0]
    at = f", {first.load}" if first.load else ""
    beyond = [_change(one) for one in effects if one.is_beyond_chance]
    likely = [_change(one) for one in effects if one.is_likely]
    within = [
        WORDS[one.quantity.name] for one in effects if one.is_beyond_chance is False and not one.is_likely
    ]
    unknown = [WORDS[one.quantity.name] for one in effects if one.is_beyond_chance is None]
    parts = [
        ", ".join(beyond),
        f"perhaps {', '.join(likely)}" if likely else "",
        f"{', '.join(within)} no difference beyond chance" if within else "",
        f"{', '.join(unknown)} cannot be told from chance" if unknown else "",
    ]
    return f"{clean(first.setup)} against {clean(first.against)}{at}: {'; '.join(part for part in parts if part)}"


def _change(one: Effect) -> str:
    """TTFT p50 −31 % (−35 … −27)"""
    words = f"{WORDS[one.quantity.name]} {percent(one.change)} %"
    if one.low is None or one.high is None:
        return words
    return f"{words} ({percent(one.low)} … {percent(one.high)})"


def percent(share: float) -> str:
    """+12, −0.31"""
    digits = brief(abs(100 * share), 2)
    return digits if digits == "0" else f"{'+' if share > 0 else '−'}{digits}"


# ---- notes ----


def _notes(found: Sweep) -> Iterator[Span]:
    repeats = found.definition.course.repeat
    if repeats > 1:
        yield "±: 95 % interval of the mean over the repeats (Student's t)", "dim"
    if any(one.servers for one in found.points):
        yield SERVER_WORDS, "dim"
    if found.effects:
        yield _chance(found, repeats), "dim"
    if any(one.is_likely for one in found.effects):
        yield (
            f"perhaps: beyond chance if it were alone, but not as one of {len(found.effects)}: more repeats tell",
            "dim",
        )
    for name, why in found.failures.items():
        yield f"{clean(name)} failed: {clean(why)}", "warning"
    missing = sum(one.told is None and one.why == NOT_YET for one in found.points)
    if missing:
        yield f"{plural(missing, 'point')} not measured yet: the same command goes on", "warning"
    yield from _warnings(found)
    for one in found.points:
        for note in one.servers.to_dict()["notes"] if one.servers else ():
            yield f"{one.path.name}: {clean(note)}", "warning"


def _chance(found: Sweep, repeats: int) -> str:
    n = len(found.effects)
    if repeats == 1:
        return f"Changes with 95 % intervals within the runs, corrected for {n} (Holm); repeats also see drift between runs"
    return f"Changes with 95 % intervals over the repeats, paired by seed; beyond chance after correction for {n} (Holm)"


def _warnings(found: Sweep) -> Iterator[Span]:
    """Why runs are not trusted: each rule once, in the words of the first run that it found something in."""
    told = [one for one in found.points if one.told is not None]
    for rule in dict.fromkeys(name for one in told if one.told for name in one.told.reasons):
        runs = [one for one in told if one.told and rule in one.told.reasons]
        first = runs[0]
        assert first.told is not None
        more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
        yield f"{first.path.name}{more}: {clean(first.told.reasons[rule])}", "warning"
