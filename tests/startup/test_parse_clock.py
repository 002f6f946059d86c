"""Stamps become instants: envelopes, years, zones, New Year, the end of summer time, late lines."""

from datetime import UTC, datetime

import pytest
from parse_envelopes import rfc3339
from parse_texts import START_0_11, log_of, parsed

from vllmperf.errors import UsageError
from vllmperf.starts.log.schema import to_json
from vllmperf.starts.log.wallclock import Stamp, nearest_s, zone
from vllmperf.starts.result import NS_PER_S, StartupLog


def when(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000) * 1_000_000


def stamped(text: str, offset_s: float = 0.0, late_s: float = 0.25) -> str:
    """With kubectl's stamps, `late_s` after the log's own, whose zone is `offset_s` east of UTC."""
    out, at = [], 0
    for line in text.splitlines():
        if "06-21" in line:
            clock = line.split("06-21 ")[1][:8]
            at = when(f"2025-06-21 {clock}") + round((late_s - offset_s) * NS_PER_S)
        out.append(f"{rfc3339(at)} {line}\n")
    return "".join(out)


def duration_s(log: StartupLog) -> float:
    assert log.ready_ns is not None
    assert log.first_log_ns is not None
    return (log.ready_ns - log.first_log_ns) / NS_PER_S


@pytest.mark.parametrize("offset_s", [0, 7200, -28800, 19800, 20700])
def test_an_envelope_tells_year_zone_and_parts_of_a_second(offset_s: int) -> None:
    log = log_of(stamped(START_0_11, offset_s), year=None)
    assert log.first_log_ns == when("2025-06-21 08:00:00.250") - offset_s * NS_PER_S
    assert log.clock is not None
    assert (log.clock.source, log.clock.year, log.clock.utc) == ("envelope", 2025, True)
    assert log.clock.resolution_s == 0.001
    assert log.first_log_ts == "06-21 08:00:00"


def test_a_collector_that_is_late_gives_the_zone_only() -> None:
    log = log_of(stamped(START_0_11, 3600, late_s=40), year=None)
    assert log.first_log_ns == when("2025-06-21 07:00:00")


def test_stamps_of_a_later_upload_are_not_believed() -> None:
    uploaded = "".join(f"2025-11-02T03:03:03.5Z {line}\n" for line in START_0_11.splitlines())
    log = log_of(uploaded, year=None)
    assert duration_s(log) == 56
    assert log.clock is not None
    assert log.clock.source == "log"


@pytest.mark.parametrize(
    ("uploaded", "year"), [("2025-12-31", 2025), ("2026-02-01", 2025), ("2025-06-22", 2025)]
)
def test_a_log_was_printed_before_it_was_uploaded(uploaded: str, year: int) -> None:
    text = "".join(f"{uploaded}T03:03:03.5Z {line}\n" for line in START_0_11.splitlines())
    assert log_of(text, year=None).first_log_ns == when(f"{year}-06-21 08:00:00")


def test_the_argument_says_the_year_and_the_zone() -> None:
    log = log_of(START_0_11, year=2023, tz="Europe/Berlin")
    assert log.first_log_ns == when("2023-06-21 06:00:00")
    assert log.clock is not None
    assert (log.clock.year_from, log.clock.utc) == ("argument", True)


def test_without_a_zone_utc_is_assumed_and_said_to_be() -> None:
    log = log_of(START_0_11, year=2023)
    assert log.first_log_ns == when("2023-06-21 08:00:00")
    assert log.clock is not None
    assert not log.clock.utc
    assert log.clock.resolution_s == 1.0


def test_a_foreign_line_with_a_whole_date_tells_the_year() -> None:
    ray = "2022-06-21 08:00:03,525\tINFO worker.py:1841 -- Connected to Ray cluster.\n"
    begin, rest = START_0_11.split("(EngineCore_DP0", 1)
    log = log_of(f"{begin}{ray}(EngineCore_DP0{rest}", year=None)
    assert log.clock is not None
    assert (log.clock.year, log.clock.year_from) == (2022, "log")


def test_a_guessed_year_gives_no_instants_in_json() -> None:
    found = to_json(parsed(START_0_11, year=None))
    assert (found["first_log_utc"], found["ready_utc"]) == (None, None)
    assert found["phases"][0]["duration_s"] == 3.0


