"""The two CSV files: the guide's columns in its order, one row for each strategy."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vllmperf.dropin.strategies.counted import Counted
from vllmperf.errors import UsageError
from vllmperf.formats.strategies_csv import CLIENT, COUNTERS, SHARED, TIMES
from vllmperf.scrape.names import RENAMED

OF_DATA = {
    "generated-shared-prefix": {
        "num_prefixes": "gen_num_prefixes",
        "suffixes_per_prefix": "gen_suffixes_per_prefix",
        "prefix_len": "gen_prefix_len",
        "suffix_len": "gen_suffix_len",
    }
}
"""Column → setting, of data sets that are not cut from conversations."""
OF_CONVERSATIONS = {"max_conversations": "max_conversations", "num_prompts": "num_prompts"}
CLIENT_DIGITS, SERVER_DIGITS = 4, 7


def client_row(args: argparse.Namespace, strategy: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, then what the client measured."""
    return {**_settings(args, strategy), **{name: _rounded(result[name], CLIENT_DIGITS) for name in CLIENT}}


def server_row(args: argparse.Namespace, strategy: str, counted: Counted) -> dict[str, Any]:
    """Settings, then what all replicas counted in the window: counters summed, times as means over all that they measured,
    empty where there is none."""
    totals = {name: counted.total(name) for name in COUNTERS}
    means = {name: _rounded(counted.mean(RENAMED.get(name, name)), SERVER_DIGITS) for name in TIMES}
    return {**_settings(args, strategy), **totals, **means}


def _settings(args: argparse.Namespace, strategy: str) -> dict[str, Any]:
    of_data = OF_DATA.get(args.dataset_name, OF_CONVERSATIONS)
    given = {**vars(args), "scheduler_strategy": strategy}
    rows = {**{name: given[name] for name in SHARED}, **{name: given[key] for name, key in of_data.items()}}
    rate = rows["request_rate"]
    return {**rows, "request_rate": int(rate) if rate == rate // 1 and abs(rate) < 1e9 else rate}


def _rounded(value: float | None, digits: int) -> float | None:
    return round(value, digits) if isinstance(value, float) else value


# ---- the files ----


def path_of(args: argparse.Namespace, what: str) -> Path:
    """what: "serve" or "vllm"."""
    return Path(args.output_dir) / f"{what}_{args.dataset_name}_sweep_results.csv"


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Add a row; the header too, where there is none. Raises UsageError when the file has other columns."""
    check(path, list(row))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if file.tell() == 0:
                writer.writerow(row)
            writer.writerow(["" if value is None else value for value in row.values()])
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None


def check(path: Path, columns: list[str]) -> None:
    """Raise UsageError when the file is there with other columns."""
    if not path.exists() or not path.stat().st_size:
        return
    with path.open(encoding="utf-8", newline="") as file:
        if next(csv.reader(file), None) != columns:
            raise UsageError(f"{path} has other columns: move it away, or give another --output-dir")
