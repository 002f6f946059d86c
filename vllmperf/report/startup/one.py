"""One start in full: facts, waterfall, ranks, the log's own numbers, sleep, failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len

from vllmperf.numbers import NOTHING, clean, share
from vllmperf.report.layout import cut
from vllmperf.report.startup.bars import Marks, bar
from vllmperf.report.startup.spans import (
    REST,
    elapsed_s,
    family,
    label,
    offset_s,
    places,
    resolution_s,
    tree,
    unseen,
)
from vllmperf.report.startup.text_table import Column, TextTable, block, line_width
from vllmperf.report.startup.words import (
    STEP,
    facts,
    figure,
    name_words,
    precision,
    reported_label,
    value_text,
)
from vllmperf.report.table import INDENT, Line, joined, pairs, said
from vllmperf.starts.result import Phase, SleepCycle, Start, StartupLog, Value

NARROWEST_BAR = 16
WIDEST_BAR = 60
WIDEST_LABEL = 36
RANKS_IN_FULL = 2


def one(start: Start, width: int, marks: Marks) -> list[Line]:
    """All that is known of a start."""
    parts = [
        [_title(start, width), *_facts(start, width)],
        failure(start, width),
        waterfall(start, width, marks),
        *[block(table, width) for table in tables(start)],
        _notes(start, width),
    ]
    return joined(parts)


def tables(start: Start) -> list[TextTable]:
    """What stands below the waterfall: ranks, the log's own numbers, sleep."""
    found = [_ranks(start.log), _reported(start.log), _sleep(start, start.log.sleep)] if start.log else []
    return [table for table in (*found, _asked_cycles(start.facts)) if table is not None]


def _title(start: Start, width: int) -> Line:
    return [(INDENT + cut(name_words(start), width - len(INDENT)), "title")]


def _facts(start: Start, width: int) -> list[Line]:
    found = facts(start)
    return pairs(found, max((cell_len(label) for label, _ in found), default=0) + len(INDENT), width)


# ---- waterfall ----


def waterfall(start: Start, width: int, marks: Marks) -> list[Line]:
    """A line for each phase, with its bar on the axis of the whole start, and the total below."""
    rows = _rows(start)
    if not rows:
        return []
    labels = [cut(_label(phase), WIDEST_LABEL) for phase in rows]
    table = TextTable(
        ("Phase", *labels, "total" if start.reached else "seen"),
        tuple(_columns(start, rows)),
        (*(family(phase.name).label for phase in rows), "strong"),
    )
    found = block(table, width, keep=NARROWEST_BAR + 2)
    room = min(width - line_width(found[0]) - 2, WIDEST_BAR)
    for line, phase in zip(found[1:], rows, strict=False):
        line.append(("  " + _bar(start, phase, room, marks), family(phase.name).label))
    missing = ", ".join(label(name) for name in unseen(start))
    return found + (said([(f"not seen: {missing}", "dim")], width) if missing else [])


def _rows(start: Start) -> list[Phase]:
    """In order of time; below a phase its slowest and its fastest rank, all of them when there are two."""
    found: list[Phase] = []
    for phase, ranks in tree(start):
        found += [phase, *(ranks if len(ranks) <= RANKS_IN_FULL else [ranks[0], ranks[-1]])]
    return found


def _label(phase: Phase) -> str:
    name = label(phase.name) if phase.rank is None or phase.critical else clean(phase.rank)
    if phase.detail:
        name = f"{name}, {clean(phase.detail)}"
    return name if phase.critical else f"· {name}"


def _columns(start: Start, rows: list[Phase]) -> list[Column]:
    total = elapsed_s(start)
    whole = places(resolution_s(start))
    reported = [phase.reported_s for phase in rows]
    columns = [
        Column(
            "start, s",
            (*(figure(offset_s(start, p.start_ns), _places(p, whole)) for p in rows), ""),
            worth=3,
        ),
        Column(
            "took, s",
            (*(figure(p.duration_s, _places(p, whole)) for p in rows), figure(total, whole)),
            worth=9,
        ),
        Column("share", (*(_share(p, total) for p in rows), ""), worth=2),
        Column("log says", (*(_log_says(value) for value in reported), ""), worth=4),
        Column("source", (*(_source(phase) for phase in rows), ""), worth=1, is_number=False),
    ]
    return columns if any(value is not None for value in reported) else [*columns[:3], columns[4]]


def _places(phase: Phase, whole: int) -> int:
    return whole if phase.resolution_s is None else places(phase.resolution_s)


def _share(phase: Phase, total: float | None) -> str:
    """Only of phases that add up to the whole; all with one decimal, so that they stand under each other."""
    if not phase.critical:
        return ""
    if phase.duration_s is None or not total:
        return NOTHING
    part = phase.duration_s / total
    return f"{100 * part:.1f} %" if part in (0, 1) else share(part)


def _log_says(value: float | None) -> str:
    return "" if value is None else value_text(value)


def _source(phase: Phase) -> str:
    return f"{clean(phase.source)} {precision(phase.resolution_s)}".rstrip()


def _bar(start: Start, phase: Phase, room: int, marks: Marks) -> str:
    begin, end, total = offset_s(start, phase.start_ns), offset_s(start, phase.end_ns), elapsed_s(start)
    if begin is None or end is None or not total:
        return ""
    mark = marks.rest if phase.name == REST else marks.path if phase.critical else marks.beside
    return bar(begin, end, total, room, mark, marks)


# ---- what the log says ----


