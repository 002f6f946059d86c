"""Alternating runs of the three clients at several loads, and a table of medians with the least and the most."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from clients import LOADS, USUAL, Bare, Client, Load, Ours, Seen, VllmRs, fetch_vllm_rs, measure
from simulated import Array, client_core, server_core

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vllmperf-bench"

Figures = dict[str, list[float]]
"""Each figure by its name, one value a run."""


def figures(seen: Seen) -> dict[str, float]:
    """Everything that accuracy and engine show of one run."""
    reported, truth, use = seen.reported, seen.truth, seen.use
    us = 1e6 / truth.events
    return {
        "TTFT mean error": reported.ttft_mean_ms - float(truth.ttft_ms.mean()),
        "TTFT p99 error": reported.ttft_p99_ms - _p99(truth.ttft_ms),
        "ITL p99 error": reported.itl_p99_ms - _p99(truth.itl_ms),
        "in one read": reported.share * 100,
        "in flight": truth.in_flight,
        "CPU": use.cpu_s * us,
        "before": use.before_s * us,
        "run": use.run_s * us,
        "after": use.after_s * us,
        "memory": use.peak_mb,
        "whole": float(seen.is_whole),
    }


def _p99(values: Array) -> float:
    return float(np.percentile(values, 99))


def arguments(text: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", default=USUAL, help=f"of {','.join(LOADS)} (default {USUAL})")
    parser.add_argument("--runs", type=int, default=3, help="runs of each client at each load (default 3)")
    parser.add_argument("--vllm-rs", type=Path, help=f"the binary; else it is downloaded to {CACHE}")
    parser.add_argument("--without-vllm-rs", action="store_true", help="only the bare reader and ours")
    parser.add_argument("--save", type=Path, help="write all figures to this JSON file")
    parser.add_argument("--read", type=Path, help="show the figures of a file that --save wrote, run nothing")
    args = parser.parse_args()
    if unknown := [name for name in args.loads.split(",") if name not in LOADS]:
        parser.error(f"no load is called {unknown[0]}: take some of {','.join(LOADS)}")
    if args.vllm_rs and not os.access(args.vllm_rs, os.X_OK):
        parser.error(f"--vllm-rs {args.vllm_rs} is no program")
    return args


def clients(args: argparse.Namespace, folder: Path) -> list[Client]:
    binary = args.vllm_rs
    if binary is None and not args.without_vllm_rs:
        binary = fetch_vllm_rs(CACHE, lambda line: print(line, file=sys.stderr))
    rival: list[Client] = [VllmRs(folder, binary.absolute())] if binary else []
    return [Bare(folder), *rival, Ours()]


def compare(load: Load, among: list[Client], runs: int, folder: Path) -> dict[str, Figures]:
    """The figures of each client. The runs alternate, so that what disturbs the machine disturbs them all."""
    found: dict[str, Figures] = {client.name: {} for client in among}
    for _ in range(runs):
        for client in among:
            here = folder / "run"
            for name, value in figures(measure(client, load, here)).items():
                found[client.name].setdefault(name, []).append(value)
            shutil.rmtree(here)
    return found


def show(text: str | None, columns: Sequence[str], extra: Callable[[dict[str, Figures]], str]) -> None:
    """Run it all (or read it from a file) and print a table a load with these figures; extra: a line below it."""
    args = arguments(text)
    if args.read:
        for name, found in json.loads(args.read.read_text()).items():
            print_table(name, found, columns, extra)
        return
    everything = {}
    print(f"client on core {client_core()}, server on core {server_core()}; "
          f"median of {args.runs} runs (least to most); load average {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        among = clients(args, Path(name))
        for load in (LOADS[key] for key in args.loads.split(",")):
            everything[load.name] = compare(load, among, args.runs, Path(name))
            print_table(load.name, everything[load.name], columns, extra)
            if args.save:
                args.save.write_text(json.dumps(everything))


def print_table(
    name: str,
    found: dict[str, Figures],
    columns: Sequence[str],
    extra: Callable[[dict[str, Figures]], str],
) -> None:
    print(f"\n{name:<34}" + "".join(f"{title:>23}" for title in columns))
    for client, values in found.items():
        cells = "".join(f"{cell(values[title]):>23}" for title in columns)
        print(f"  {client:<32}{cells}{'' if all(values['whole']) else '  not all events came'}")
    if line := extra(found):
        print(f"  {line}")
    sys.stdout.flush()


def cell(values: list[float]) -> str:
    """median (least to most)"""
    return f"{short(statistics.median(values))} ({short(min(values))} to {short(max(values))})"


def short(value: float) -> str:
    """Three digits are enough."""
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:.{digits}f}"
