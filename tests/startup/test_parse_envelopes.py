"""Each collector's envelope gives the values of the bare log, and its stamps where it has any."""

import io
import json

import pytest
from parse_envelopes import BASE_NS, ENVELOPES
from parse_texts import START_0_7, START_0_11, log_of, parsed, said

from vllmperf.starts.log.envelope import from_json, instant, unwrap
from vllmperf.starts.log.parse import parse
from vllmperf.starts.log.schema import to_json
from vllmperf.starts.result import StartupLog


def facts(log: StartupLog) -> tuple[object, ...]:
    ready = (log.reached_ready, log.first_log_ts, log.ready_ts)
    return (
        log.vllm_version,
        log.engine,
        log.platform,
        log.mode,
        log.tp,
        log.model,
        ready,
        said(log),
        log.per_rank,
    )


@pytest.mark.parametrize("name", ENVELOPES)
@pytest.mark.parametrize("text", [START_0_7, START_0_11], ids=["V0", "V1"])
def test_every_envelope_gives_what_the_bare_log_gives(text: str, name: str) -> None:
    wrapped = ENVELOPES[name](text.encode().splitlines())
    assert facts(log_of(wrapped)) == facts(log_of(text))


@pytest.mark.parametrize(
    ("text", "ns", "digits"),
    [
        ("2026-01-01T00:00:00Z", 0, 0),
        ("2026-01-01T00:00:00.5Z", 500_000_000, 1),
        ("2026-01-01T01:00:00.123456789+01:00", 123_456_789, 9),
        ("2026-01-01 00:00:00.123+0000", 123_000_000, 3),
        ("1767225600.25", 250_000_000, 2),
    ],
)
def test_instants_are_read_to_the_last_digit(text: str, ns: int, digits: int) -> None:
    assert instant(text) == (BASE_NS + ns, digits)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z", "12"])
def test_what_is_no_instant_gives_none(text: str) -> None:
    assert instant(text) == (None, 0)


def test_journald_gives_bytes_for_what_it_cannot_print() -> None:
    entry = from_json({"MESSAGE": list(b"\x1b[36mhi"), "__REALTIME_TIMESTAMP": "1767225600000001"})
    assert entry is not None
    assert (entry.text, entry.stamp_ns) == ("\x1b[36mhi", BASE_NS + 1000)


@pytest.mark.parametrize("entry", [{}, {"message": 5}, {"level": "INFO"}, {"log": None}])
def test_an_object_without_text_is_no_entry(entry: dict[str, object]) -> None:
    assert from_json(entry) is None


@pytest.mark.parametrize("stamp", [1767225600, 1767225600.0, 1767225600000, 1767225600000000, BASE_NS])
def test_numbers_are_instants_by_their_size(stamp: float) -> None:
    entry = from_json({"message": "x", "time": stamp})
    assert entry is not None
    assert entry.stamp_ns == BASE_NS


def test_vllms_own_json_formatter_is_read_behind_the_process() -> None:
    lines = []
    for line in START_0_11.splitlines():
        who, _, rest = line.partition(" INFO ")
        if not rest or "INFO:" in line or not who.startswith("("):
            lines.append(line)
            continue
        when, _, rest = rest.partition(" [")
        file, _, message = rest.partition("] ")
        fields = {
            "asctime": f"2026-{when},123",
            "levelname": "INFO",
            "name": "vllm.x",
            "filename": file.split(":")[0],
        }
        lines.append(f"{who} {json.dumps(fields | {'message': message})}")
    assert facts(log_of("\n".join(lines))) == facts(log_of(START_0_11))


def test_an_entry_of_several_lines_is_its_lines() -> None:
    entry = json.dumps([{"textPayload": START_0_11, "timestamp": "2026-06-21T08:01:00Z"}])
    assert facts(log_of(entry)) == facts(log_of(START_0_11))


def test_the_line_of_a_failure_is_its_place_in_the_array() -> None:
    bad = "OSError: [Errno 98] Address already in use"
    texts = [*START_0_11.splitlines()[:3], bad]
    log = log_of(json.dumps([{"textPayload": text} for text in texts]))
    assert log.failure is not None
    assert (log.failure.line, log.failure.text) == (4, bad)


def test_what_looks_like_json_and_is_none_is_read_as_lines() -> None:
    assert log_of("[\n{ broken\n" + START_0_11).reached_ready
    assert log_of('{"half": \n' + START_0_11).reached_ready


