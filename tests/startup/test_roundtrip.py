"""parse(write(x)) = x: what the simulator wrote is what the parser says, for every release, envelope and time."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vllmperf.sim.startup_envelope import Sent
from vllmperf.sim.startup_log import (
    DURATIONS,
    ENVELOPES,
    VERSIONS,
    Cycle,
    StartupScript,
    Truth,
    lines,
    style,
    truth,
    write,
)
from vllmperf.starts.log.parse import parse
from vllmperf.starts.result import REPORTED, ParsedFile, StartupLog

NS = 1_000_000_000
RELEASES = (
    *VERSIONS,
    "0.8.0",
    "0.8.2",
    "0.9.2",
    "0.10.0",
    "0.10.1",
    "0.12.0",
    "0.13.0",
    "0.16.0",
    "0.22.0",
    "0.32.0",
)
ZONES = ("UTC", "Europe/Berlin", "America/Los_Angeles", "Asia/Kolkata")
steady = settings(derandomize=True, max_examples=100, database=None)


def at(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp()) * NS


def read(data: bytes, began_ns: int, tz: str = "UTC", envelope: str = "none") -> ParsedFile:
    """With the year (of the first line) and the zone told where the file does not say them."""
    if ENVELOPES[envelope].digits is not None:
        return parse(io.BytesIO(data))
    return parse(io.BytesIO(data), year=datetime.fromtimestamp(began_ns // NS, ZoneInfo(tz)).year, tz=tz)


def roundtrip(script: StartupScript, started_ns: int, tz: str = "UTC", envelope: str = "none") -> StartupLog:
    began_ns = started_ns + (truth(script).first_ns or 0)
    return read(write(script, started_ns, tz, envelope), began_ns, tz, envelope).main


# --- scripts

seconds = st.one_of(st.integers(0, 3000), st.integers(0, 200_000)).map(lambda ms: ms / 1000)


@st.composite
def scripts(draw: st.DrawFn, fails: bool = False) -> StartupScript:
    version = draw(st.sampled_from(RELEASES))
    bare = StartupScript(version=version)
    parallel = bare.number >= (0, 10, 2)
    words: dict[str, object] = {name: draw(seconds) for name in DURATIONS}
    words |= {
        "version": version,
        "engine": draw(st.sampled_from([bare.runner, *(["V0"] if bare.number < (0, 10, 0) else [])])),
        "tp": draw(st.sampled_from([1, 1, 2, 4])),
        "pp": draw(st.sampled_from([1, 1, 2])),
        "dp": draw(st.sampled_from([1, 2])) if parallel else 1,
        "cache": draw(st.sampled_from(["cold", "warm"])),
        "eager": draw(st.booleans()),
        "platform": draw(st.sampled_from(["cuda", "cuda", "rocm"])),
        "spread": draw(st.sampled_from([0.0, 0.1, 0.5])),
        "shards": draw(st.integers(1, 9)),
        "weights_gib": draw(st.integers(1, 9_999_999)) / 10_000,
        "kv_cache_gib": draw(st.integers(1, 99_999)) / 100,
        "kv_cache_tokens": draw(st.integers(1_000, 9_999_999)),
        "num_gpu_blocks": draw(st.integers(1, 999_999)),
        "num_cpu_blocks": draw(st.integers(0, 9_999)),
        "graph_capture_gib": draw(st.integers(-50, 999)) / 100,
        "pid": draw(st.integers(1, 4_000_000)),
        "model": draw(st.sampled_from(["sim", "meta-llama/Llama-3.1-8B", "/models/a b"])),
        "json": draw(st.sampled_from([False, False, False, True])),
        "colour": draw(st.sampled_from([None, True, False])),
        "requests": draw(st.sampled_from([0, 3, 60])),
    }
    script = StartupScript(**words)
    if fails:
        phases = [name for name in DURATIONS if script.has(name) and name != "engine_finish"]
        script = replace(script, fail=draw(st.sampled_from(phases)))
    return script


starts = st.one_of(
    st.integers(at(2024, 1, 1), at(2027, 1, 1)),
    st.sampled_from(
        [at(2024, 12, 31, 23, 59, 30), at(2025, 3, 30, 0, 58), at(2026, 2, 28, 23, 59), at(2024, 2, 29, 12)]
    ),
)


# --- what is compared


def visible(script: StartupScript, known: Truth) -> dict[str, tuple[int, int]]:
    """The phases as the lines of that release show them: what has no line of its own goes into its neighbour."""
    found = {name: (span.start_ns, span.end_ns) for name, span in known.phases.items() if name != "imports"}
    found.pop(known.failed or "", None)
    if known.failed == "engine_process":  # nothing tells when it began
        found.pop("config", None)
    if 0 < script.weights_download <= 0.5:
        start, _ = found.pop("weights_download", (0, 0))
        if "weights_load" in found:
            found["weights_load"] = (start, found["weights_load"][1])
    if script.number < (0, 8, 0):
        _merge(found, "weights_load", "model_finish")
    if script.runner != "V0" and script.number < (0, 9, 2):
        _merge(found, "profile", "kv_cache")
    return found


def _merge(found: dict[str, tuple[int, int]], into: str, other: str) -> None:
    if other in found:
        found[into] = (found[into][0], found.pop(other)[1])
    else:
        found.pop(into, None)


def check_phases(script: StartupScript, known: Truth, log: StartupLog, started_ns: int) -> None:
    assert log.clock is not None
    unit = round(log.clock.resolution_s * NS)
    spans = {phase.name: phase for phase in log.phases if phase.critical and phase.name != "unattributed"}
    expected = visible(script, known)
    for name, (start, end) in expected.items():
        # The capture tells its time in whole seconds, and may come after a warm-up that nothing tells of.
        slack = 5 * unit // 2 + NS // 2 if name == "graph_capture" else unit + NS // 50
        if name not in spans:
            assert end - start <= 2 * slack, name
            continue
        phase = spans.pop(name)
        assert phase.start_ns is not None
        assert phase.end_ns is not None
        lead = 5 * unit // 2 + NS // 2 if name == "kernel_warmup" else slack
        assert abs(phase.start_ns - started_ns - start) <= slack, name
        assert abs(phase.end_ns - started_ns - end) <= lead, name
        assert phase.resolution_s == log.clock.resolution_s
    for name, phase in spans.items():
        assert (
            name in (known.failed, told_phase(script))
            or (phase.duration_s or 0) <= 1.5 + log.clock.resolution_s
        ), name


def check_whole(log: StartupLog) -> None:
    """The critical phases lie end to end from the first line to ready."""
    row = [phase for phase in log.phases if phase.critical and phase.start_ns is not None]
    assert row[0].start_ns == log.first_log_ns
    assert all(a.end_ns == b.start_ns for a, b in itertools.pairwise(row))
    assert row[-1].end_ns == (log.ready_ns if log.reached_ready else log.last_log_ns)


def check_facts(script: StartupScript, known: Truth, log: StartupLog) -> None:
    configured = "engine_process" in known.phases and known.failed != "engine_process"
    if known.phases.keys() != {"imports"}:
        assert log.vllm_version == known.version
        assert log.model == script.model
    if configured:
        assert log.engine == known.engine
        # Later ROCm releases name their platform for the first time when a worker loads the model.
        assert log.platform == known.platform or known.failed == "worker_init"
        assert (log.tp, log.pp, log.dp, log.ranks) == (script.tp, script.pp, script.dp, known.ranks)
        assert log.enforce_eager == script.eager
        assert ("V2 model runner" in log.notes) == (
            script.runner == "V2" and "worker_init" in known.phases.keys() - {known.failed}
        )
    assert not log.cut_at_start


def check_numbers(known: Truth, log: StartupLog) -> None:
    assert {name: log.reported.get(name) for name in REPORTED} == {
        name: known.reported.get(name) for name in REPORTED
    }
    for name, ranks in log.per_rank.items():
        assert sorted(ranks.values()) == sorted(known.per_rank[name].values()), name


def told_phase(script: StartupScript) -> str:
    """Tracing and compiling are one thing to whoever reads the frames, and 0.7 says nothing of weights read."""
    if script.fail == "model_finish" and script.number < (0, 8, 0):
        return "weights_load"
    return "compile" if script.fail == "dynamo" else script.fail


def printed(ns: int, tz: str) -> str:
    return f"{datetime.fromtimestamp(ns // NS, ZoneInfo(tz)):%m-%d %H:%M:%S}"


# --- the properties


@given(scripts(), starts, st.sampled_from(ZONES), st.sampled_from(list(ENVELOPES)))
@example(StartupScript(version="0.19"), at(2024, 12, 31, 23, 59, 59), "UTC", "none")
@example(StartupScript(version="0.28", engine="V2"), at(2025, 6, 1), "UTC", "kubectl")
@steady
def test_what_was_written_is_what_is_read(
    script: StartupScript, started_ns: int, tz: str, envelope: str
) -> None:
    known, log = truth(script), roundtrip(script, started_ns, tz, envelope)
    check_facts(script, known, log)
    check_numbers(known, log)
    check_phases(script, known, log, started_ns)
    check_whole(log)
    assert log.failure is None


@given(scripts(), starts, st.sampled_from(ZONES), st.sampled_from(list(ENVELOPES)))
@steady
def test_first_line_and_ready_are_where_they_were(
    script: StartupScript, started_ns: int, tz: str, envelope: str
) -> None:
    known, log = truth(script), roundtrip(script, started_ns, tz, envelope)
    assert known.first_ns is not None
    assert known.ready_ns is not None
    assert log.reached_ready
    assert log.clock is not None
    assert log.first_log_ns is not None
    assert log.ready_ns is not None
    unit = log.clock.resolution_s * NS
    assert 0 <= started_ns + known.first_ns - log.first_log_ns < unit
    assert 0 <= started_ns + known.ready_ns - log.ready_ns < unit
    assert log.first_log_ts == printed(started_ns + known.first_ns, tz)
    assert log.ready_ts == printed(started_ns + known.ready_ns, tz)
    assert log.clock.utc or tz == "UTC"


@given(scripts(fails=True), starts, st.sampled_from(ZONES), st.sampled_from(list(ENVELOPES)))
@steady
def test_a_failure_has_its_phase_its_line_and_its_cause(
    script: StartupScript, started_ns: int, tz: str, envelope: str
) -> None:
    data = write(script, started_ns, tz, envelope)
    known = truth(script)
    log = read(data, started_ns + (known.first_ns or 0), tz, envelope).main
    assert known.cause is not None
    assert log.failure is not None
    assert not log.reached_ready
    assert log.ready_ns is None
    assert log.failure.line is not None
    assert log.failure.phase == told_phase(script)
    assert known.cause[:60] in log.failure.text
    assert known.cause[:40].encode() in data.split(b"\n")[log.failure.line - 1]
    check_facts(script, known, log)
    check_numbers(known, log)
    if known.first_ns is not None:
        check_phases(script, known, log, started_ns)


@given(scripts(), st.integers(1, 120), st.sampled_from(list(ENVELOPES)))
@steady
def test_a_log_cut_at_the_end_is_not_ready_and_no_failure(
    script: StartupScript, percent: int, envelope: str
) -> None:
    started = at(2026, 5, 5, 5)
    data = write(script, started, envelope=envelope)
    ready = data.index(b"Application startup complete")
    lines = data[:ready].count(b"\n")
    kept = data.split(b"\n")[: max(1, lines * min(percent, 100) // 100)]
    log = read(b"\n".join(kept) + b"\n", started, envelope=envelope).main
    assert not log.reached_ready
    assert log.ready_ns is None
    assert log.failure is None
    known = truth(script).reported
    assert all(
        value in (None, known.get(name)) or _lesser(value, known.get(name))
        for name, value in log.reported.items()
    )


def _lesser(value: object, whole: object) -> bool:
    """Of some ranks only the faster ones have spoken."""
    return isinstance(value, int | float) and isinstance(whole, int | float) and value <= whole


@given(scripts(), st.sampled_from(list(ENVELOPES)))
@steady
def test_a_log_cut_at_the_start_is_said_to_be(script: StartupScript, envelope: str) -> None:
    started = at(2026, 5, 5, 5)
    lines = write(script, started, envelope=envelope).split(b"\n")
    begin = max(place for place, line in enumerate(lines) if b"tensor_parallel_size" in line)
    log = read(b"\n".join(lines[begin + 1 :]), started, envelope=envelope).main
    known = truth(script)
    assert log.cut_at_start
    assert log.reached_ready
    assert log.vllm_version is None
    check_numbers(known, log)


@given(st.lists(scripts(), min_size=2, max_size=3), st.booleans(), starts, st.sampled_from(list(ENVELOPES)))
@steady
def test_several_starts_in_one_file_are_several_attempts(
    several: list[StartupScript], failed_first: bool, started_ns: int, envelope: str
) -> None:
    # Of one container: the same release on the same machine.
    first = several[0]
    several = [
        replace(each, version=first.version, engine=first.engine, platform=first.platform, dp=first.dp)
        for each in several
    ]
    if failed_first:
        several[0] = replace(several[0], fail="weights_load", requests=0)
    data, began = b"", []
    for script in several:
        began.append(started_ns)
        data += write(script, started_ns, envelope=envelope)
        started_ns += 3_600 * NS
    parsed = read(data, began[0] + (truth(several[0]).first_ns or 0), envelope=envelope)
    assert len(parsed.attempts) == len(several)
    assert parsed.main is parsed.attempts[-1]
    assert parsed.attempts[0].first_line == 1
    for script, begin, log in zip(several, began, parsed.attempts, strict=True):
        known = truth(script)
        assert log.reached_ready == (known.failed is None)
        check_facts(script, known, log)
        check_numbers(known, log)
        check_phases(script, known, log, begin)


@given(
    scripts(),
    st.lists(  # of different durations: the same line twice in one second is a logger with two handlers
        st.tuples(st.sampled_from(["sleep", "wake"]), seconds, seconds),
        min_size=1,
        max_size=5,
        unique_by=lambda cycle: cycle[2],
    ),
    starts,
    st.sampled_from(list(ENVELOPES)),
)
@steady
def test_sleeping_and_waking_up_are_cycles(
    script: StartupScript, drawn: list[tuple[str, float, float]], started_ns: int, envelope: str
) -> None:
    script = replace(script, cycles=tuple(Cycle(*each) for each in drawn))
    known, log = truth(script), roundtrip(script, started_ns, envelope=envelope)
    assert known.ready_ns is not None
    assert log.clock is not None
    now = known.ready_ns + script.requests * NS // 10
    assert len(log.sleep) == len(drawn)
    for cycle, (kind, after, takes) in zip(log.sleep, drawn, strict=True):
        now += round(after * NS) + round(takes * NS)
        assert (cycle.kind, cycle.duration_s) == (kind, takes)
        assert cycle.at_ns is not None
        assert abs(cycle.at_ns - started_ns - now) <= log.clock.resolution_s * NS
        assert cycle.tags == (() if kind == "sleep" or script.number < (0, 8, 3) else ("kv_cache", "weights"))
        freed = f"{script.weights_gib + script.kv_cache_gib:.2f}" if kind == "sleep" else None
        assert (None if cycle.freed_gib is None else f"{cycle.freed_gib:.2f}") == freed


# --- all of one kind, once each


@pytest.mark.parametrize("version", RELEASES)
def test_a_file_may_mix_envelopes_and_print_its_streams_out_of_order(version: str) -> None:
    """Each line in another envelope, and what goes to stderr up to 2 s later in the file than it was printed."""
    script = StartupScript(
        version=version, tp=2, weights_load=12, weights_download=2, cycles=(Cycle("sleep", 1, 2),)
    )
    started, stamped = at(2026, 7, 7, 7), [each for each in ENVELOPES.values() if each.digits]
    rows = []
    for line in lines(script):
        late = NS * (len(rows) * 7 % 20) // 10 if line.stream == "stderr" else 0
        for data in style(script).render(line, started + line.at_ns):
            wrap = stamped[len(rows) % len(stamped)].wrap
            rows.append(
                (line.at_ns + late, len(rows), wrap(Sent(started + line.at_ns, line.stream, data[:-1])))
            )
    text = b"\n".join(row[2] for row in sorted(rows)).replace(b"vllm-0", b"vllm-7d9c")  # one pod
    known, log = truth(script), parse(io.BytesIO(text)).main
    check_facts(script, known, log)
    check_numbers(known, log)
    check_phases(script, known, log, started)
    assert log.ready_ns == started + (known.ready_ns or 0)
    assert len(log.sleep) == 1


@pytest.mark.parametrize("width", [80, 100, 120, 133, 160, 200])
@pytest.mark.parametrize("version", RELEASES)
def test_a_log_that_a_terminal_wrapped_says_the_same(version: str, width: int) -> None:
    script = StartupScript(
        version=version, colour=False, weights_download=0.7, weights_load=123, graph_capture=12
    )
    known, wrapped = truth(script), []
    for text in write(script, at(2026, 7, 7)).decode().split("\n"):
        for bar in text.strip("\r").split("\r"):
            wrapped += [bar[place : place + width] for place in range(0, len(bar), width)] or [""]
    log = read("\n".join(wrapped).encode(), at(2026, 7, 7)).main
    check_facts(script, known, log)
    check_numbers(known, log)
    assert log.reached_ready


@pytest.mark.parametrize("envelope", ENVELOPES)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("tp", [1, 2])
def test_each_release_is_read_in_each_envelope(version: str, envelope: str, tp: int) -> None:
    script = StartupScript(
        version=version, tp=tp, weights_download=1.25, weights_load=12, compile=33, profile=7
    )
    known, log = truth(script), roundtrip(script, at(2026, 7, 7, 7), envelope=envelope)
    check_facts(script, known, log)
    check_numbers(known, log)
    check_phases(script, known, log, at(2026, 7, 7, 7))
    check_whole(log)


@pytest.mark.parametrize("version", ["0.9.2", "0.13.0", "0.28", "0.32.0"])
@pytest.mark.parametrize("envelope", ["none", "kubectl"])
def test_a_cpu_is_read_as_one(version: str, envelope: str) -> None:
    script = StartupScript(version=version, platform="cpu", profile=20, weights_load=5)
    known, log = truth(script), roundtrip(script, at(2026, 7, 7, 7), envelope=envelope)
    assert log.platform == "cpu"
    assert log.reached_ready
    check_numbers(known, log)


def test_a_killed_start_is_not_ready_and_has_no_failure() -> None:
    log = roundtrip(StartupScript(stop="compile", compile=40), at(2026, 7, 7, 7))
    assert not log.reached_ready
    assert log.failure is None


@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize("begin", ["", "\ufeff"])
def test_line_ends_and_byte_order_marks_change_nothing(begin: str, end: str) -> None:
    script = StartupScript(version="0.11", tp=2)
    data = begin.encode() + write(script, at(2026, 7, 7)).replace(b"\r\n", b"\n").replace(b"\n", end.encode())
    log = read(data, at(2026, 7, 7)).main
    check_facts(script, truth(script), log)
    check_numbers(truth(script), log)


@pytest.mark.parametrize(
    ("tz", "when"), [("Europe/Berlin", at(2025, 10, 26, 0, 59, 30)), ("UTC", at(2025, 12, 31, 23, 59, 58))]
)
def test_a_start_over_a_change_of_the_clock_keeps_its_length(tz: str, when: int) -> None:
    script = StartupScript(weights_load=300, compile=100)
    log = roundtrip(script, when, tz)
    known = truth(script)
    assert log.ready_ns is not None
    assert log.first_log_ns is not None
    assert known.ready_ns is not None
    assert abs((log.ready_ns - log.first_log_ns) - (known.ready_ns - (known.first_ns or 0))) <= NS
