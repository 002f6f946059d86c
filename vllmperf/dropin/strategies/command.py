"""The command: for each strategy a server, a benchmark, the replicas' metrics, a row in each file."""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllmperf import temporary
from vllmperf.dropin.benchmark_serving.command import INTERRUPTED
from vllmperf.dropin.benchmark_serving.console import say
from vllmperf.dropin.benchmark_serving.data import note
from vllmperf.dropin.sglang.command import main as benchmark
from vllmperf.dropin.strategies import tables
from vllmperf.dropin.strategies.counted import DONE, Counted, Pages
from vllmperf.dropin.strategies.left import end_left, forget_server, note_server
from vllmperf.dropin.strategies.serve_config import ray_settings, serve_config
from vllmperf.dropin.strategies.settings import RAY, SIMULATOR, parse
from vllmperf.errors import VllmperfError
from vllmperf.formats.strategies_csv import CLIENT, TIMES
from vllmperf.scrape.names import RENAMED
from vllmperf.signals import terminable, uninterrupted
from vllmperf.sweeps.setups import EndedError, Server, Setup, SetupError, read_setup, wait_ready
from vllmperf.sweeps.setups.command import free_port
from vllmperf.sweeps.setups.ray_config import yaml_text
from vllmperf.sweeps.setups.ray_routers import router

FAILED = 1
LOGS = "logs"
COMMANDS = {
    SIMULATOR: "{python} -m vllmperf sim --host {host} --port {port} --model {model} --replicas {replicas} --router {router} "
    "--imbalanced-threshold {imbalanced_threshold} --match-rate-threshold {match_rate_threshold}",
}
NOWHERE = "none"
PASSED_ON = (
    *("dataset_name", "dataset_link", "tokenizer", "min_output_len", "max_output_len", "max_concurrency"),
    *("request_rate", "disable_ignore_eos", "disable_stream", "num_prompts", "seed"),
    *("max_conversations", "min_prompt_len", "max_prompt_len"),
    *("gen_num_prefixes", "gen_suffixes_per_prefix", "gen_prefix_len", "gen_suffix_len"),
)
"""Settings that benchmark.py has by the same names."""


def main(config: Mapping[str, Any], words: Sequence[str]) -> int:
    """Run all strategies and give the exit code: 1 when one failed. Raises UsageError before anything is started."""
    args = parse(config, words)
    for what in ("serve", "vllm"):
        _check_file(args, what)
    failed = []
    with terminable():
        if end_left(Path(args.output_dir) / LOGS):
            note("vllmperf: ended the server that an earlier call left")
        for strategy in args.scheduler_strategies_dict:
            say(f"\n{'=' * 80}\nStrategy {strategy}: {args.scheduler_strategies_dict[strategy]}\n{'=' * 80}")
            try:
                Strategy(args, strategy).run()
            except (VllmperfError, OSError) as error:
                note(f"vllmperf: strategy {strategy} failed: {error}")
                failed.append(strategy)
    if failed:
        note(
            f"vllmperf: {len(failed)} of {len(args.scheduler_strategies_dict)} strategies failed: {', '.join(failed)}"
        )
    return FAILED if failed else 0


def _check_file(args: argparse.Namespace, what: str) -> None:
    """A file with other columns is known before hours of measuring."""
    columns = tables.client_row(args, "", dict.fromkeys(CLIENT)) if what == "serve" else None
    columns = tables.server_row(args, "", Counted()) if columns is None else columns
    tables.check(tables.path_of(args, what), list(columns))


