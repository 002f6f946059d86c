"""A collector's stamps before each line are the clock, with or without a zone, wherever they stand."""

from datetime import UTC, datetime

import pytest
from parse_texts import START_0_7, START_0_11, log_of

from vllmperf.starts.log.schema import to_json
from vllmperf.starts.log.stamps import Stamp, find
from vllmperf.starts.result import NS_PER_S

from parse_texts import parsed  # isort: skip


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000) * 1_000_000


def stamped(text: str, form: str, late_ms: int = 250, east_s: int = 0) -> str:
    """Each line behind a stamp that the collector gave it `late_ms` after vLLM's own, in a zone east of UTC."""
    at, out = 0, []
    for line in text.splitlines():
        if "06-21" in line:
            at = int(datetime.fromisoformat(f"2021-06-21T{line.split('06-21 ')[1][:8]}+00:00").timestamp())
        when = datetime.fromtimestamp(at + east_s, UTC)
        sign, off = ("+", east_s) if east_s >= 0 else ("-", -east_s)
        zone = f"{sign}{off // 3600:02}:{off % 3600 // 60:02}" if east_s else "Z"
        out.append(
            form.format(
                date=f"{when:%Y-%m-%d}", slashes=f"{when:%Y/%m/%d}", clock=f"{when:%H:%M:%S}", zone=zone, ms=late_ms,
                epoch=at,
            ) + line + "\n"
        )  # fmt: skip
    return "".join(out)


ZONED = {
    "Buildkite": "[{date}T{clock}.{ms}{zone}] ",
    "Buildkite, agent": "[{date}T{clock}.{ms}{zone}]: ",
    "round brackets": "({date}T{clock}.{ms}{zone}) ",
    "stern": "vllm-0 vllm {date}T{clock}.{ms}000000{zone} ",
    "stern, one name": "vllm-0 {date}T{clock}.{ms}000000{zone} ",
    "stern, namespace": "ns vllm-6d5f7c9b8-abcde vllm {date}T{clock}.{ms}000000{zone} ",
    "stern, bar": "vllm-0 › vllm {date}T{clock}.{ms}{zone} ",
    "kubectl": "{date}T{clock}.{ms}000000{zone} ",
    "kubectl --prefix": "[pod/vllm-0/vllm] {date}T{clock}.{ms}000000{zone} ",
    "compose -t": "vllm-1  | {date}T{clock}.{ms}000000{zone} ",
    "kail": "ns/vllm-0[vllm]: {date}T{clock}.{ms}{zone} ",
    "comma": "{date}T{clock},{ms}{zone} ",
    "blank between": "{date} {clock}.{ms}{zone} ",
    "name before": "[worker-3] {date}T{clock}.{ms}{zone} ",
    "level behind": "{date}T{clock}.{ms}{zone} [INFO] vllm: ",
    "stream behind": "{date}T{clock}.{ms}{zone} stderr F ",
    "tab": "{date}T{clock}.{ms}{zone}\t",
    "epoch": "{epoch}.{ms} ",
    "epoch in brackets": "[{epoch}.{ms}] ",
}
LOCAL = {
    "bar": "{date} {clock}.{ms} | ",
    "bar, T": "{date}T{clock}.{ms} | ",
    "brackets": "[{date} {clock}.{ms}] ",
    "brackets, T": "[{date}T{clock}.{ms}] ",
    "blank": "{date} {clock}.{ms} ",
    "comma": "{date} {clock},{ms} ",
    "slashes": "{slashes} {clock}.{ms} ",
    "slashes in brackets": "[{slashes} {clock}.{ms}] ",
    "dash": "{date} {clock}.{ms} - ",
    "TorchServe": "{date}T{clock},{ms} [INFO ] W-9000-model_1.0-stdout MODEL_LOG - ",
    "supervisor": "{date} {clock},{ms} DEBG 'vllm' stdout output: ",
    "name before": "vllm-0: {date} {clock}.{ms} ",
    "number before": "12345 {date} {clock}.{ms} ",
    "FastChat": "{date} {clock}.{ms} | INFO | stdout | ",
}


@pytest.mark.parametrize("east_s", [0, 7200, -28800, 19800])
@pytest.mark.parametrize("name", ZONED)
def test_stamps_with_a_zone_are_the_clock(name: str, east_s: int) -> None:
    log = log_of(stamped(START_0_11, ZONED[name], east_s=east_s), year=None)
    assert log.clock is not None
    assert (log.clock.source, log.clock.year, log.clock.year_from) == ("envelope", 2021, "envelope")
    assert (log.clock.utc, log.clock.resolution_s) == (True, 0.001)
    assert log.first_log_ns == ns("2021-06-21T08:00:00.250+00:00")
    assert log.ready_ns == ns("2021-06-21T08:00:56.250+00:00")
    assert log.first_log_ts == "06-21 08:00:00"


@pytest.mark.parametrize("name", LOCAL)
def test_stamps_without_a_zone_are_the_clock_with_their_year(name: str) -> None:
    text = stamped(START_0_11, LOCAL[name])
    log = log_of(text, year=None)
    assert log.clock is not None
    assert (log.clock.source, log.clock.year, log.clock.year_from) == ("envelope", 2021, "envelope")
    assert (log.clock.utc, log.clock.resolution_s) == (False, 0.001)
    assert log.first_log_ns == ns("2021-06-21T08:00:00.250+00:00")
    assert log.ready_ns == ns("2021-06-21T08:00:56.250+00:00")
    assert to_json(parsed(text, year=None))["first_log_utc"] == "2021-06-21T08:00:00.250Z"


