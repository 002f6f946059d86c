"""docs/rivals.md and the table in the README, made of what scripts/bench/rivals found."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from rival_tools import FLOOR

OURS, COMPILED = "vllmperf", "vllm-rs"
CPU_TIMES = ("run", "CPU")
ERRORS = tuple(f"{time} {which}" for time in ("TTFT", "ITL") for which in ("mean", "p50", "p99"))
COSTS = (*CPU_TIMES, "memory", "start")
HEADS = {
    **{name: f"{name} error, ms" for name in ERRORS},
    "in flight": "in flight",
    "late p50": "late p50, ms",
    "late p99": "late p99, ms",
    "run": "CPU in the run, µs/event",
    "CPU": "CPU in all, µs/event",
    "memory": "memory, MB",
    "start": "start, s",
}
SHORT = {"run": "CPU in the run", "CPU": "CPU in all", "late p50": "late p50", "late p99": "late p99"}
"""In a table whose units are above it."""
UNITS = (
    "**The tables** have the errors of TTFT and ITL and the lateness in ms, CPU in µs an event (token), memory in MB, start in "
    "s.\nA comparison of errors leaves out their signs."
)
MARKS = ("<!-- rivals: scripts/bench/rivals writes this table -->", "<!-- rivals end -->")
GOALS = {
    **dict.fromkeys(("TTFT mean", "TTFT p99", "ITL p50", "ITL p99"), (5, 2)),
    **dict.fromkeys(CPU_TIMES, (5, 1)),
    "memory": (1, 1),
}
"""How many times better than every Python client, and than the compiled one, we want to be at 1,000 streams."""
RESOLUTION_MS = 0.01
"""Errors below it count as it when they are divided."""

Figures = dict[str, list[float | None]]
Result = dict[str, Any]


# ---- cells ----


def middle(values: Sequence[float | None] | None) -> float | None:
    """The median; None when a run has no value."""
    known = [value for value in values or () if value is not None]
    return statistics.median(known) if known and len(known) == len(values or ()) else None


def number(value: float | None) -> str:
    """Three digits are enough."""
    if value is None:
        return "–"
    size = abs(value)
    text = f"{value:,.{2 if size < 10 else 1 if size < 100 else 0}f}"
    return "0.00" if text == "-0.00" else text.replace("-", "−")


def table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [list(heads), ["---"] * len(heads), *map(list, lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def columns(cell: Result) -> list[str]:
    is_open = any(middle(figures["late p50"]) is not None for figures in cell["figures"].values())
    return [*ERRORS, *(("late p50", "late p99") if is_open else ("in flight",)), *COSTS]


def cell_table(cell: Result) -> str:
    names = columns(cell)
    lines = [
        [tool, *(number(middle(found[name])) for name in names)] for tool, found in cell["figures"].items()
    ]
    text = table(["client", *(SHORT.get(name, name) for name in names)], lines)
    for tool, found in cell["figures"].items():
        if failed := middle(found["failed"]):
            text += f"\n\n{tool} failed {failed:g} of its requests, though the server was well."
    if OURS in cell["figures"] and (doubts := sum(cell["figures"][OURS]["untrusted"])):
        text += f"\n\nvllmperf itself called {doubts:g} of its runs untrustworthy."
    for tool, reason in cell["failures"].items():
        text += f"\n\n{tool} gave no result: {reason}."
    return text


def runs_of(cell: Result) -> str:
    counts = {len(found["CPU"]) for found in cell["figures"].values()}
    least, most = min(counts, default=0), max(counts, default=0)
    return f"{least} to {most} runs" if least != most else "one run" if most == 1 else f"{most} runs"


# ---- where others are better, and by how much we are ----


def size(figures: Figures, name: str) -> float | None:
    value = middle(figures[name])
    return None if value is None else abs(value)


def better_than_us(cell: Result) -> list[str]:
    """A sentence for each figure in which somebody beats us."""
    ours = cell["figures"].get(OURS)
    lines = []
    for name in (*ERRORS, *COSTS) if ours else ():
        own = size(ours, name)
        others = {
            tool: size(found, name) for tool, found in cell["figures"].items() if tool not in (OURS, FLOOR)
        }
        ahead = {
            tool: value
            for tool, value in others.items()
            if own is not None and value is not None and _less(value, own)
        }
        if ahead:
            found = ", ".join(
                f"{tool} {number(value)}" for tool, value in sorted(ahead.items(), key=lambda item: item[1])
            )
            lines.append(
                f"- {cell['load']}, {cell['server']}, {HEADS[name]}: {found}; vllmperf {number(own)}"
            )
    return lines


def _less(value: float, own: float) -> bool:
    return number(value) != number(own) and value < own


def factors(cell: Result, python: Sequence[str]) -> list[list[str]]:
    """By which factor the best Python client and the compiled one are worse than ours."""
    ours, lines = cell["figures"].get(OURS), []
    for name, (goal_python, goal_compiled) in GOALS.items() if ours else ():
        own = size(ours, name)
        best = best_of(cell, python, name)
        compiled = size(cell["figures"][COMPILED], name) if COMPILED in cell["figures"] else None
        cells = [ratio(best, own, name, goal_python), ratio(compiled, own, name, goal_compiled)]
        lines.append([cell["server"], HEADS[name], *cells])
    return lines


def best_of(cell: Result, tools: Sequence[str], name: str) -> float | None:
    sizes = [size(cell["figures"][tool], name) for tool in tools if tool in cell["figures"]]
    return min((value for value in sizes if value is not None), default=None)


def room(cell: Result, python: Sequence[str]) -> Iterable[str]:
    """How much CPU the floor leaves for the goals: a sentence for each time."""
    for name in CPU_TIMES:
        floor, best = best_of(cell, [FLOOR], name), best_of(cell, python, name)
        if floor is None or best is None:
            continue
        goal, times = GOALS[name][0], best / max(floor, 1e-9)
        which = HEADS[name].partition(",")[0]
        text = (
            f"On {cell['server']} the floor, which only reads, takes {number(floor)} µs an event ({which}), "
        )
        text += f"the best Python client {times:.2g} times that: "
        if times < goal:
            yield text + f"nothing can be {goal} times better here, and this goal cannot be met."
        else:
            yield text + f"a client may take {number(best / goal)} µs and meet the goal."


def ratio(other: float | None, own: float | None, name: str, goal: float) -> str:
    if other is None or own is None:
        return "–"
    least = RESOLUTION_MS if name in ERRORS else 0
    if max(other, own) <= least:
        return "both exact"
    value = max(other, least) / max(own, least)
    text = f"{value:.2g}" if value < 100 else f"{value:,.0f}"
    return text if value >= goal else f"{text} (below the goal: {goal})"


# ---- the page ----

METHOD = """\
**Truth.** Each server writes down the kernel's stamp of each request and the clock just before each write. The true TTFT
lies between the stamp and the first write, so the time that a client needs to connect or to send counts as its error; the
true ITL lies between two writes. An error is what the client reports less what was true in the same run. The two servers
share no code: `vllmperf sim`, and 300 lines of C that wait and write (`scripts/bench/plain_server.c`). The simulator
closes a connection that was idle for 5 s, as vLLM does; the plain server never does.

