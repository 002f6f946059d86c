"""Puts the envelopes of collectors around lines, with stamps that follow or do not follow the lines' own."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

BASE_NS = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
STEP_NS = 123_456_789

Wrap = Callable[[list[bytes]], bytes]


def _stamps(lines: list[bytes]) -> Iterator[tuple[bytes, int]]:
    return ((line, BASE_NS + place * STEP_NS) for place, line in enumerate(lines))


def rfc3339(ns: int) -> str:
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ns % 10**9:09}Z"


def _prefix(make: Callable[[int], str]) -> Wrap:
    return lambda lines: b"".join(make(ns).encode() + line + b"\n" for line, ns in _stamps(lines))


def _objects(make: Callable[[str, int], dict[str, object]]) -> Wrap:
    def wrap(lines: list[bytes]) -> bytes:
        texts = ((line.decode("utf-8", "replace"), ns) for line, ns in _stamps(lines))
        return "".join(json.dumps(make(text, ns)) + "\n" for text, ns in texts).encode()

    return wrap


def _cri(lines: list[bytes]) -> bytes:
    """Long lines in parts, as the kubelet writes them."""
    out = []
    for line, ns in _stamps(lines):
        parts = [line[at : at + 500] for at in range(0, len(line), 500)] or [b""]
        for place, part in enumerate(parts):
            mark = b"F" if place == len(parts) - 1 else b"P"
            out.append(rfc3339(ns).encode() + b" stdout " + mark + b" " + part + b"\n")
    return b"".join(out)


def _cloud_array(lines: list[bytes]) -> bytes:
    """`gcloud logging read --format=json`: newest first."""
    entries = [
        {"insertId": str(ns), "textPayload": line.decode("utf-8", "replace"), "timestamp": rfc3339(ns)}
        for line, ns in _stamps(lines)
    ]
    return json.dumps(entries[::-1], indent=2).encode()


def _loki_answer(lines: list[bytes]) -> bytes:
    values = [[str(ns), line.decode("utf-8", "replace")] for line, ns in _stamps(lines)]
    result = [{"stream": {"app": "vllm"}, "values": values}]
    return json.dumps({"status": "success", "data": {"resultType": "streams", "result": result}}).encode()


def _backward(lines: list[bytes]) -> bytes:
    return b"".join(
        rfc3339(ns).encode() + b' {app="vllm"} ' + line + b"\n" for line, ns in [*_stamps(lines)][::-1]
    )


def _plain(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


ENVELOPES: dict[str, Wrap] = {
    "kubectl --timestamps": _prefix(lambda ns: f"{rfc3339(ns)} "),
    "kubectl --prefix": _prefix(lambda _: "[pod/vllm-7d9c/vllm] "),
    "kubectl --prefix --timestamps": _prefix(lambda ns: f"[pod/vllm-7d9c/vllm] {rfc3339(ns)} "),
    "CRI": _cri,
    "docker json-file": _objects(lambda t, ns: {"log": f"{t}\n", "stream": "stdout", "time": rfc3339(ns)}),
    "docker logs -t": _prefix(lambda ns: f"{rfc3339(ns)} "),
    "docker compose": _prefix(lambda _: "vllm-1  | "),
    "docker compose -t": _prefix(lambda ns: f"vllm-1  | {rfc3339(ns)} "),
    "collector": _prefix(lambda ns: f"| {rfc3339(ns)[:23]}Z | "),
    "journald short": _prefix(
        lambda ns: f"{datetime.fromtimestamp(ns // 10**9, UTC):%b %d %H:%M:%S} node vllm[77]: "
    ),
    "journald short-iso": _prefix(
        lambda ns: f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}+0000 node vllm[77]: "
    ),
    "journald json": _objects(
        lambda t, ns: {"MESSAGE": t, "__REALTIME_TIMESTAMP": str(ns // 1000), "_PID": "1"}
    ),
    "GitHub Actions": _prefix(lambda ns: f"{rfc3339(ns)[:27]}Z "),
    "GitHub job log": _prefix(lambda ns: f"serve\tRun vLLM\t{rfc3339(ns)[:27]}Z "),
    "logcli": _prefix(lambda ns: f'{rfc3339(ns)[:19]}Z {{app="vllm", pod="vllm-0"}} '),
    "logcli backward": _backward,
    "logcli jsonl": _objects(lambda t, ns: {"labels": {"app": "vllm"}, "line": t, "timestamp": rfc3339(ns)}),
    "Loki's answer": _loki_answer,
    "Cloud Logging lines": _objects(
        lambda t, ns: {"textPayload": t, "timestamp": rfc3339(ns), "severity": "INFO"}
    ),
    "Cloud Logging payload": _objects(
        lambda t, ns: {"jsonPayload": {"message": t}, "timestamp": rfc3339(ns)}
    ),
    "Cloud Logging array": _cloud_array,
    "generic JSON": _objects(lambda t, ns: {"ts": ns / 1e9, "msg": t, "stream": "stderr"}),
    "CRI in a docker file": lambda lines: ENVELOPES["docker json-file"](_cri(lines).splitlines()),
    "compose with kubectl": lambda lines: ENVELOPES["docker compose"](
        ENVELOPES["kubectl --timestamps"](lines).split(b"\n")[:-1]
    ),
    "CRLF": lambda lines: b"".join(line + b"\r\n" for line in lines),
    "byte order mark": lambda lines: b"\xef\xbb\xbf" + _plain(lines),
    "UTF-16": lambda lines: _plain(lines).decode("utf-8", "replace").encode("utf-16"),
    "UTF-16 without its mark": lambda lines: _plain(lines).decode("utf-8", "replace").encode("utf-16-le"),
    "NUL bytes": lambda lines: b"\0" * 64 + _plain(lines).replace(b"took", b"t\0ook"),
    "gzip": lambda lines: gzip.compress(_plain(lines)),
    "spelled colour": lambda lines: b"".join(
        b"^[[36m" + line.replace(b" INFO ", b" ^[[32mINFO^[[0m ") + b"\n" for line in lines
    ),
    "spelled colour, other": lambda lines: b"".join(
        "←[36m".encode() + line + rb"\x1b[0m" + b"\n" for line in lines
    ),
    "mixed": lambda lines: b"".join(
        wrap(lines[at : at + 7])
        for at, wrap in zip(
            range(0, len(lines), 7),
            [
                ENVELOPES[("kubectl --timestamps", "docker json-file", "CRI")[i % 3]]
                for i in range(len(lines))
            ],
            strict=False,
        )
    ),
}
