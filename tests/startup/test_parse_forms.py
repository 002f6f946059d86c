"""Lines in forms that no table knows: numbers and constants before them, formats of one's own, OpenTelemetry."""

import json
import re
from datetime import datetime

import pytest
from parse_texts import START_0_7, START_0_11, log_of, parsed, said

from vllmperf.starts.result import StartupLog

FAILED = """\
(APIServer pid=1) INFO 06-21 08:00:01 [api_server.py:1839] vLLM API server version 0.11.0
(EngineCore_DP0 pid=2) INFO 06-21 08:00:05 [gpu_model_runner.py:1] Starting to load model org/model...
(EngineCore_DP0 pid=2) ERROR 06-21 08:00:10 [core.py:708] EngineCore failed to start.
(EngineCore_DP0 pid=2) ERROR 06-21 08:00:10 [core.py:708] Traceback (most recent call last):
(EngineCore_DP0 pid=2) ERROR 06-21 08:00:10 [core.py:708]   File "/x/gpu_worker.py", line 2, in load_model
(EngineCore_DP0 pid=2) ERROR 06-21 08:00:10 [core.py:708] ValueError: broken
(APIServer pid=1) Traceback (most recent call last):
(APIServer pid=1)   File "/x/main.py", line 2, in main
(APIServer pid=1)     serve()
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.
"""
PREFIXES = {
    "cat -n": "{n:6}\t",
    "nl": "{n:6}  ",
    "grep -n": "{n}:",
    "less -N": "{n:7} ",
    "number and bar": "{n:4} | ",
    "number in brackets": "[{n}] ",
    "number and dot": "{n}. ",
    "bar": "  | ",
    "one bar": "| ",
    "tab": "\t",
    "blanks": "        ",
    "quote": "> ",
    "plus": "+ ",
    "hash": "# ",
    "name": "vllm: ",
    "name in brackets": "[vllm] ",
    "name and dashes": "vllm-server --> ",
    "out": "stdout: ",
    "pueue": "node-3│ ",
    "supervisor": "2026-06-21 08:00:{n:02},123 DEBG 'vllm' stdout output: ",
    "slurm": "{n}: ",
    "tmux": "0:[tmux]: ",
    "logger": "<14>Jun 21 08:00:{n:02} host vllm[77]: ",
    "ts": "Jun 21 08:00:{n:02} ",
    "ts brackets": "[Jun 21 08:00:{n:02}] ",
    "day first": "21/Jun/2026:08:00:{n:02} +0000 ",
    "elapsed": "[00:00:{n:02}] ",
    "elapsed seconds": "[   {n}.123456] ",
    "epoch": "17500000{n:02} ",
    "uuid": "3f2a9c1e-{n:04}-4a6b-9d3e-0a1b2c3d4e5f ",
    "ansible": "ok: [gpu-{n}] => vllm: ",
}


def prefixed(text: str, form: str) -> str:
    return "".join(form.format(n=n) + line + "\n" for n, line in enumerate(text.splitlines(), 1))


def same(found: StartupLog, plain: StartupLog) -> None:
    for name in (
        "vllm_version",
        "platform",
        "mode",
        "tp",
        "model",
        "first_log_ts",
        "reached_ready",
        "per_rank",
    ):
        assert getattr(found, name) == getattr(plain, name), name
    assert said(found) == said(plain)


@pytest.mark.parametrize("text", [START_0_7, START_0_11], ids=["V0", "V1"])
@pytest.mark.parametrize("name", PREFIXES)
def test_a_prefix_before_each_line_is_taken_off(name: str, text: str) -> None:
    same(log_of(prefixed(text, PREFIXES[name])), log_of(text))


@pytest.mark.parametrize("name", PREFIXES)
def test_behind_a_prefix_a_failure_is_found_with_its_phase(name: str) -> None:
    failure = log_of(prefixed(FAILED, PREFIXES[name])).failure
    assert failure is not None
    assert failure.text.endswith("ValueError: broken")
    assert (failure.line, failure.phase) == (6, "weights_load")


# --- formats of a logger of one's own