**Load.** TTFT 50 ms, ITL 20 ms, prompts of 16 tokens. 1,000 streams: 2,000 requests of 100 tokens. 64 streams: 256 of 100.
The open loop: 500 of 10, evenly spaced. *In flight* is the mean number of requests that the server held: a client that
needs long between two requests of a stream holds fewer than it was asked for, and none of its latencies shows that. *Late*
is how long after its place in an even grid a request came; the most punctual one defines the grid.

**Cost.** The client's processes have one core, the server another one. CPU is that of all processes of the client, divided
by the tokens: *in the run* from the first request to the last token, *in all* from the start to the end of the program.
Memory is the sum of the peaks of its processes, so pages that they share count more than once. *Start* is the time from
the command to the first request. The *floor* is a loop in C that sends, reads and stamps, without parsing, figures or a
file of the run (`scripts/bench/bare_reader.c`): what the kernel itself costs.

**Definitions** stay those of the clients. guidellm's ITL is a mean for each request, so its p50 and p99 are those of
requests. aiperf's is its `inter_chunk_latency`. inference-perf draws the gaps of its `constant` rate at random, so its
lateness says nothing."""

FAULT_TEXT = """\
60 requests of 20 tokens, eight at a time, on the simulator; every tenth goes wrong. A cell says how many of these the
client reports as failed. In a stall the server sends three tokens and then nothing. Where a client has a timeout for that
we set it to 5 s (aiperf: 10 s for the request); after 60 s it gets an interrupt, 5 s later it is killed."""


def page(result: Result) -> str:
    return "\n\n".join(part for part in _parts(result) if part) + "\n"


def _parts(result: Result) -> Iterable[str]:
    cells = [cell for cell in result["cells"] if cell["figures"] or cell["failures"]]
    yield "# Beside other clients"
    yield (
        "This page shows how far the figures of seven load generators are from the truth, what they cost, and which\n"
        "failed requests they notice. `scripts/bench/rivals --doc docs/rivals.md` writes it."
    )
    yield conditions(result, cells)
    yield table(["client", "version", "settings"], tools(result))
    yield from missing(result)
    yield METHOD
    if cells:
        yield UNITS
    yield from goals(result, cells)
    for cell in cells:
        yield f"## {cell['load']}, {cell['server']}\n\nMedians of {runs_of(cell)}."
        yield cell_table(cell)
    yield from fault_part(result)
    yield from worse(cells)


def conditions(result: Result, cells: Sequence[Result]) -> str:
    machine = result["machine"]
    text = f"{machine['date']}, {machine['cores']} cores ({machine['cpu']}), Linux {machine['kernel']}, loopback. "
    text += f"Load average at the start: {machine['load_before']:.1f}."
    if machine["load_before"] > machine["cores"] / 2:
        text += (
            " **The machine was busy with other work: the figures are a trial of the script, not a result.**"
        )
    if any(runs_of(cell) == "one run" for cell in cells):
        text += " One run says little about differences below a factor of two."
    return text


def tools(result: Result) -> Iterable[list[str]]:
    return ([name, tool["version"], tool["settings"]] for name, tool in result["tools"].items())


def missing(result: Result) -> Iterable[str]:
    for name, tool in result["tools"].items():
        if tool["missing"]:
            yield f"**{name} could not be installed:** {tool['missing']}"


def goals(result: Result, cells: Sequence[Result]) -> Iterable[str]:
    python = [name for name in result["tools"] if name not in (OURS, COMPILED, FLOOR)]
    cells = [cell for cell in cells if cell["load"] == "1,000 streams"]
    lines = [line for cell in cells for line in factors(cell, python)]
    if lines:
        yield (
            "## By how much, at 1,000 streams\n\nThe figure of the best Python client and of vllm-rs, divided by ours; below "
            "1 we are worse. Errors below 0.01 ms count as 0.01 ms."
        )
        yield table(["server", "figure", "best Python client", COMPILED], lines)
        yield "\n".join(f"- {line}" for cell in cells for line in room(cell, python))


def fault_part(result: Result) -> Iterable[str]:
    if not result["faults"]:
        return
    names = list(next(iter(result["faults"].values())))
    yield f"## Faults\n\n{FAULT_TEXT}"
    yield table(["client", *names], ([tool, *found.values()] for tool, found in result["faults"].items()))


def worse(cells: Sequence[Result]) -> Iterable[str]:
    if not cells:
        return
    lines = [line for cell in cells for line in better_than_us(cell)]
    yield "## Where others are better\n\n" + ("\n".join(lines) if lines else "In no figure of these tables.")


# ---- the README ----


README_TEXT = """\
The same with six other load generators, 1,000 streams on the simulated server, 100 tokens each, one core for each client
([other loads, another server, faults, settings, where others are better](docs/rivals.md)):"""


def readme_table(result: Result) -> str:
    """1,000 streams on the simulator."""
    names = ("TTFT mean", "TTFT p99", "ITL p50", "ITL p99", "in flight", "run", "memory", "start")
    cell = next(cell for cell in result["cells"] if cell["load"] == "1,000 streams")
    lines = [
        [tool, *(number(middle(found[name])) for name in names)]
        for tool, found in cell["figures"].items()
        if tool != FLOOR
    ]
    return f"{README_TEXT}\n\n" + table(["client", *(HEADS[name] for name in names)], lines)


def replaced(text: str, new: str) -> str:
    """The text with what stands between the marks replaced."""
    before, rest = text.split(MARKS[0], 1)
    return f"{before}{MARKS[0]}\n\n{new}\n\n{MARKS[1]}{rest.split(MARKS[1], 1)[1]}"
