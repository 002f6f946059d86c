"""Files of guidellm 0.3 reports: JSON and YAML both ways, CSV with one row a benchmark."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from vllmperf import text_file
from vllmperf.errors import UsageError

Report = Mapping[str, Any]
KINDS = {".json": "json", ".yaml": "yaml", ".yml": "yaml", ".csv": "csv", ".html": "html"}
"""What a file's suffix asks for."""
CSV_STATUSES = ("successful", "errored", "incomplete", "total")
CSV_PERCENTILES = ("p001", "p01", "p05", "p10", "p25", "p75", "p90", "p95", "p99")


def place(given: str | Path) -> tuple[Path, str]:
    """The file and its kind; benchmarks.json in a folder. UsageError for a suffix that says nothing."""
    path = Path(given)
    if path.is_dir():
        path = path / "benchmarks.json"
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"--output-path {given}: end it in .json, .yaml, .csv or .html, or give a folder")
    return path, kind


def check_writable(path: Path) -> None:
    """UsageError when the file cannot be written: better told before a run than after it. Nothing is left behind."""
    above = next(folder for folder in path.absolute().parents if folder.exists())
    try:
        if path.exists():
            path.open("ab").close()
        else:
            tempfile.TemporaryFile(dir=above).close()
    except OSError as error:
        raise UsageError(
            f"--output-path {path} cannot be written ({error.strerror or error}): give another place"
        ) from None


def load(given: str | Path) -> dict[str, Any]:
    """A report from JSON or YAML. UsageError when it is none."""
    path = Path(given) / "benchmarks.json" if Path(given).is_dir() else Path(given)
    kind = KINDS.get(path.suffix.lower())
    if kind not in ("json", "yaml"):
        raise UsageError(f"{path}: a report is read from a file that ends in .json or .yaml")
    try:
        text = text_file.read(path)
        found = json.loads(text) if kind == "json" else _yaml_load(text)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if (
        not isinstance(found, dict)
        or not isinstance(found.get("benchmarks"), list)
        or not found["benchmarks"]
    ):
        raise UsageError(f'{path} is no report of guidellm 0.2 or 0.3: it has no list "benchmarks"')
    return found


def to_json(report: Report) -> str:
    return json.dumps(report, ensure_ascii=False, indent=4)


def to_yaml(report: Report) -> str:
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    plain = to_json(report).encode("utf-8", "replace")  # YAML has no form for half a surrogate pair
    return str(yaml.dump(json.loads(plain), Dumper=dumper))


def _yaml_load(text: str) -> Any:
    import yaml

    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def write_csv(report: Report, path: Path) -> None:
    """One row a benchmark; lists of percentiles are one cell each."""
    rows = [_csv_row(found) for found in report["benchmarks"]]
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow([name for name, _ in rows[0]])
        writer.writerows([value for _, value in row] for row in rows)


def _csv_row(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    row: list[tuple[str, Any]] = [
        ("Type", found["type_"]),
        ("Run Id", found["run_id"]),
        ("Id", found["id_"]),
        ("Name", strategy_name(found["args"]["strategy"])),
        ("Start Time", _local(found["start_time"])),
        ("End Time", _local(found["end_time"])),
        ("Duration", found["duration"]),
    ]
    for status in CSV_STATUSES:
        row.append((f"{status.capitalize()} Requests", found["request_totals"][status]))
        for metric, blocks in found["metrics"].items():
            row += _csv_cells(
                f"{status.capitalize()} {metric.replace('_', ' ').capitalize()}", blocks[status]
            )
    described = (
        ("Args", "args"),
        ("Worker", "worker"),
        ("Request Loader", "request_loader"),
        ("Extras", "extras"),
    )
    return row + [(title, json.dumps(found[name])) for title, name in described]


def _csv_cells(title: str, block: Mapping[str, Any]) -> list[tuple[str, Any]]:
    middle = [block["percentiles"][name] for name in CSV_PERCENTILES]
    return [
        (f"{title} mean", block["mean"]),
        (f"{title} median", block["median"]),
        (f"{title} std dev", block["std_dev"]),
        (f"{title} [min, 0.1, 1, 5, 10, 25, 75, 90, 95, 99, max]", [block["min"], *middle, block["max"]]),
    ]


def _local(time_s: float) -> str:
    return datetime.fromtimestamp(time_s).strftime("%Y-%m-%d %H:%M:%S")


def strategy_name(strategy: Mapping[str, Any]) -> str:
    """As it stands in tables: throughput, concurrent@4, constant@2.50."""
    kind = str(strategy["type_"])
    if kind == "concurrent":
        return f"{kind}@{strategy['streams']}"
    return f"{kind}@{strategy['rate']:.2f}" if kind in ("constant", "poisson") else kind


def placeholder_name(kind: str) -> str:
    """The name of a strategy that has not begun."""
    return kind + {"concurrent": "@##", "constant": "@#.##", "poisson": "@#.##"}.get(kind, "")
