"""The command from words to exit code: benchmark [run], benchmark from-file, config."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllmperf.dropin.guidellm import data, later, running
from vllmperf.dropin.guidellm.arguments import parse
from vllmperf.dropin.guidellm.console import Console
from vllmperf.dropin.guidellm.counted import Counted, kept
from vllmperf.dropin.guidellm.options import Options
from vllmperf.dropin.guidellm.profiles import Profile, Strategy, profile
from vllmperf.dropin.guidellm.progress import MOST_FAILED, Box, Figures, Running
from vllmperf.dropin.guidellm.running import Counting, Limits, Outcome
from vllmperf.dropin.guidellm.settings import settings, variables
from vllmperf.dropin.guidellm.source import From, Item, Items, Source
from vllmperf.dropin.guidellm.target import Target, find
from vllmperf.errors import CheckError, TargetError, UsageError
from vllmperf.formats import guidellm_file
from vllmperf.formats.guidellm_report import benchmark, sampled
from vllmperf.loadgen.progress import Snapshot
from vllmperf.parser import Parser
from vllmperf.version import __version__

INTERRUPTED = 130
LONE = "backslashreplace"
"""What becomes of half a surrogate pair in a prompt: the escape that JSON has for it."""
USAGE = """\
examples:
  {prog} benchmark --target http://HOST:8000 --rate-type sweep --data prompt_tokens=256,output_tokens=128
  {prog} benchmark from-file benchmarks.json

usage: {prog} COMMAND …

Run the command lines of guidellm 0.2 and 0.3 with the engine of vllmperf.

  benchmark [run] --target URL --rate-type TYPE --data DATA …    its flags: {prog} benchmark --help
  benchmark from-file [FILE] [--output-path FILE]                print a report, write it in another format
  config                                                         print the GUIDELLM__… variables

Definitions and differences: docs/guidellm.md
"""
PROBE = "Test connection"
REFUSED = {
    "preprocess": "let --data prompt_tokens=…,output_tokens=… make prompts of a length, or give a .jsonl with prompt and "
    "output_tokens",
    "mock-server": "vllmperf sim is a server to try things on",
}
"""Commands of guidellm that are not here, and what to do."""


def main(words: Sequence[str], prog: str = "guidellm") -> int:
    """Run guidellm with these words. Raises VllmperfError for what is wrong, SystemExit(0) after help."""
    first, rest = (words[0] if words else "--help"), list(words[1:])
    if first in ("--help", "-h"):
        print(USAGE.format(prog=prog), end="")
        raise SystemExit(0)
    if first == "--version":
        print(f"guidellm version: 0.3.1 as done by vllmperf {__version__}")
        return 0
    if first in ("config", "env"):
        print("Settings: ")
        print("\n".join(settings(variables(os.environ, Path.cwd())).lines()))
        return 0
    if first in ("benchmark", "run"):
        return _benchmark(rest)
    if first == "export":
        return _from_file(rest)
    if first in REFUSED:
        raise UsageError(f"guidellm {first} is not here: {REFUSED[first]}")
    raise UsageError(f"guidellm {first} is not here; there are benchmark and config (see guidellm --help)")


def _benchmark(words: list[str]) -> int:
    if words[:1] == ["from-file"]:
        return _from_file(words[1:])
    environment = variables(os.environ, Path.cwd())
    return Benchmark(parse(words[1:] if words[:1] == ["run"] else words, environment)).run()


def _from_file(words: Sequence[str]) -> int:
    parser = Parser(
        prog="guidellm benchmark from-file", allow_abbrev=False, description="Print a saved report."
    )
    parser.add_argument(
        "path", nargs="?", default="benchmarks.json", help="report in JSON or YAML, or its folder"
    )
    parser.add_argument(
        "--output-path",
        nargs="?",
        const="benchmarks_reexported.json",
        help="write it there in another format too",
    )
    parser.add_argument("--output", action="append", default=[], help="as in 0.7: kind=csv,path=FILE")
    args: argparse.Namespace = parser.parse_args(words)
    paths = [*later.flags({"output": args.output}).get("output_paths", ())]
    places = [
        guidellm_file.place(path) for path in [*([args.output_path] if args.output_path else []), *paths]
    ]
    report = guidellm_file.load(args.path)
    console = Console()
    try:
        console.report(report["benchmarks"])
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{args.path} is no report of guidellm 0.2 or 0.3: {error!r} is missing in it"
        ) from None
    if places:
        console.line("\nSaving benchmarks report...")
    for path, kind in places:
        save(report, path, kind)
        console.line(f"Benchmarks report saved to {path}")
    return 0


def save(report: Mapping[str, Any], path: Path, kind: str) -> None:
    """Write a report. Raises CheckError when the file cannot be made: the run itself is over by then."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "csv":
            guidellm_file.write_csv(report, path)
        else:
            path.write_text(_rendered(report, kind), encoding="utf-8", errors=LONE)
    except OSError as error:
        raise CheckError(f"cannot write {path}: {error.strerror or error}") from None


