"""--both and --record: the same run in a run file of ours, and its figures beside those of vLLM's rule."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import vllmperf._engine as _engine
from vllmperf.comparison.comparison import Comparison
from vllmperf.comparison.figures import Figures, figures_of_summary, figures_of_vllm
from vllmperf.dropin.benchmark_serving.profiles import Profile
from vllmperf.errors import UsageError
from vllmperf.loadgen.environment import environment
from vllmperf.loadgen.task import Task
from vllmperf.metrics.summary import summarize
from vllmperf.record.reader import Recording, read
from vllmperf.record.writer import RunWriter
from vllmperf.report import compare
from vllmperf.report.table import INDENT
from vllmperf.run import Folder


@dataclass(frozen=True, slots=True)
class Record:
    """Where a run is written; without a writer it is not."""

    writer: RunWriter | None = None
    path: Path | None = None

    def beside(
        self, result: Mapping[str, Any], lens: Sequence[int] | None, profile: Profile
    ) -> Iterator[str]:
        """Lines with the figures of the version's rule and of ours. The run must be over.

        lens: output tokens by the tokenizer, by number of the request; ours takes them where the server said
        nothing and chunks had to be counted.
        """
        if self.path is None:
            return
        recording = read(self.path)
        if lens is not None:
            recording = counted(recording, lens)
        ours = figures_of_summary(summarize(recording, trim=False), "vllmperf")
        theirs = Figures(profile.name, profile.name, figures_of_vllm(result, "").values)
        yield from (line.removeprefix(INDENT) for line in compare.text(Comparison(theirs, ours)).splitlines())


def counted(recording: Recording, lens: Sequence[int]) -> Recording:
    """The recording with these output tokens, by number of the request, where its chunks had been counted."""
    requests = recording.requests.copy()
    known = np.zeros(max(int(requests["index"].max(initial=-1)) + 1, len(lens)), dtype=np.int64)
    known[: len(lens)] = lens
    tokens = known[requests["index"]]
    rows = (requests["tokens_source"] == _engine.TOKENS_SOURCES.index("chunks")) & (tokens > 0)
    requests["output_tokens"][rows] = tokens[rows]
    requests["tokens_source"][rows] = _engine.TOKENS_SOURCES.index("tokenizer")
    return replace(recording, requests=requests)


@contextlib.contextmanager
def recorded(args: argparse.Namespace, task: Task, backend: str, n: int) -> Iterator[Record]:
    """A run file while the block runs: that of --record, a temporary one for --both, else none."""
    if not (args.both or args.record):
        yield Record()
        return
    folder = Folder()
    path = Path(args.record) if args.record else Path(str(folder)) / "run.vllmperf"
    if path.exists():
        raise UsageError(f"--record {path} exists already: choose another name or remove it")
    facts = {
        **task.facts(),
        "backend": backend,
        "num_prompts": n,
        "dataset_name": args.dataset_name,
        "input_len": _length(args, "input"),
        "output_len": _length(args, "output"),
    }
    with RunWriter(
        path, task.plan.to_dict(), environment(), secrets=task.credentials.secrets, facts=facts
    ) as writer:
        yield Record(writer, path)


def _length(args: argparse.Namespace, which: str) -> int | None:
    """The length that was asked for; None where the data set brings its own."""
    return getattr(args, f"random_{which}_len") if args.dataset_name == "random" else None
