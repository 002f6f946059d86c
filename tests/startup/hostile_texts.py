"""Texts that cost a parser time: what its patterns repeat, nest or wait for, over and over, in one line and in many."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from string import Formatter

from vllmperf.starts.log.markers import MARKERS

Text = Callable[[int], bytes]
HEADER = "INFO 06-21 08:00:00 [core.py:1] "
PIECES = (
    *(" ", "\t", "1", "(", ")", "[", "{", '"', "'", "| ", "│ ", "> ", ": ", "::", "a.", "A.", "*", "-", "_", "/", "+"),
    *("a", "A", "word ", "Word", "ErrorError", "\\", "\x1b[", "\x1b[1;", "[1;", "\x1b]8;;", "\\x1b[", "\0", "\r", "50%|\r"),
    *("(a pid=1) ", "(Worker pid=1) (EngineCore pid=2) ", "(a pid=", "(a(b", "(a(b)", "()", "(rank=1 pid=1)"),
    *("INFO ", "INFO: ", "INFO:", "08:00:00 ", "2025-01-01 ", "2025-01-01T00:00:00Z ", "[2025-01-01T00:00:00Z] "),
    *("[pod/a/b] ", "abc | ", "<1> ", '{a="b",', '{"log":"', '{"a":', "[1,", '{"log": "x"}', "1+1", "x=", "█"),
    *("[rank0]: ", "[E", "[E a.cpp:1] watchdog ", "[1] ", "12 Killed ", "Killed ", '  File "', "model='", "100%|", "it/s"),
    *("tensor_parallel_size=1 ", "Traceback (most recent call last): ", "ValueError: x ", "what(): ", HEADER),
)  # fmt: skip
LINES = (
    *("", "Error: ", "ValueError: x", "Traceback (most recent call last):", "fault", "Killed", "12 Killed"),
    *("Worker proc x died", "  what(): x", "Application startup complete.", "for Application startup complete."),
    *("INFO:     Application startup complete.", "ERROR 06-21 08:00:00 [core.py:1] ValueError: x"),
    *('INFO:     1.1.1.1:1 - "GET / HTTP/1.1" 200 OK', '{"log":"x"}', "2025-01-01T00:00:00Z stdout P " + "x" * 32),
    *(HEADER + "x" * 40 + "\n" + "y" * 60, "INFO INFO INFO 12:00:00 " + HEADER + "x\n" + "a" * 400),
    '{"resourceLogs":[{"scopeLogs":[{"logRecords":['
    + ",".join(['{"body":{"stringValue":"x"}}'] * 30)
    + "]}]}]}",
)  # fmt: skip
NUMBERED = (
    *("(Worker_TP{n} pid={n}) ValueError: x", "(Worker_TP{n} pid={n}) Traceback (most recent call last):"),
    "(APIServer pid={n}) INFO 06-21 08:{m:02}:{s:02} [utils.py:1] vLLM server version 1, serving model x",
    "(APIServer pid={n}) INFO 06-21 08:{m:02}:{s:02} [utils.py:1] non-default args: {{}}",
    "[pod/a{n}/b] " + HEADER + "x",
    "{n} INFO 06-21 08:{m:02}:{s:02} [core.py:1] x",
    "INFO 2026-06-21 08:{m:02}:{s:02},000 controller {n} -- Replica(id='{n}', deployment='d') started successfully on node '",
    "INFO 2026-06-21 08:{m:02}:{s:02},000 a_b{n} x y z -- Started initializing replica.",
    "INFO:     Started server process [{n}]\nINFO:     Application startup complete.",
    "a-{n}-x9 vllm " + HEADER + "x",
    "w{n} x{n}: 08:{m:02}:{s:02} INFO Loading weights took {n} seconds",
)


def _cut(text: str, size: int) -> bytes:
    return text.encode("utf-8", "surrogatepass")[:size]


def _repeated(text: str, before: str = "") -> Text:
    return lambda size: _cut(before + text * (size // max(1, len(text)) + 1), size)


def _numbered(form: str) -> Text:
    def write(size: int) -> bytes:
        count = size // max(1, len(form) - 20) + 1
        return _cut("".join(form.format(n=n, m=n // 60 % 60, s=n % 60) + "\n" for n in range(count)), size)

    return write


def _hours_back(size: int) -> bytes:
    at, out = datetime(2025, 12, 30), []
    for _ in range(size // 50):
        out.append(f"{at:INFO %m-%d %H:%M:%S} [pynccl.py:1] vLLM is using nccl==1\n")
        at = at - timedelta(hours=1) if at.year == 2025 else datetime(2025, 12, 30)
    return _cut("".join(out), size)


def _rows(size: int) -> bytes:
    """Configurations of very many rows."""
    one = f"{HEADER}Initializing a V1 LLM engine (v1) with config: {'x' * 20}\n" + ("y" * 99 + "\n") * 399
    return _cut(one * (size // len(one) + 1), size)


def _marker(template: str) -> str:
    fields = {
        name: 1 if (spec or "").endswith(("d", "f")) else "x"
        for _, name, spec, _ in Formatter().parse(template)
        if name
    }
    return template.format(**fields)


def texts() -> Iterator[tuple[str, Text]]:
    """(what it is, how to write so many bytes of it)."""
    for piece in PIECES:
        yield f"one line of {piece!r}", _repeated(piece)
        yield f"one line of {piece!r} behind a header", _repeated(piece, HEADER)
        yield f"lines of {piece!r}", _repeated(piece * 20 + "\n")
        yield f"lines of {piece!r} behind a header", _repeated(HEADER + piece * 20 + "\n")
    for line in LINES:
        yield f"lines {line[:40]!r}", _repeated(line + "\n")
    for form in NUMBERED:
        yield f"numbered lines {form[:40]!r}", _numbered(form)
    for first in ("time,message", "time;message", "sep=,\ntime,message"):
        for row in (
            "a,b",
            "2026-01-01T00:00:00Z,b",
            '"',
            "2026-01-01T00:00:00Z," * 20,
            "12/31/2026, 1:00:00 ",
        ):
            yield f"a table {first!r} of {row[:24]!r}", _repeated(row + "\n", first + "\n")
    yield "stamps that go back by the hour", _hours_back
    yield "rows of configurations", _rows


def marker_texts() -> Iterator[tuple[str, Text]]:
    """The same of every marker: its words, then blanks, digits, its words again; and the marker itself in each line."""
    for marker in MARKERS:
        head, name = marker.start or marker.template[:10], f"{marker.event} {marker.since}"
        file = marker.files[0] if marker.files else "x.py"
        said = _marker(marker.template)
        yield f"{name}, blanks", _repeated(" ", HEADER + head)
        yield f"{name}, digits", _repeated("1", HEADER + head)
        yield f"{name}, again", _repeated(head + " ", HEADER)
        yield f"{name}, lines", _repeated(f"INFO 06-21 08:00:00 [{file}:1] {said}\n")
        yield f"{name}, bare lines", _repeated(f"{said}\n")
        escaped = said.replace("{", "{{").replace("}", "}}")
        numbered = f"(EngineCore_DP{{n}} pid={{n}}) INFO 06-21 08:{{m:02}}:{{s:02}} [{file}:1] {escaped}"
        yield f"{name}, processes", _numbered(numbered)


_WORDS = (
    *(marker.start for marker in MARKERS),
    *PIECES,
    *LINES[:12],
    *(
        "pid=1",
        "EngineCore",
        " 06-21 08:00:00 ",
        "[core.py:1] ",
        "\n",
        "\n",
        "\n",
        "\r",
        "took",
        "seconds",
        "version",
    ),
    *("é", "\ud800", "\ufeff", "٣", "²", "\x85", "\u2028", "nan", "inf", "1e99", "9" * 400, "-0", "0.0"),
)


def random_text(seed: int, size: int) -> bytes:
    """Words that mean something to the parser, in any order; some of it is repeated, and cut anywhere."""
    chance = random.Random(seed)
    out, length = [], 0
    while length < size:
        words = [chance.choice(_WORDS) for _ in range(chance.randint(1, 8))]
        piece = "".join(words) * chance.choice((1, 1, 1, 2, 7, 60))
        piece += chance.choice(("", "\n", "\n"))
        out.append(piece)
        length += len(piece)
    return _cut("".join(out), size)