def _rendered(report: Mapping[str, Any], kind: str) -> str:
    if kind == "html":
        from vllmperf.dropin.guidellm.html import page

        return page(report)
    return guidellm_file.to_yaml(report) if kind == "yaml" else guidellm_file.to_json(report)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything that is settled before the first request.

    is_endless: prompts come again until a limit is reached. described: the report's "request_loader".
    """

    target: Target
    source: Source
    is_endless: bool
    limits: Limits
    counting: Counting
    described: dict[str, Any]


class Benchmark:
    """One command under way."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._profile = profile(
            options.rate_type,
            options.rate,
            usual_sweep=options.settings.default_sweep_number,
            burst=options.guidellm_burst,
            seed=options.random_seed,
            max_concurrency=options.max_concurrency,
            swept=options.swept,
        )
        paths = (Path.cwd() / "benchmarks.json",) if options.output_paths is None else options.output_paths
        self._places = [guidellm_file.place(path) for path in paths]
        for path, _ in self._places:
            guidellm_file.check_writable(path)
        self._console = Console()
        self._run_id = str(uuid.uuid4())
        self._sent = 0
        self._interrupted = self._gave_up = False

    def run(self) -> int:
        """The exit code: 0, or 130 when interrupted. Raises CheckError when no request succeeded."""
        loaded = self._load()
        found = self._all(loaded)
        report = {"benchmarks": [sampled(one, self._options.output_sampling) for one in found]}
        try:  # whatever becomes of the one, the other is not lost
            for place in self._places:
                save(report, *place)
        finally:
            if not self._options.disable_console_outputs:
                self._console.report(found)
        if self._places:
            self._say("\nSaving benchmarks report...")
        for path, _ in self._places:
            self._say(f"Benchmarks report saved to {path}")
        self._say("\nBenchmarking interrupted." if self._interrupted else "\nBenchmarking complete.")
        return self._code(found)

    def _code(self, found: Sequence[Mapping[str, Any]]) -> int:
        if self._interrupted:
            return INTERRUPTED
        errors = [row["error"] for one in found for row in one["requests"]["errored"]]
        if self._gave_up:
            raise CheckError(f"given up after {MOST_FAILED} failed requests in a row, the last: {errors[-1]}")
        if not any(one["request_totals"]["successful"] for one in found):
            why = f"the first error: {errors[0]}" if errors else "--max-seconds is shorter than one request"
            raise CheckError(f"no request succeeded; {why}")
        return 0

    def _say(self, text: str) -> None:
        if not self._options.disable_progress:
            self._console.line(text)

    # ---- before the first request ----

    def _load(self) -> Loaded:
        options = self._options
        counting = _counting(options)
        tokenizer = data.tokenizer(options.processor)
        source = data.source(
            options, tokenizer
        )  # what is wrong with the data is said before the server is asked
        self._say("Creating backend...")
        target = find(options).renamed()
        if options.is_probed:
            _probe(target)
        self._say(
            f"Backend openai_http connected to {target.task.plan.target.base_url} for model {target.model}."
        )
        self._say("Creating request loader...")
        self._say(f"Created loader with {source.count} unique requests from {options.data}.\n\n")
        described = {
            "type_": "generative_request_loader",
            "data": options.data,
            "data_args": options.data_args,
            "processor": options.processor or target.model,
            "processor_args": options.processor_args,
        }
        is_endless = options.max_requests is not None or options.max_seconds is not None
        most = options.max_requests if is_endless else source.count
        limits = Limits(most, options.max_seconds, options.settings.max_concurrency)
        return Loaded(target, source, is_endless, limits, counting, described)

    # ---- the benchmarks ----

    def _all(self, loaded: Loaded) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        box = (
            None
            if self._options.disable_progress
            else Box(self._console, self._options.display_scheduler_stats)
        )
        with box or contextlib.nullcontext():
            if box is not None:
                box.begin(self._profile)
            for number, strategy in enumerate(_growing(self._profile)):
                found.append(self._one(loaded, number, strategy, box))
                if self._interrupted or self._gave_up:
                    break
            if box is not None:
                box.end()
        final = self._profile.to_dict()  # each entry tells of the whole profile, as it was in the end
        return [{**one, "args": {"profile": final, **one["args"]}} for one in found]

    def _one(self, loaded: Loaded, number: int, strategy: Strategy, box: Box | None) -> dict[str, Any]:
        began, running_figures = time.time(), Running()

        def show(snapshot: Snapshot) -> None:
            if box is not None:
                share = box.share(snapshot, loaded.limits.max_seconds)
                box.show(number, strategy, began, running_figures.figures(snapshot.elapsed_s), share)

        # a second benchmark goes on where the first ended: its prompts are in no prefix cache yet
        source = From(loaded.source, self._sent)
        target = loaded.target.renamed()
        outcome = running.run(
            target, source, strategy, loaded.limits, loaded.counting, show, running_figures.take
        )
        self._sent += len(outcome.requests) if loaded.is_endless else 0
        self._interrupted = outcome.interrupted
        self._gave_up = running_figures.failed_in_row >= MOST_FAILED
        found = self._entry(loaded, number, strategy, outcome, {"start_time": began, "end_time": time.time()})
        self._profile.measured(
            found["metrics"]["requests_per_second"]["successful"]["mean"],
            found["metrics"]["request_concurrency"]["successful"]["mean"],
        )
        if box is not None:
            box.show(number, strategy, found["start_time"], Figures.of(found), 1.0, ended=True)
        return found

    def _entry(
        self, loaded: Loaded, number: int, strategy: Strategy, outcome: Outcome, times: Mapping[str, float]
    ) -> dict[str, Any]:
        counted = Counted.of(self._options, loaded.limits)
        requests = kept(outcome.requests, counted, outcome.start_time)
        if not requests:
            raise CheckError(
                "no request is left that counts: lower --warmup-percent and --cooldown-percent, or run longer"
            )
        head = {
            "type_": "generative_benchmark",
            "id_": str(uuid.uuid4()),
            "run_id": self._run_id,
            "args": {
                "strategy_index": number,
                "strategy": strategy.to_dict(outcome.start_time),
                **counted.to_dict(),
            },
            "worker": loaded.target.description(),
            "request_loader": loaded.described,
            "extras": dict(self._options.output_extras or {}),
        }
        return benchmark(head, requests, outcome.requests, times)


def _growing(found: Profile) -> Iterator[Strategy]:
    """The strategies, those too that a sweep adds on its way."""
    number = 0
    while number < len(found.strategies):
        yield found.strategies[number]
        number += 1


def _counting(options: Options) -> Counting:
    found = options.settings
    sources = (found.preferred_prompt_tokens_source, found.preferred_output_tokens_source)
    if "local" in sources:
        raise UsageError("GUIDELLM__PREFERRED_…_TOKENS_SOURCE=local is not here: take response or request")
    return Counting(*sources)


def _probe(target: Target) -> None:
    """One token before the run, as guidellm asks it. TargetError when it does not come."""
    item = Item.of_text(PROBE, None, 1)
    once = running.run(
        target, Items([item]), Strategy(type="synchronous"), Limits(1, None, 1), Counting(), None, None
    )
    if once.interrupted:
        raise KeyboardInterrupt
    bad = next((request for request in once.requests if request.status != "successful"), None)
    if bad is not None or not once.requests:
        why = bad.error if bad else "nothing was sent"
        raise TargetError(f"{target.task.plan.url} does not answer a request of one token: {why}")
