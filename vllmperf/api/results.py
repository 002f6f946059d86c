"""What results say beside each other and of themselves: compare, check, reconcile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

from vllmperf import temporary
from vllmperf.errors import UsageError

if TYPE_CHECKING:
    from vllmperf.comparison.comparison import Comparison, Comparisons
    from vllmperf.comparison.figures import Figures
    from vllmperf.comparison.reconcile import Reconciled
    from vllmperf.metrics.checked import CheckedRun
    from vllmperf.run import Run


@overload
def compare(first: Run | str | Path, second: Run | str | Path, /) -> Comparison: ...


@overload
def compare(first: Run | str | Path, /, *others: Run | str | Path) -> Comparison | Comparisons: ...


def compare(first: Run | str | Path, /, *others: Run | str | Path) -> Comparison | Comparisons:
    """The figures of runs side by side: the change of each against the first, and whether it is beyond chance.

    first, others: Runs, run files, or results of other tools (result JSON of vLLM, reports of guidellm, …). Intervals and
    what is beyond chance need run files on both sides. With more than one other: a Comparisons, which holds a Comparison each.
    Raises UsageError for a file that holds no run.

    >>> import vllmperf as vp
    >>> with vp.sim.Server(ttft_ms=5, itl_ms=1) as server:
    ...     few, many = (vp.bench(server, max_concurrency=n, num_prompts=8, output_len=4) for n in (1, 8))
    >>> vp.compare(few, many).to_dict()["figures"]["completed"]
    {'a': 8, 'b': 8, 'change': 0.0}
    """
    from vllmperf.comparison.comparison import compared
    from vllmperf.comparison.figures import short_names

    if not others:
        raise UsageError("compare needs two runs or more")
    sides = (first, *others)
    names = short_names([str(side if isinstance(side, str | Path) else side.path) for side in sides])
    return compared([_figures(side, name) for side, name in zip(sides, names, strict=True)])


def check(source: Run | str | Path, /) -> list[CheckedRun]:
    """Hold the figures of each run in a file against each other: rates, Little's law, TTFT, TPOT, ITL and E2EL, token counts.

    source: a Run, a run file, a result of another tool, or a text into which its table was pasted.
    Raises UsageError for a file that holds no run.

    >>> import vllmperf as vp
    >>> with vp.sim.Server(ttft_ms=5, itl_ms=1) as server:
    ...     run = vp.bench(server, max_concurrency=2, num_prompts=6, output_len=4)
    >>> [one.status for one in vp.check(run)[0].checks if one.name == "little"]
    ['ok']
    """
    from vllmperf.formats import runs
    from vllmperf.metrics.checked import CheckedRun, of_run

    found = runs.read_all(source) if isinstance(source, str | Path) else [source]
    return [
        CheckedRun(
            f"{one.path}:{line}" if (line := getattr(one, "line", None)) else str(one.path),
            str(one.summary["profile"]),
            one.summary["requests"]["completed"],
            of_run(
                getattr(one, "stated", None) or one.summary,
                getattr(one, "rounding", {}),
                getattr(one, "remarks", ()),
                getattr(one, "entries", None),
            ),
        )
        for one in found
    ]


def reconcile(first: Run | str | Path, second: Run | str | Path, /) -> Reconciled:
    """Why two results differ: what the other definition makes of the same requests, and what remains for load, tokens,
    connections and chance.

    first, second: as for compare. The definition's part is computed where one side is a run file and the other one follows the
    rule of guidellm or of vLLM's current client. Raises UsageError for a file that holds no run.

    >>> import vllmperf as vp
    >>> with vp.sim.Server(ttft_ms=5, itl_ms=1) as server:
    ...     few, many = (vp.bench(server, max_concurrency=2, num_prompts=n, output_len=4) for n in (6, 12))
    >>> [reason.words for reason in vp.reconcile(few, many).reasons if "completed" in reason.words]
    ['requests completed 6 → 12']
    """
    from vllmperf.comparison.figures import short_names
    from vllmperf.comparison.reconcile import reconcile as split

    paths = [str(side if isinstance(side, str | Path) else side.path) for side in (first, second)]
    a, b = (_figures(side, name) for side, name in zip((first, second), short_names(paths), strict=True))
    ours, other = ((first, a), b) if a.done is not None else ((second, b), a)
    there = _by_rule(ours[0], other.rule) if ours[1].done is not None and a.rule != b.rule else None
    return split(a, b, there)


def _by_rule(side: Run | str | Path, rule: str) -> Figures | None:
    """Our run by the rule of another tool: written as its file and read again. None for rules that need more than a run file."""
    from vllmperf.formats import runs

    name = next((name for start, name in RULES_OF_FILES.items() if rule.startswith(start)), None)
    if name is None:
        return None
    run = runs.read(side) if isinstance(side, str | Path) else side
    with temporary.new_folder("vllmperf-") as folder:
        path = Path(folder) / "run.json"
        runs.write(run.untrimmed, path, name)
        return replace(runs.read(path).figures(""), rule=rule)


RULES_OF_FILES = {"guidellm": "guidellm", "vLLM's own": "vllm", "vllm-2026": "vllm"}
"""By the beginning of a rule, the format that has figures by it."""


def _figures(side: Run | str | Path, name: str) -> Figures:
    from vllmperf.comparison.figures import figures_of_vllm
    from vllmperf.data_file import File
    from vllmperf.formats import runs
    from vllmperf.formats.runs import vllm

    if not isinstance(side, str | Path):
        return side.figures(name)
    file = File(Path(side))
    if vllm.recognise(file):
        run = vllm.run_of(file.path, file.data)
        return replace(
            figures_of_vllm(file.data, name), summary=run.summary, warnings=run.figures(name).warnings
        )
    return runs.read(Path(side)).figures(name)