@dataclass(frozen=True, slots=True)
class Strategy:
    """One strategy, measured."""

    args: argparse.Namespace
    name: str

    def run(self) -> None:
        """Start, wait, measure, stop. Raises VllmperfError; the server is gone whatever happens."""
        logs = Path(self.args.output_dir) / LOGS
        setup = self._setup(logs)
        try:
            self._run(setup, logs)
        except EndedError as error:
            if setup.why_again is None:
                raise
            note(f"vllmperf: {error}; {setup.why_again}")
            self._run(setup, logs)

    def _run(self, setup: Setup, logs: Path) -> None:
        for stream in ("stdout", "stderr"):
            (logs / f"{self.name}_{stream}.log").unlink(missing_ok=True)
        with temporary.new_folder("vllmperf-") as folder, contextlib.ExitStack() as stack:
            with uninterrupted():
                server = setup.start(logs)
                note_server(logs, server)
                stack.callback(_stopped, server, logs)
            self._wait(setup, server)
            self._measure(setup, server, Path(folder))

    # ---- the server ----

    def _setup(self, logs: Path) -> Setup:
        url = self.args.metrics_url or "/metrics"
        setup = {
            "name": self.name,
            "metrics": [] if url == NOWHERE else url.split(","),
            "ready_timeout": self.args.ready_timeout,
            **(self._ray() if self.args.server_command == RAY else self._command(logs)),
        }
        return read_setup(setup)

    def _ray(self) -> dict[str, Any]:
        args = self.args
        ports = {"port": args.router_port, "metrics_port": args.metrics_port}
        own = {"ray_ip": args.ray_ip, "ray_arguments": args.ray_arguments or "", "data_path": args.data_path}
        return {**ray_settings(args, self.name), **ports, **own}

    def _command(self, logs: Path) -> dict[str, Any]:
        port, given = self.args.router_port or free_port(), self.args.server_command
        config = (logs / f"{self.name}_serve_config.yaml").resolve()
        if "{config}" in given:
            logs.mkdir(parents=True, exist_ok=True)
            config.write_text(yaml_text(serve_config(self.args, self.name, port)), encoding="utf-8")
        command = COMMANDS.get(given, given)
        for name, value in self._values(config, port).items():
            command = command.replace("{" + name + "}", value)
        return {"command": command, "base_url": f"http://{self.args.host}:{port}"}

    def _values(self, config: Path, port: int) -> dict[str, str]:
        """What stands in braces in a command, ready for a shell."""
        args = self.args
        values = {
            "config": config,
            "python": sys.executable,
            "host": args.host,
            "port": port,
            "metrics_port": self.args.metrics_port or free_port(),
            "ray_ip": self.args.ray_ip,
            "ray_port": free_port(),
            "model": args.model_name,
            "replicas": args.num_servers,
            "router": router(args.scheduler_strategies_dict[self.name]).sim,
            "imbalanced_threshold": args.imbalanced_threshold,
            "match_rate_threshold": args.match_rate_threshold,
        }
        return {name: shlex.quote(str(value)) for name, value in values.items()}

    # ---- what is measured ----

    def _wait(self, setup: Setup, server: Server) -> None:
        say(f"Waiting for the server at {server.base_url} (at most {setup.ready_timeout:g} s) ...")
        began_s = time.monotonic()
        task = setup.task(server.base_url, {"model": self.args.model_name})
        wait_ready(server, task, setup.ready_timeout)
        say(f"Ready after {time.monotonic() - began_s:.1f} s.\n")

    def _measure(self, setup: Setup, server: Server, folder: Path) -> None:
        if self.args.with_warmup:
            self._benchmark(server, folder / "warmup.jsonl")
        pages = Pages(setup.metrics(server.metrics_roots))
        has_counts = bool(pages.urls) and pages.settle(1)
        result = self._benchmark(server, folder / "result.jsonl")
        path = tables.path_of(self.args, "serve")
        tables.append(path, tables.client_row(self.args, self.name, result))
        say(f"\nAdded a row to {path}")
        if not pages.urls:
            return
        if not has_counts:
            raise SetupError(f"no vLLM metrics at {', '.join(pages.urls)}: give --metrics-url")
        self._take_counts(pages, result["completed"] + 1)

    def _benchmark(self, server: Server, file: Path) -> dict[str, Any]:
        """The line that benchmark.py writes. Raises VllmperfError."""
        words = ["--backend", "vllm", "--model", self.args.model_name, "--base-url", server.base_url]
        words += ["--output-file", str(file)]
        for name in PASSED_ON:
            value = getattr(self.args, name)
            words += [] if value is None else [f"--{name.replace('_', '-')}={value}"]
        if benchmark(words) == INTERRUPTED:
            raise KeyboardInterrupt
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8").splitlines()[0])
        if not found["completed"]:
            raise SetupError("every request failed")
        return found

    def _take_counts(self, pages: Pages, sent: int) -> None:
        """The row of what the replicas counted since the first look."""
        if not pages.settle(pages.done() + sent):
            raise SetupError(f"the metrics at {', '.join(pages.urls)} are gone")
        counted = pages.counted()
        path = tables.path_of(self.args, "vllm")
        tables.append(path, tables.server_row(self.args, self.name, counted))
        say(f"Added a row to {path}")
        for line in told(counted, sent):
            say(line)


def _stopped(server: Server, logs: Path) -> None:
    say("Stopping the server ...")
    server.stop()
    forget_server(logs)


# ---- what is said of the server's side ----


def told(counted: Counted, sent: int) -> list[str]:
    """Requests by replica, the share of prompt tokens that came from the cache, and what the row does not say."""
    by_replica = {one.name: one.counters.get(DONE, 0.0) for one in counted.replicas}
    lines = ["Requests by replica: " + ", ".join(f"{name} {n:.0f}" for name, n in sorted(by_replica.items()))]
    hits, queries = counted.total("prefix_cache_hits_total"), counted.total("prefix_cache_queries_total")
    if hits is not None and queries:
        lines.append(
            f"Prompt tokens from the prefix cache: {hits:.0f} of {queries:.0f} ({hits / queries:.1%})"
        )
    done = sum(by_replica.values())
    if done != sent:
        lines.append(f"The replicas counted {done:.0f} requests, the client {sent} with its test request")
    return [*lines, *_bounded(counted)] if counted.is_ray else lines


def _bounded(counted: Counted) -> list[str]:
    """Ray adds up the middles of buckets: a mean is known only to lie between their bounds."""
    found = {name: counted.mean_bounds(RENAMED.get(name, name)) for name in TIMES}
    known = [f"{name} {bounds[0]:.4g} to {bounds[1]:.4g}" for name, bounds in found.items() if bounds]
    return [
        "Ray's histograms have no sums, so that the row has no means; by the buckets they lie in:",
        *known,
    ]