MODULE = re.compile(r"(\w+) (\d\d-\d\d) (\d\d:\d\d:\d\d) \[?([\w./]+)\.py:(\d+)\] ?(.*)")
OWN = {
    "pipes": "2026-{date} {at} | {module} | 139814446831424 | {level} : {said}",
    "year": "{level} 2026-{date} {at} [{module}.py:{line}] {said}",
    "year and parts": "{level} 2026-{date} {at},123 [{module}.py:{line}] {said}",
    "day first": "21-06-2026 {at} [{level}] {module}.py:{line} - run() - {said}",
    "python": "2026-{date} {at},123 - vllm.x.{module} - {level} - {said}",
    "python, root": "2026-{date} {at},123 - root - {level} - {said}",
    "short": "2026-{date} {at},123 {level} {said}",
    "level in brackets": "[2026-{date} {at}] [{level}] [{module}] {said}",
    "padded": "2026-{date} {at} {level:<8} {module:>20}: {said}",
    "loguru": "2026-{date} {at}.123 | {level:<8} | vllm.x.{module}:run:{line} - {said}",
    "basic": "{level}:vllm.x.{module}:{said}",
    "glog": "{letter}0621 {at}.123456 77 {module}.py:{line}] {said}",
    "logfmt": 'time=2026-{date}T{at}Z level={level} module={module} msg="{said}"',
    "csv": '2026-{date}T{at}.123Z,{level},vllm,{module},"{said}"',
    "slashes": "2026/{date} {at} {level} {module}: {said}",
    "message": "{said}",
    "name and message": "vllm.x.{module}: {said}",
    "level and message": "{level}: {said}",
    "level, module": "{level} {module} {said}",
    "collector and own": "[host-7] 2026-{date} {at} | {module} | 1397 | {level} : {said}",
}  # fmt: skip
UNDATED = ("basic", "message", "name and message", "level and message", "level, module")


def in_own(text: str, form: str) -> str:
    """Each line of vLLM's, and uvicorn's as a module `on`, in a format of one's own."""
    out = []
    for line in text.splitlines():
        who, rest = (
            (line[: line.index(") ") + 2], line[line.index(") ") + 2 :]) if line[0] == "(" else ("", line)
        )
        rest = rest.replace("INFO:     ", "INFO 06-21 08:00:56 [on.py:62] ")
        found = MODULE.fullmatch(rest)
        if found is None:
            out.append(line)
            continue
        level, date, at, file, number, message = found.groups()
        date = date if "/" not in form else date.replace("-", "/")
        fields = {"date": date, "at": at, "module": file, "line": number, "said": message, "letter": level[0]}
        out.append(who + form.format(level=level, **fields))
    return "\n".join(out) + "\n"


@pytest.mark.parametrize("name", OWN)
def test_a_format_of_one_s_own_is_read(name: str) -> None:
    found, plain = log_of(in_own(START_0_11, OWN[name])), log_of(START_0_11)
    assert said(found) == said(plain)
    assert (found.vllm_version, found.model, found.tp, found.mode) == ("0.11.0", "org/model", 1, "serve")
    assert found.reached_ready
    if name not in UNDATED:
        assert found.first_log_ts == "06-21 08:00:00"
        critical = [p.name for p in plain.phases if p.critical and p.name != "unattributed"]
        assert [p.name for p in found.phases if p.critical and p.name != "unattributed"] == critical


@pytest.mark.parametrize("name", OWN)
def test_in_a_format_of_one_s_own_a_failure_is_found(name: str) -> None:
    failure = log_of(in_own(FAILED, OWN[name])).failure
    assert failure is not None
    assert failure.text.rstrip('"').endswith("ValueError: broken")
    assert failure.line == 6


@pytest.mark.parametrize("name", [name for name in OWN if name not in UNDATED])
def test_a_format_with_dates_gives_year_and_clock(name: str) -> None:
    clock = log_of(in_own(START_0_11, OWN[name]), year=None).clock
    assert clock is not None
    if name != "glog":  # which has no year
        assert (clock.year, clock.year_from, clock.source) == (2026, "envelope", "envelope")


@pytest.mark.parametrize("name", OWN)
def test_what_a_client_sends_in_such_a_format_is_no_marker(name: str) -> None:
    answer = '(APIServer pid=1) INFO:     10.0.0.1:5000 - "POST /v1/completions HTTP/1.1" 200 OK\n'
    sent = in_own(START_0_7, OWN[name])
    assert len(parsed(START_0_11 + answer + sent).attempts) == 1


# --- OpenTelemetry


def record(line: str, ns: int, **more: object) -> dict[str, object]:
    return {
        "timeUnixNano": str(ns),
        "observedTimeUnixNano": str(ns + 5),
        "body": {"stringValue": line},
        **more,
    }


def request(*records: dict[str, object], resource: str = "", scope: str = "scopeLogs") -> dict[str, object]:
    named = [{"key": "k8s.pod.name", "value": {"stringValue": resource}}] if resource else []
    return {
        "resourceLogs": [
            {"resource": {"attributes": named}, scope: [{"scope": {}, "logRecords": [*records]}]}
        ]
    }


