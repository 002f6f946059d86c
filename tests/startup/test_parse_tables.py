"""Exports of collectors: CSV with names of columns, nested JSON, streams one behind the other, several pods; UTF-16."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from parse_texts import START_0_7, START_0_11, log_of, parsed, said

from vllmperf.cli import main

Row = tuple[datetime, str]
TRACEBACK = 'A text with "quotation marks", commas\nand a second line'


def rows(text: str = START_0_11) -> list[Row]:
    """Each line with the time at which a collector read it."""
    out, at = [], datetime(2026, 1, 1, tzinfo=UTC)
    for line in text.splitlines():
        for mark in ("06-21 ", "02-24 "):
            if mark in line:
                clock = line.split(mark)[1][:8]
                at = datetime.fromisoformat(f"2026-{mark.strip()}T{clock}.250+00:00")
        at += timedelta(milliseconds=1)
        out.append((at, line))
    return out


def iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z"


def local(at: datetime) -> str:
    return iso(at).replace("T", " ").removesuffix("Z")


def ns(at: datetime) -> str:
    return str(int(at.timestamp() * 1000) * 1_000_000)


def table(head: Sequence[str], cells: Callable[[Row], Sequence[object]], **form: object) -> bytes:
    """Newest first, as the pages of collectors export it."""
    out = io.StringIO()
    writer = csv.writer(out, **form)  # type: ignore[arg-type]
    writer.writerow(head)
    writer.writerows(cells(row) for row in [*rows(f"{TRACEBACK}\n{START_0_11}")][::-1])
    return out.getvalue().encode()


def us(at: datetime) -> str:
    return f"{at.month}/{at.day}/{at.year}, {at.hour % 12 or 12}{at:%M:%S}".replace(
        f"{at:%M:%S}", f":{at:%M:%S}.{at.microsecond // 1000:03} {at:%p}"
    )


ALL = csv.QUOTE_ALL
EXPORTS: dict[str, bytes] = {
    "Grafana": table(["Time", "labels", "Line", "tsNs", "id"], lambda r: [local(r[0]), "{}", r[1], ns(r[0]), "1_a"], quoting=ALL),
    "Grafana, for Excel": b"sep=,\r\n" + table(["Time", "Line"], lambda r: [iso(r[0]), r[1]], quoting=ALL),
    "Datadog": table(["Date", "Host", "Service", "Message"], lambda r: [iso(r[0]), "gpu1", "vllm", r[1]], quoting=ALL),
    "Datadog, bare cells": table(["Date", "Host", "Message"], lambda r: [iso(r[0]), "gpu1", r[1]]),
    "CloudWatch": table(["timestamp", "message"], lambda r: [int(ns(r[0])) // 1_000_000, r[1]]),
    "CloudWatch Insights": table(["@timestamp", "@message"], lambda r: [local(r[0]), r[1]]),
    "Kibana": table(["@timestamp", "kubernetes.pod.name", "message"],
                    lambda r: [f"{r[0]:%b} {r[0].day}, {r[0].year} @ {local(r[0])[11:]}", "vllm-0", r[1]], quoting=ALL),
    "Splunk": table(["_raw", "_time", "host"], lambda r: [r[1], iso(r[0]).replace("Z", "+0000"), "gpu1"], quoting=ALL),
    "Azure": table(["TimeGenerated [UTC]", "PodName", "LogMessage"], lambda r: [us(r[0]), "vllm-0", r[1]], quoting=ALL),
    "semicolons": table(["time", "message"], lambda r: [iso(r[0]), r[1]], delimiter=";"),
    "tabs": table(["time", "message"], lambda r: [iso(r[0]), r[1]], delimiter="\t"),
    "Datadog's answer": json.dumps([{"id": "A", "content": {"timestamp": iso(at), "host": "g", "message": line}}
                                    for at, line in rows()][::-1]).encode(),
    "Insights' answer": json.dumps({"results": [[{"field": name, "value": value} for name, value in
                                                 (("@timestamp", local(at)), ("@message", line))]
                                                for at, line in rows()][::-1]}).encode(),
    "Splunk's answer": "".join(json.dumps({"preview": False, "result": {"_time": iso(at), "_raw": line}}) + "\n"
                               for at, line in rows()).encode(),
    "fluentd": "".join(f"{local(at)}000000 +0000 kube.vllm: {json.dumps({'log': line})}\n" for at, line in rows()).encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_is_read_like_the_log_in_it(name: str) -> None:
    found, whole = parsed(EXPORTS[name]), log_of(START_0_11)
    log = found.main
    assert len(found.attempts) == 1
    assert (log.reached_ready, log.ready_ts, log.vllm_version, log.model) == (
        True,
        "06-21 08:00:56",
        "0.11.0",
        "org/model",
    )
    assert said(log) == said(whole)
    durations = [
        {phase.name: phase.duration_s for phase in each.phases if phase.name != "unattributed"}
        for each in (log, whole)
    ]
    assert durations[0] == pytest.approx(durations[1], abs=1)
    assert log.clock is not None
    assert (log.clock.source, log.clock.year, log.clock.resolution_s) == ("envelope", 2026, 0.001)


@pytest.mark.parametrize(
    "text",
    [
        "time,message\n",  # no rows
        f"a table, of nothing known\n{START_0_11}",
        f"the time and the message, in words\n{START_0_11}",
        f"Time, we start the server, message follows\n{START_0_11}",
    ],
)
def test_a_first_line_with_commas_makes_no_table(text: str) -> None:
    assert log_of(text + (START_0_11 if text.count("\n") == 1 else "")).reached_ready


def stream(labels: dict[str, str], lines: list[Row]) -> dict[str, object]:
    return {"stream": labels, "values": [[ns(at), line] for at, line in lines][::-1]}


def answer(*streams: dict[str, object]) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": "streams", "result": streams}}).encode()


def test_loki_s_streams_of_stderr_and_stdout_are_one_log_in_order_of_time() -> None:
    later = [
        *rows(),
        (datetime(2026, 6, 21, 9, tzinfo=UTC), "(APIServer pid=1) INFO 06-21 09:00:00 [loggers.py:1] x"),
    ]
    err = [row for row in later if "INFO:  " in row[1]]
    out = [row for row in later if row not in err]
    for order in (("stderr", err, "stdout", out), ("stdout", out, "stderr", err)):
        found = parsed(answer(stream({"stream": order[0]}, order[1]), stream({"stream": order[2]}, order[3])))  # type: ignore[arg-type,dict-item]
        assert len(found.attempts) == 1
        assert (found.main.reached_ready, found.main.ready_ts) == (True, "06-21 08:00:56")


POD_JSON: dict[str, Callable[[str], dict[str, object]]] = {
    "fluent-bit": lambda pod: {"kubernetes": {"pod_name": pod, "container_name": "vllm"}},
    "Filebeat": lambda pod: {"kubernetes": {"pod": {"name": pod}, "container": {"name": "vllm"}}},
    "stern": lambda pod: {"podName": pod, "containerName": "vllm"},
    "Cloud Logging": lambda pod: {"resource": {"labels": {"pod_name": pod, "container_name": "vllm"}}},
    "logcli": lambda pod: {"labels": {"pod": pod}},
}


@pytest.mark.parametrize("name", POD_JSON)
def test_pods_that_json_names_are_starts_of_their_own(name: str) -> None:
    """Two servers at the same time, line by line."""
    other = rows(START_0_7.replace("02-24 13:59", "06-21 08:00").replace("02-24 14", "06-21 09"))
    both = sorted(
        [(at, "vllm-0", line) for at, line in rows()] + [(at, "vllm-1", line) for at, line in other]
    )
    text = "".join(
        json.dumps({"message": line, "timestamp": iso(at)} | POD_JSON[name](pod)) + "\n"
        for at, pod, line in both
    )
    found = parsed(text)
    assert [(log.vllm_version, log.reached_ready) for log in found.attempts] == [
        ("0.11.0", True),
        ("0.7.3", True),
    ]
    assert [said(log) for log in found.attempts] == [said(log_of(START_0_11)), said(log_of(START_0_7))]


def test_pods_of_a_table_and_of_loki_s_answer_are_starts_of_their_own() -> None:
    ready = "(APIServer pid=1) INFO:     Application startup complete."
    cut = [row for row in rows() if row[1] != ready]
    two = parsed(answer(stream({"pod": "vllm-0"}, rows()), stream({"pod": "vllm-1"}, cut)))
    assert sorted(log.reached_ready for log in two.attempts) == [False, True]
    out = io.StringIO()
    csv.writer(out).writerow(["time", "pod", "message"])
    both = sorted([(at, "vllm-0", line) for at, line in rows()] + [(at, "vllm-1", line) for at, line in cut])
    csv.writer(out).writerows((iso(at), pod, line) for at, pod, line in both)
    assert [log.reached_ready for log in parsed(out.getvalue()).attempts] == [True, False]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_powershell_redirects_is_read(
    encoding: str, end: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = b"" if encoding == "utf-16" else "\ufeff".encode(encoding)
    data = mark + START_0_11.replace("\n", end).encode(encoding)
    for name, content in (("a.log", data), ("b.log.gz", gzip.compress(data))):
        (tmp_path / name).write_bytes(content)
        assert main(["parse-log", "--json", str(tmp_path / name)]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["reached_ready"], found["ready_ts"], found["attempts"]) == (True, "06-21 08:00:56", 1)
    exported = EXPORTS["Grafana"].decode().encode(encoding)
    assert log_of(mark + exported).ready_ts == "06-21 08:00:56"