def _ranks(log: StartupLog) -> TextTable | None:
    """Slowest and fastest rank of each number that more than one rank reports."""
    found = [(name, _numbers(values)) for name, values in log.per_rank.items()]
    found = [(name, values) for name, values in found if len(values) > 1]
    if not found:
        return None
    rows = [_extremes(values) for _, values in found]
    return TextTable(
        ("Ranks", *(_with_unit(name) for name, _ in found)),
        (
            Column("n", tuple(str(len(values)) for _, values in found), worth=1),
            Column("most", tuple(row[0] for row in rows), worth=9),
            Column("in", tuple(row[1] for row in rows), worth=4, is_number=False),
            Column("least", tuple(row[2] for row in rows), worth=8),
            Column("in", tuple(row[3] for row in rows), worth=3, is_number=False),
        ),
    )


def _extremes(values: Mapping[str, float]) -> tuple[str, str, str, str]:
    """Most and in which rank, least and in which rank."""
    most, least = max(values, key=lambda rank: values[rank]), min(values, key=lambda rank: values[rank])
    if values[most] == values[least]:
        return value_text(values[most]), "all alike", "", ""
    return value_text(values[most]), clean(most), value_text(values[least]), clean(least)


def _numbers(values: Mapping[str, Value]) -> dict[str, float]:
    return {rank: v for rank, v in values.items() if v is not None and not isinstance(v, bool)}


def _with_unit(name: str) -> str:
    words, unit = reported_label(name)
    return f"{words}, {unit}" if unit else words


def _reported(log: StartupLog) -> TextTable | None:
    """The numbers that the log itself gives, the speculative model's beside them."""
    said = [name for name, value in log.reported.items() if value is not None]
    said += [name for name, value in log.drafter.items() if value is not None and name not in said]
    if not said:
        return None
    columns = [Column("", tuple(value_text(log.reported.get(name)) for name in said), worth=9)]
    if log.drafter:
        cells = tuple(value_text(log.drafter.get(name)) for name in said)
        columns.append(Column("drafter", cells, worth=5))
    units = tuple(reported_label(name)[1] for name in said)
    columns.insert(1, Column("", units, worth=6, is_number=False))
    return TextTable(("The log's own numbers", *(reported_label(name)[0] for name in said)), tuple(columns))


def _sleep(start: Start, cycles: Sequence[SleepCycle]) -> TextTable | None:
    if not cycles:
        return None
    columns = (
        Column("at, s", tuple(figure(offset_s(start, cycle.at_ns), 0) for cycle in cycles), worth=2),
        Column("took, s", tuple(value_text(cycle.duration_s) for cycle in cycles), worth=9),
        Column("freed, GiB", tuple(value_text(cycle.freed_gib) for cycle in cycles), worth=5),
        Column("still in use, GiB", tuple(value_text(cycle.in_use_gib) for cycle in cycles), worth=4),
    )
    return TextTable(("Sleep and wake", *map(_cycle_label, cycles)), columns)


CYCLE_COLUMNS = (
    ("answered after, s", "s", 9),
    ("log says, s", "log_s", 5),
    ("freed, GiB", "freed_gib", 4),
    ("to first token, s", "to_first_token_s", 8),
)


def _asked_cycles(facts: Mapping[str, str | int | float | None]) -> TextTable | None:
    """The /sleep and /wake_up that were asked for, as they were seen from outside."""
    steps: dict[str, dict[str, Value]] = {}
    for name, value in facts.items():
        if (found := STEP.match(name)) and not isinstance(value, str):
            steps.setdefault(found[1], {})[found[2]] = value
    if not steps:
        return None
    columns = tuple(
        Column(head, tuple(_rounded(step.get(key)) for step in steps.values()), worth)
        for head, key, worth in CYCLE_COLUMNS
        if any(key in step for step in steps.values())
    )
    return TextTable(("Sleep and wake, asked for", *(name.replace("_", " ") for name in steps)), columns)


def _rounded(value: Value) -> str:
    return value_text(round(value, 3) if isinstance(value, float) else value)


def _cycle_label(cycle: SleepCycle) -> str:
    return clean(cycle.kind) + (f" ({', '.join(map(clean, cycle.tags))})" if cycle.tags else "")


# ---- failure and notes ----


def failure(start: Start, width: int) -> list[Line]:
    """What went wrong, where, and what shows it."""
    why = failure_words(start)
    if not why:
        return []
    first, *more = said([("✘ " + why, "bad")], width - 2)
    found: list[Line] = [first, *([("  " + text, style) for text, style in line] for line in more)]
    for evidence in start.evidence:
        found.append([(INDENT * 2 + cut(clean(evidence), width - 2 * len(INDENT)), "dim")])
    return found


def failure_words(start: Start) -> str:
    """failed in weights load (OOMKilled), line 312: torch.OutOfMemoryError …"""
    why = start.failure
    if why is None:
        return "" if start.reached else "not ready, and nothing says why"
    where = f" in {label(why.phase)}" if why.phase else ""
    reason = f" ({clean(why.reason)})" if why.reason else ""
    line = f", line {why.line}" if why.line is not None else ""
    return f"failed{where}{reason}{line}: {clean(why.text)}"


def notes(start: Start) -> list[str]:
    """Earlier attempts, then what else was noticed."""
    attempts = [f"attempt {i}: {failure_words(e) or 'came up'}" for i, e in enumerate(start.earlier, 1)]
    noticed = [*start.notes, *(start.log.notes if start.log else ())]
    return [clean(note) for note in (*attempts, *dict.fromkeys(noticed))]


def _notes(start: Start, width: int) -> list[Line]:
    found: list[Line] = []
    for note in notes(start):
        for i, line in enumerate(said([(note, "")], width - 2)):
            shifted = [(text.removeprefix(INDENT), style) for text, style in line]
            found.append([(INDENT + ("· " if i == 0 else "  "), "dim"), *shifted])
    return found
