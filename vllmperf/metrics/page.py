"""docs/metrics.md, printed from the tables of definitions.py: `python -m vllmperf.metrics.page > docs/metrics.md`."""

from collections.abc import Iterable, Iterator

from vllmperf.metrics.definitions import FIGURES, METRICS
from vllmperf.metrics.entry import Figure, Metric

HEAD = """# Metrics

Every number that vllmperf reports of a run, with its formula. `vllmperf/metrics/definitions.py` is the one place that
defines them, and prints this page.

Instants of a request: *scheduled* (when the plan wants it sent), *sent* (handed to the transport), *first* and *last token
chunk* (received by the kernel), *end*. [Time](time.md) says which clock; [token chunks](token_chunks.md) which events count.

The *time that counts* is the run without its warm-up and its drain ([how they are found](warm_up.md)): latencies are those of
requests that were sent within it, and throughput is the work done within it. A request that lies partly in it counts by the part
of the time from its first to its last token. With `--no-trim` everything counts.

A profile in the last column has a number of the same name by a rule of its own ([profiles](profiles.md),
[guidellm](guidellm.md), [llm_bench](llm_bench.md)); numbers of two profiles do not belong in one table.
"""
TIMES = """
## Times of requests

In milliseconds, over completed requests; `n`, mean, standard deviation (of the population), percentiles (linear
interpolation), extremes and 95 % [intervals](intervals.md) stand in `summary["metrics"]` (`ci95`; where there is none,
`ci95_needs` says how many requests would do) and in `run.ttft` and the like. Those with *yes* under *goodput* have one value a
request: they can be objectives of `--goodput`, and each is a column of `--csv`, `run.requests` and `run.frame()`.

| key | metric | formula | source | needs | goodput | also in |
|---|---|---|---|---|---|---|
"""
NUMBERS = """
## Numbers of a run

At their path in the summary (`--json`, `run.summary`); null where they were not measured.

| path | number | unit | formula | needs | in vLLM's result file | also in |
|---|---|---|---|---|---|---|
"""


def text() -> str:
    """The whole page."""
    return (
        HEAD + TIMES + "".join(_rows(map(_time, METRICS))) + NUMBERS + "".join(_rows(map(_number, FIGURES)))
    )


def _time(metric: Metric) -> Iterable[str]:
    is_objective = "yes" if metric.of_request else "no"
    name = f"{metric.label} ({metric.short})"
    also = ", ".join(metric.profiles)
    return f"`{metric.key}`", name, metric.formula, metric.source, metric.needs, is_objective, also


def _number(figure: Figure) -> Iterable[str]:
    vllm = f"`{figure.vllm}`" if figure.vllm else ""
    also = ", ".join(figure.profiles)
    return f"`{figure.name}`", figure.label, figure.unit, figure.formula, figure.needs, vllm, also


def _rows(rows: Iterable[Iterable[str]]) -> Iterator[str]:
    for cells in rows:
        yield "| " + " | ".join(cells) + " |\n"


if __name__ == "__main__":
    print(text(), end="")
