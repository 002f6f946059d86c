"""What GPUs draw: a page of DCGM's exporter, a range of Prometheus, or a file of watts over time."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from vllmperf import text_file
from vllmperf.errors import UsageError
from vllmperf.plan.knobs import POWER_KINDS
from vllmperf.scrape.text import samples
from vllmperf.target import Client

DCGM = {
    "DCGM_FI_DEV_POWER_USAGE": ("power_w", 1.0),
    "DCGM_FI_DEV_POWER_MGMT_LIMIT": ("limit_w", 1.0),
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": ("energy_j", 1e-3),
}
"""Series of dcgm-exporter (watts, watts, millijoules), and what they are called here."""
QUERY = "DCGM_FI_DEV_POWER_USAGE"
ANSWER_S = 4.0
STEP_S, MOST_STEPS = 5.0, 10_000
"""Prometheus gives at most 11,000 points a series."""
TIMES = ("time", "timestamp", "ts", "t")
WATTS = ("watts", "power_w", "power", "w")
GPUS = ("gpu", "device", "index")
WHOLE = "total"
"""The name where a file does not say of which GPU its watts are: of the host, or of all."""


class Reading(NamedTuple):
    """name: "power_w", "limit_w" or "energy_j"."""

    gpu: str
    name: str
    value: float


class Drawn(NamedTuple):
    """at_s: since 1970."""

    at_s: float
    gpu: str
    watts: float


class Power(NamedTuple):
    """kind: "dcgm", "prometheus" or "file". where: URL or path. query: of Prometheus."""

    kind: str
    where: str
    query: str = QUERY

    @classmethod
    def of(cls, text: str) -> Power:
        """dcgm=URL, prometheus=URL[,query=…], file=PATH, as knobs.power_source has checked it."""
        kind, _, rest = text.partition("=")
        where, _, query = rest.partition(",query=") if kind == "prometheus" else (rest, "", "")
        assert kind in POWER_KINDS
        return cls(kind, where, query or QUERY)

    @property
    def is_live(self) -> bool:
        """It tells what is drawn now; else what was drawn in the time of the run, asked for at its end."""
        return self.kind == "dcgm"

    def now(self) -> list[Reading]:
        """Of DCGM's exporter. Raises VllmperfError or ValueError when there is no such page."""
        parts = urlsplit(self.where)
        client = Client(f"{parts.scheme}://{parts.netloc}")
        return readings(client.get(parts.path or "/metrics", timeout_s=ANSWER_S).decode(errors="replace"))

    def between(self, start_s: float, end_s: float) -> list[Drawn]:
        """Of Prometheus or a file, in seconds since 1970. Raises VllmperfError or ValueError."""
        if self.kind == "file":
            return [one for one in of_file(Path(self.where)) if start_s <= one.at_s <= end_s]
        step_s = max(STEP_S, (end_s - start_s) / MOST_STEPS)
        path = f"/api/v1/query_range?query={quote(self.query)}&start={start_s}&end={end_s}&step={step_s}"
        client = Client(self.where.rstrip("/"))
        return of_range(json.loads(client.get(path, timeout_s=10 * ANSWER_S)))


def readings(page: str) -> list[Reading]:
    """Of a page of DCGM's exporter. Raises ValueError for what is no such text."""
    found = []
    for sample in samples(page):
        series = sample.name.removesuffix("_total")  # the parser puts it behind counters
        if series in DCGM and sample.value == sample.value:
            name, unit = DCGM[series]
            found.append(Reading(_gpu(sample.labels), name, sample.value * unit))
    return found


def _gpu(labels: Mapping[str, str]) -> str:
    """Its number, behind the host's name where the page says it; a part of a GPU (MIG) by its own number."""
    host = labels.get("Hostname", "")
    number = labels.get("gpu") or labels.get("UUID") or WHOLE
    part = labels.get("GPU_I_ID", "")
    return " ".join(word for word in (host, number, part) if word)


def of_range(answer: Any) -> list[Drawn]:
    """Of Prometheus' answer to query_range: each series is a GPU. Raises ValueError for another one."""
    try:
        series = answer["data"]["result"]
        return [
            Drawn(float(at_s), _gpu(one["metric"]), float(value))
            for one in series
            for at_s, value in one["values"]
            if value != "NaN"
        ]
    except (LookupError, TypeError) as error:
        raise ValueError(f"no answer to query_range ({error})") from None


# ---- files ----


def of_file(path: Path) -> list[Drawn]:
    """CSV with a head, or JSON lines: time (s since 1970, or ISO 8601), watts, and perhaps gpu. Raises UsageError."""
    try:
        text = text_file.read(path)
    except (OSError, text_file.NoTextError) as error:
        raise UsageError(f"--power file={path} cannot be read: {error}") from None
    rows = map(json.loads, filter(None, text.splitlines())) if text[:1] == "{" else _of_csv(text)
    try:
        return [_drawn(row) for row in rows]
    except (ValueError, LookupError, TypeError) as error:
        raise UsageError(
            f"--power file={path}: each row needs time and watts ({error}): "
            "a CSV with the head time,watts[,gpu], or JSON lines with these names"
        ) from None


def _of_csv(text: str) -> Iterator[Mapping[str, Any]]:
    lines = text.splitlines()
    names = [name.strip().lower() for name in next(csv.reader(lines[:1]), [])]
    return (dict(zip(names, map(str.strip, row), strict=False)) for row in csv.reader(lines[1:]) if row)


def _drawn(row: Mapping[str, Any]) -> Drawn:
    gpu = next((str(row[name]) for name in GPUS if row.get(name) not in (None, "")), WHOLE)
    return Drawn(_seconds(_first(row, TIMES)), gpu, float(_first(row, WATTS)))


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    found = next((row[name] for name in names if name in row), None)
    if found is None:
        raise ValueError(f"no column {names[0]}")
    return found


def _seconds(value: Any) -> float:
    try:
        return float(value)
    except ValueError:
        moment = datetime.fromisoformat(str(value).strip().replace("Z", "+00:00"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
