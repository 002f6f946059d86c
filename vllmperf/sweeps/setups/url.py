"""A server that runs already and goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllmperf.plan import Target, checks
from vllmperf.plan.checks import setting
from vllmperf.plan.part import Part
from vllmperf.sweeps.setups.values import filled


@dataclass(frozen=True, slots=True, kw_only=True)
class Url(Part):
    """url: its base URL, like http://127.0.0.1:8000."""

    url: str = setting("", checks.text)

    def check(self) -> None:
        Target(base_url=self.url)

    def with_values(self, values: Mapping[str, Any]) -> Url:
        """With the values of axes for their names in braces."""
        found: Url = filled(self, values)
        return found

    def start(self, _name: str, _logs: Path) -> UrlServer:
        return UrlServer(self.url)


class UrlServer:
    """Nothing is started and nothing is stopped."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.metrics_roots: Sequence[str] = [base_url]

    def unready(self) -> None:
        pass

    def facts(self) -> dict[str, object]:
        return {}

    def ended(self) -> str | None:
        return None

    def stop(self) -> None:
        pass