@pytest.mark.parametrize("name", LOCAL)
def test_the_argument_says_the_zone_of_such_stamps(name: str) -> None:
    log = log_of(stamped(START_0_11, LOCAL[name]), year=None, tz="Europe/Berlin")
    assert log.clock is not None
    assert (log.clock.utc, log.clock.zone) == (True, "Europe/Berlin")
    assert log.first_log_ns == ns("2021-06-21T06:00:00.250+00:00")


@pytest.mark.parametrize("east_s", [7200, -28800])
def test_stamps_without_a_zone_may_be_of_another_one_than_vllm_s(east_s: int) -> None:
    log = log_of(stamped(START_0_11, "{date} {clock}.{ms} | ", east_s=east_s), year=None)
    assert log.first_log_ns == ns("2021-06-21T08:00:00.250+00:00") + east_s * NS_PER_S
    assert log.first_log_ts == "06-21 08:00:00"


@pytest.mark.parametrize("form", [ZONED["Buildkite"], LOCAL["brackets"], LOCAL["bar"]])
def test_spans_have_the_collector_s_milliseconds(form: str) -> None:
    first, rest = START_0_11[: START_0_11.index("(EngineCore_DP0 pid=2) INFO 06-21 08:00:26")], ""
    rest = START_0_11[len(first) :]
    log = log_of(stamped(first, form, 100) + stamped(rest, form, 900), year=None)
    load = next(phase for phase in log.phases if phase.name == "weights_load" and phase.critical)
    assert load.duration_s == pytest.approx(6.8)
    assert load.resolution_s == 0.001


def test_a_few_lines_with_such_stamps_are_not_the_clock() -> None:
    lines = START_0_11.splitlines(keepends=True)
    lines[5] = "2021-06-21 08:00:12.250 | " + lines[5]
    clock = log_of("".join(lines), year=None).clock
    assert clock is not None
    assert (clock.source, clock.year, clock.year_from) == ("log", 2021, "log")


def test_a_stamp_with_a_zone_beside_one_without_is_the_clock() -> None:
    text = stamped(START_0_11, "[{date}T{clock}.{ms}Z] {date} {clock}.111 | ")
    log = log_of(text, year=None)
    assert log.clock is not None
    assert log.clock.utc
    assert log.first_log_ns == ns("2021-06-21T08:00:00.250+00:00")


def test_pods_in_stern_s_output_are_told_apart() -> None:
    rows = zip(
        stamped(START_0_11, ZONED["stern"]).splitlines(),
        stamped(
            START_0_7.replace("02-24 13", "06-21 08"), ZONED["stern"].replace("vllm-0", "vllm-1")
        ).splitlines(),
        strict=False,
    )
    found = parsed("\n".join(line for pair in rows for line in pair))
    assert len(found.attempts) == 2
    assert {log.vllm_version for log in found.attempts} == {"0.11.0", "0.7.3"}


@pytest.mark.parametrize(
    ("text", "stamp", "local"),
    [
        ("2025-03-02 08:00:01.250 x", (3, 2, 8, 0, 1), True),
        ("x 2025/03/02 08:00:01,250", (3, 2, 8, 0, 1), True),
        ("[2025-03-02T08:00:01.250Z]", (3, 2, 8, 0, 1), False),
        ("2025-03-02 09:00:01.250 +0100", (3, 2, 9, 0, 1), False),
        ("02-03-2025 08:00:01.250", (3, 2, 8, 0, 1), True),
        ("02.03.2025 08:00:01.250", (3, 2, 8, 0, 1), True),
        ("08-21-2025 08:00:01.250", (8, 21, 8, 0, 1), True),
        ("03/02/2025 08:00:01.250", (3, 2, 8, 0, 1), True),
        ("[03/02/25 08:00:01.250]", (3, 2, 8, 0, 1), True),
        ("02/Mar/2025:08:00:01.250 +0000", (3, 2, 8, 0, 1), False),
        ("Mar  2 2025 08:00:01.250", (3, 2, 8, 0, 1), True),
    ],
)
def test_a_stamp_is_found_in_any_usual_form(text: str, stamp: tuple[int, ...], local: bool) -> None:
    found = find(text)
    assert found.stamp is not None
    assert tuple(found.stamp) == stamp
    assert found.local == local
    assert found.ns is not None
    assert found.ns % NS_PER_S == 250_000_000
    day = ns("2025-08-21T08:00:01.250+00:00") if stamp[0] == 8 else ns("2025-03-02T08:00:01.250+00:00")
    assert found.ns == day


@pytest.mark.parametrize(
    "text", ["", "12:00:00", "31-31-2025 08:00:00", "2025-13-32 25:61:61", "x1234567890123456"]
)
def test_what_is_no_stamp_is_none(text: str) -> None:
    assert find(text).ns is None


def test_a_stamp_without_a_year_gives_no_instant() -> None:
    assert find("03-02 08:00:01 x") == (Stamp(3, 2, 8, 0, 1), None, 0, False)
    assert find("I0302 08:00:01.5 7 x.py:1]").stamp == Stamp(3, 2, 8, 0, 1)