def test_a_start_over_new_year_keeps_its_length() -> None:
    text = START_0_11.replace("06-21 08:00:0", "12-31 23:59:5").replace("06-21 08:00", "01-01 00:00")
    log = log_of(text, year=2024)
    assert duration_s(log) == 66
    assert log.ready_ns == when("2025-01-01 00:00:56")


def test_a_line_of_the_old_year_that_comes_late_changes_nothing() -> None:
    text = START_0_11.replace("06-21 08:00:0", "12-31 23:59:5").replace("06-21 08:00", "01-01 00:00")
    late = "(Worker_TP1 pid=9) INFO 12-31 23:59:58 [pynccl.py:1] vLLM is using nccl==2.27\n"
    begin, rest = text.split("(EngineCore_DP0 pid=2) INFO 01-01 00:00:20")
    log = log_of(f"{begin}{late}(EngineCore_DP0 pid=2) INFO 01-01 00:00:20{rest}", year=2024)
    assert duration_s(log) == 66


def test_midnight_is_nothing_special() -> None:
    text = START_0_11.replace("06-21 08:00:0", "06-20 23:59:5").replace("06-21 08:00", "06-21 00:00")
    assert duration_s(log_of(text)) == 66


@pytest.mark.parametrize("tz", [None, "Europe/Berlin"])
def test_the_end_of_summer_time_is_an_hour_longer(tz: str | None) -> None:
    text = START_0_11.replace("06-21 08:00:0", "10-26 02:59:5").replace("06-21 08:00", "10-26 02:00")
    log = log_of(text, year=2025, tz=tz)
    assert duration_s(log) == 66
    assert any("goes back an hour" in note for note in log.notes)


def test_the_29th_of_february_has_a_year_that_has_it() -> None:
    log = log_of(START_0_11.replace("06-21", "02-29"), year=None)
    assert log.first_log_ns is not None
    assert datetime.fromtimestamp(log.first_log_ns // NS_PER_S, UTC).strftime("%m-%d") == "02-29"


def test_lines_out_of_order_do_not_make_phases_negative() -> None:
    lines = START_0_11.splitlines(keepends=True)
    lines[9], lines[11] = lines[11], lines[9]
    assert all((phase.duration_s or 0) >= 0 for phase in log_of("".join(lines)).phases)


@pytest.mark.parametrize(("text", "seconds"), [("+02:00", 7200), ("-0530", -19800), ("+2", 7200), ("UTC", 0)])
def test_zones_may_be_offsets(text: str, seconds: int) -> None:
    found = zone(text)
    assert found is not None
    offset = found.utcoffset(datetime(2025, 1, 1))
    assert offset is not None
    assert offset.total_seconds() == seconds


@pytest.mark.parametrize("text", ["Mars/Base", "+99:00", "", "../etc/passwd", "+1:2:3x"])
def test_a_zone_that_is_none_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match="no such zone"):
        zone(text)


def test_a_stamp_takes_the_year_nearest_to_the_envelope() -> None:
    new_year = when("2026-01-01 00:00:10")
    assert nearest_s(Stamp(12, 31, 23, 59, 59), new_year) == when("2025-12-31 23:59:59") // NS_PER_S


def test_an_envelope_that_does_not_follow_the_log_yields_to_the_argument() -> None:
    uploaded = "".join(f"2025-11-02T03:03:03.5Z {line}\n" for line in START_0_11.splitlines())
    clock = log_of(uploaded, year=2023).clock
    assert clock is not None
    assert (clock.year, clock.year_from) == (2023, "argument")


def test_lines_without_stamps_of_their_own_take_the_collectors() -> None:
    text = "".join(
        f"2025-08-15T01:24:{20 + place}.500000Z  INFO {line}\n"
        for place, line in enumerate(
            [
                "core.__init__: Initializing a V1 LLM engine (v0.10.0) with config: model='m', tensor_parallel_size=1",
                "default_loader.load_model: Loading weights took 4.50 seconds",
                "core._initialize_kv_caches: init engine (profile, create kv cache, warmup model) took 9.00 seconds",
            ]
        )
    )
    log = log_of(text, year=None)
    assert (log.reported["weights_load_s"], log.reported["init_engine_s"]) == (4.5, 9.0)
    assert log.first_log_ns == when("2025-08-15 01:24:20.500")
    assert log.clock is not None
    assert (log.clock.source, log.clock.year, log.clock.resolution_s) == ("envelope", 2025, 0.001)
