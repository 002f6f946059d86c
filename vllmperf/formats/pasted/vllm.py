"""The table that vLLM's benchmark clients print, and the settings that stand above it: Namespace(…), or the JSON of a request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from vllmperf.formats.pasted.table import Printed, Table, printed

TITLE, RULE = "Serving Benchmark Result", "=========="
ROW = re.compile(r"^\s*([^:]+?)\s*:\s+([-+\d.,]+|nan|-?inf)\s*$")
FIGURES = {
    "successful requests": "requests.completed",
    "failed requests": "requests.not_completed",
    "benchmark duration (s)": "duration_s",
    "total input tokens": "tokens.prompt",
    "total generated tokens": "tokens.output",
    "request throughput (req/s)": "throughput.requests_per_s",
    "output token throughput (tok/s)": "throughput.output_tokens_per_s",
    "total token throughput (tok/s)": "throughput.total_tokens_per_s",
    "request goodput (req/s)": "goodput.requests_per_s",
    "peak output token throughput (tok/s)": "throughput.peak_output_tokens_per_s",
    "concurrency": "in_flight.mean",
    "peak concurrent requests": "in_flight.max",
}
COUNTS = (
    *("requests.completed", "requests.not_completed", "tokens.prompt", "tokens.output", "in_flight.max"),
    "throughput.peak_output_tokens_per_s",
)
METRIC = re.compile(r"(mean|median|std|p[\d.]+) (ttft|tpot|itl|e2el|e2e latency) \(ms\)")
STATISTICS = {"median": "p50"}
METRICS = {"e2e latency": "e2el"}

LOOK_BACK = 60
"""Lines above a table in which its settings may stand; not beyond the table before."""
SETTINGS = {
    "max_concurrency": "max_concurrency",
    "num_prompts": "num_prompts",
    "request_rate": "request_rate",
    "model": "model",
    "dataset_name": "dataset_name",
    "random_input_len": "input_len",
    "random_output_len": "output_len",
    "sonnet_input_len": "input_len",
    "sonnet_output_len": "output_len",
}
"""As they are named there, and ours."""
SETTING = re.compile(r"""["']?\b(\w+)["']?\s*[=:]\s*("[^"]*"|'[^']*'|[\w.]+)""")


def find(lines: Sequence[str]) -> Iterator[Table]:
    before = 0
    for start, line in enumerate(lines):
        if TITLE not in line or RULE not in line:
            continue
        rows = list(_rows(lines[start + 1 :]))
        yield Table(start + 1, "vllm", _figures(rows), _metrics(rows), settings(lines[before:start]))
        before = start + len(rows)


def _rows(lines: Sequence[str]) -> Iterator[tuple[str, Printed]]:
    for line in lines:
        if line.strip().startswith(RULE):
            return
        if (match := ROW.match(line)) and (number := printed(match[2]) or _no_number(match[2])):
            yield match[1].lower(), number


def _no_number(text: str) -> Printed | None:
    """What Python prints of a float that is none."""
    return Printed(float(text), 0.0) if text.endswith(("nan", "inf")) else None


def _figures(rows: Sequence[tuple[str, Printed]]) -> dict[str, Printed]:
    found = {FIGURES[name]: number for name, number in rows if name in FIGURES}
    return {name: Printed(one.value, 0.0) if name in COUNTS else one for name, one in found.items()}


def _metrics(rows: Sequence[tuple[str, Printed]]) -> dict[str, dict[str, Printed]]:
    found: dict[str, dict[str, Printed]] = {}
    for name, number in rows:
        if match := METRIC.fullmatch(name):
            metric = METRICS.get(match[2], match[2])
            found.setdefault(f"{metric}_ms", {})[STATISTICS.get(match[1], match[1])] = number
    return found


def settings(lines: Sequence[str]) -> dict[str, object]:
    """What the nearest lines above say, the nearest last. Lengths are those of the data set that was used."""
    pairs = {name: value.strip("\"'") for line in lines[-LOOK_BACK:] for name, value in SETTING.findall(line)}
    dataset = pairs.get("dataset_name", "")
    found: dict[str, object] = {}
    for name, value in pairs.items():
        ours = SETTINGS.get(name)
        is_other = name.endswith("_len") and not name.startswith(f"{dataset}_")
        if ours is None or value in ("None", "") or is_other:
            continue
        number = printed(value)
        found[ours] = (
            value if number is None else int(number.value) if number.value % 1 == 0 else number.value
        )
    return found
