"""Prometheus' text format, https://prometheus.io/docs/instrumenting/exposition_formats/."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Sample(NamedTuple):
    """One line of the page."""

    name: str
    labels: dict[str, str]
    value: float


def samples(text: str) -> Iterator[Sample]:
    """All samples of a page, in its order. Raises ValueError when it is no such text."""
    from prometheus_client.parser import text_string_to_metric_families

    for family in text_string_to_metric_families(text):
        for one in family.samples:
            yield Sample(one.name, dict(one.labels), float(one.value))