def test_envelopes_nest() -> None:
    line = '[pod/a/b] 2026-01-01T00:00:00.5Z vllm-1  | {"log":"2026-01-01T00:00:00.25Z stdout F hello\\n","stream":"stdout"}'
    wrapped = unwrap(line)
    assert (wrapped.text, wrapped.stamp_ns) == ("hello", BASE_NS + 250_000_000)


def test_parts_of_several_containers_do_not_mix() -> None:
    parts = [("a", "P", "one "), ("b", "P", "three "), ("a", "F", "two"), ("b", "F", "four")]
    kept: dict[str, str] = {}
    found = [unwrap(f"[pod/{p}/c] 2026-01-01T00:00:00Z stdout {m} {t}", None, kept) for p, m, t in parts]
    assert [w.text for w in found if not w.partial] == ["one two", "three four"]
    assert kept == {}


def test_a_very_long_line_does_no_harm() -> None:
    text = START_0_11.replace("Available routes are:", "x" * 3_000_000)
    assert facts(log_of(text)) == facts(log_of(START_0_11))


def test_json_has_the_names_of_its_page() -> None:
    found = to_json(parsed(START_0_11))
    assert json.loads(json.dumps(found)) == found
    wanted = (
        "file vllm_version engine platform mode ranks tp pp dp attempts enforce_eager first_log_ts ready_ts "
        "first_log_utc ready_utc reached_ready failure phases reported sleep schema attempt_list per_rank drafter clock"
    )
    assert set(wanted.split()) <= set(found)
    assert (found["schema"], found["attempts"], found["ready_utc"]) == (1, 1, "2026-06-21T08:00:56Z")


def test_a_stream_that_gives_few_bytes_at_a_time_is_read_whole() -> None:
    class Slow(io.RawIOBase):
        def __init__(self) -> None:
            self.rest = START_0_11.encode()

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:  # noqa: ARG002 - the interface of a stream
            piece, self.rest = self.rest[:7], self.rest[7:]
            return piece

    assert facts(parse(Slow(), year=2026).main) == facts(log_of(START_0_11))  # type: ignore[arg-type]


def interleaved(first: str, second: str, make: str) -> str:
    """Two logs line by line, each behind its name."""
    out = []
    a, b = first.splitlines(), second.splitlines()
    for place in range(max(len(a), len(b))):
        for name, rows in (("one", a), ("two", b)):
            if place < len(rows):
                out.append(make.format(name=name) + rows[place])
    return "\n".join(out) + "\n"


@pytest.mark.parametrize(
    "make", ["[pod/vllm-{name}/vllm] ", "vllm-{name}-1  | ", "[pod/{name}/c] 2026-06-21T08:00:00Z "]
)
def test_logs_of_several_servers_in_one_file_are_told_apart(make: str) -> None:
    found = parsed(interleaved(START_0_11, START_0_7, make))
    assert len(found.attempts) == 2
    assert [facts(log)[:5] for log in found.attempts] == [
        facts(log_of(t))[:5] for t in (START_0_11, START_0_7)
    ]
    assert [said(log) for log in found.attempts] == [said(log_of(t)) for t in (START_0_11, START_0_7)]


def test_a_bar_in_other_text_is_no_server() -> None:
    text = START_0_11.replace("INFO 06-21 08:00:08", "name | INFO\nN/A | 0C | P8\nINFO 06-21 08:00:08")
    found = parsed(text)
    assert len(found.attempts) == 1
    assert said(found.main) == said(log_of(START_0_11))


def test_a_line_that_lost_its_name_belongs_to_the_server_before_it() -> None:
    lines = ENVELOPES["docker compose"](START_0_11.encode().splitlines()).decode().splitlines()
    lines[0], lines[9] = lines[0].split("| ")[1], lines[9].split("| ")[1]
    found = parsed("\n".join(lines))
    assert len(found.attempts) == 1
    assert facts(found.main) == facts(log_of(START_0_11))


def test_a_collectors_stamps_without_a_zone_are_taken_off() -> None:
    text = "".join(f"2024-06-21 10:00:00.245 | {line}\n" for line in START_0_11.splitlines())
    log = log_of(text, year=None)
    assert facts(log) == facts(log_of(START_0_11))
    assert log.clock is not None
    assert (log.clock.year, log.clock.year_from, log.clock.utc) == (2024, "envelope", False)
