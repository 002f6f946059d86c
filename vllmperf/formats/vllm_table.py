"""The table that vLLM's benchmark clients print, to the character: 50 wide, names 40, values 10."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

WIDTH = 50
SECTIONS = {
    "ttft": ("TTFT", "Time to First Token"),
    "tpot": ("TPOT", "Time per Output Token (excl. 1st token)"),
    "itl": ("ITL", "Inter-token Latency"),
    "e2el": ("E2EL", "End-to-end Latency"),
    "client_queue_time": ("Client Queue Time", "Client-side Queueing"),
    "e2el_including_client_queue": ("E2EL incl. Client Queue", "Queue-inclusive End-to-end Latency"),
}
"""Metric → its name in a row, and the title of its section."""


class Statistics(Protocol):
    """Of one metric, in ms."""

    @property
    def mean(self) -> float: ...
    @property
    def median(self) -> float: ...
    @property
    def percentiles(self) -> Sequence[tuple[float, float]]: ...


Row = tuple[str, int | float | str | None]


@dataclass(frozen=True, slots=True)
class Section:
    """A title, and rows under it. A row without a value is a line of its own."""

    title: str
    rows: Sequence[Row]


def lines(rows: Sequence[Row], sections: Sequence[Section]) -> Iterator[str]:
    """All lines of the table."""
    yield f"{' Serving Benchmark Result ':=^{WIDTH}}"
    for name, value in rows:
        yield row(name, value)
    for section in sections:
        yield f"{section.title:-^{WIDTH}}"
        for name, value in section.rows:
            yield row(name, value)
    yield "=" * WIDTH


def row(name: str, value: int | float | str | None) -> str:
    """A line: two digits behind the point for a float."""
    if value is None:
        return name
    return f"{name:<40} {value:<10.2f}" if isinstance(value, float) else f"{name:<40} {value:<10}"


def metric_section(metric: str, found: Statistics) -> Section:
    """Mean, median and percentiles of a metric."""
    name, title = SECTIONS[metric]
    rows: list[Row] = [(f"Mean {name} (ms):", found.mean), (f"Median {name} (ms):", found.median)]
    rows += [(f"P{percentile_word(q)} {name} (ms):", value) for q, value in found.percentiles]
    return Section(title, rows)


def percentile_word(q: float) -> str:
    """99 for 99.0, 99.9 for 99.9."""
    return str(int(q)) if int(q) == q else str(q)


def speculation_section(found: Mapping[str, Any]) -> Section:
    """What speculative decoding did (0.33)."""
    rows: list[Row] = [
        ("Acceptance rate (%):", float(found["acceptance_rate"])),
        ("Acceptance length:", float(found["acceptance_length"])),
        ("Drafts:", int(found["num_drafts"])),
        ("Draft tokens:", int(found["draft_tokens"])),
        ("Accepted tokens:", int(found["accepted_tokens"])),
    ]
    places = found["per_position_acceptance_rates"]
    if places:
        rows.append(("Per-position acceptance (%):", None))
        rows += [(f"  Position {place}:", rate * 100.0) for place, rate in enumerate(places)]
    return Section("Speculative Decoding", rows)


def diffusion_section(found: Mapping[str, Any]) -> Section:
    """What a diffusion model did (0.33)."""
    return Section(
        "Diffusion Decoding",
        [
            ("Committed throughput (tok/s):", float(found["committed_throughput"])),
            ("Denoising steps per canvas:", float(found["steps_per_canvas"])),
            ("Committed per denoising step:", float(found["committed_per_step"])),
            ("Committed tokens:", int(found["committed_tokens"])),
            ("Denoising steps:", int(found["denoising_steps"])),
            ("Canvas positions evaluated:", int(found["canvas_positions"])),
        ],
    )


def probe_section(found: Mapping[str, Any]) -> Section:
    """How the probes fared (0.33)."""
    return Section(
        "Probe Requests",
        [
            ("Probe requests completed:", int(found["probe_completed"])),
            ("Probe requests failed:", int(found["probe_failed"])),
            ("Median probe E2EL (ms):", float(found["probe_median_e2el_ms"])),
            ("P99 probe E2EL (ms):", float(found["probe_p99_e2el_ms"])),
            ("Max probe E2EL (ms):", float(found["probe_max_e2el_ms"])),
        ],
    )