BASE = 1_782_028_800_000_000_000  # 2026-06-21T08:00:00Z


def stamped(text: str) -> list[dict[str, object]]:
    """A quarter of a second after each line's own stamp."""
    at, out = 0, []
    for line in text.splitlines():
        if found := re.search(r" (\d\d-\d\d \d\d:\d\d:\d\d) ", line):
            at = int(datetime.fromisoformat(f"2026-{found[1]}Z").timestamp())
        out.append(record(line, at * 1_000_000_000 + 250_000_000))
    return out


OTLP = {
    "a record a line": lambda r: "\n".join(json.dumps(request(one)) for one in r),
    "records in one line": lambda r: json.dumps(request(*r)),
    "parts a line": lambda r: "\n".join(json.dumps(request(*r[at : at + 4])) for at in range(0, len(r), 4)),
    "one value of many lines": lambda r: json.dumps(request(*r), indent=1),
    "no blanks": lambda r: json.dumps(request(*r), separators=(",", ":")),
    "an array": lambda r: json.dumps([request(one) for one in r]),
    "a resource": lambda r: "\n".join(json.dumps(request(one, resource="vllm-0")) for one in r),
    "resources in one line": lambda r: json.dumps(
        {"resourceLogs": [part for one in r for part in request(one, resource="vllm-0")["resourceLogs"]]}
    ),
    "older name": lambda r: json.dumps(request(*r, scope="instrumentationLibraryLogs")),
    "observed only": lambda r: json.dumps(request(*({**one, "timeUnixNano": "0"} for one in r))),
    "parsed bodies": lambda r: json.dumps(
        request(
            *(
                {**one, "body": {"kvlistValue": {"values": [{"key": "message", "value": one["body"]}]}}}
                for one in r
            )
        )
    ),
}


@pytest.mark.parametrize("name", OTLP)
@pytest.mark.parametrize("text", [START_0_7, START_0_11], ids=["V0", "V1"])
def test_files_of_the_opentelemetry_collector_are_read(text: str, name: str) -> None:
    log = log_of(OTLP[name](stamped(text)), year=None)
    same(log, log_of(text))
    assert log.clock is not None
    assert log.clock.source == "envelope"


@pytest.mark.parametrize("name", OTLP)
def test_the_collector_s_nanoseconds_are_the_clock(name: str) -> None:
    log = log_of(OTLP[name](stamped(START_0_11)), year=None)
    assert log.clock is not None
    assert (log.clock.year, log.clock.resolution_s) == (2026, 0.001)
    assert log.first_log_ns == BASE + (255 if name == "observed only" else 250) * 1_000_000 - (
        5_000_000 - 5 if name == "observed only" else 0
    )


def test_records_with_the_level_and_logger_beside_them_are_read() -> None:
    rows = []
    for line in START_0_11.splitlines():
        rest = line.split(") ", 1)[1] if line[0] == "(" else line
        found = MODULE.fullmatch(rest.replace("INFO:     ", "INFO 06-21 08:00:56 [on.py:62] "))
        assert found is not None
        where = [{"key": "code.filepath", "value": {"stringValue": f"{found[4]}.py"}}]
        at = BASE + int(found[3][-2:]) * 1_000_000_000
        rows.append(record(found[6], at, severityText=found[1], attributes=where))
    log = log_of(json.dumps(request(*rows)), year=None)
    assert said(log) == said(log_of(START_0_11))
    assert log.reached_ready
    assert log.first_log_ns == BASE


def test_pods_of_one_collector_are_told_apart() -> None:
    rows = []
    for one, other in zip(stamped(START_0_11), stamped(START_0_7), strict=False):
        rows += [request(one, resource="vllm-0"), request(other, resource="vllm-1")]
    found = parsed("\n".join(map(json.dumps, rows)))
    assert len(found.attempts) == 2


@pytest.mark.parametrize(
    "text",
    [
        '{"resourceLogs": 5}',
        '{"resourceLogs": [5]}',
        '{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": null}]}]}]}',
        '{"resourceLogs": [{"scopeLogs": {"a": 1}}]}',
        '{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"kvlistValue": {"values": 7}}}]}]}]}',
        '{"resourceLogs": [',
    ],
)
def test_what_is_no_request_of_opentelemetry_does_no_harm(text: str) -> None:
    assert log_of(text + "\n" + START_0_11).reached_ready
