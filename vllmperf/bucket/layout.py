"""How result files are filed below a destination: flat, or as llm-d-benchmark's result store files them.

llm-d: SCENARIO/MODEL/HARDWARE/RUN/, the path below a group that `llmdbenchmark results push` of llm-d-benchmark writes and its
`results ls` takes apart (llmdbenchmark/result_store/commands/push.py at 3e90891, utils.py at ed1755d, both of 2026). As there,
a model's slash makes two folders, hardware is MODEL-xCOUNT such as H100-x8, and what nobody knows is called missing. That tool's
group is the last part of the destination: s3://BUCKET/default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllmperf.errors import UsageError

FLAT, LLM_D = "flat", "llm-d"
LAYOUTS = (FLAT, LLM_D)
MISSING = "missing"
UNFIT = re.compile(r"[^\w.+=@-]+")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a run is filed by."""

    scenario: str | None = None
    model: str | None = None
    hardware: str | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Facts:
        """Of a run's settings by name. scenario and hardware are those of its metadata; else the scenario is the label, or the
        data set."""
        metadata = settings.get("metadata") or {}
        if not isinstance(metadata, Mapping):  # KEY=VALUE, as vLLM's client takes it
            metadata = dict(str(one).partition("=")[::2] for one in metadata)
        scenario = metadata.get("scenario") or settings.get("label") or settings.get("dataset_name")
        return cls(scenario, settings.get("model"), metadata.get("hardware"))


def folder(layout: str, facts: Facts, run: str) -> str:
    """Where the files of a run go below the destination; empty for the destination itself. Raises UsageError."""
    if layout == FLAT:
        return ""
    if layout != LLM_D:
        raise UsageError(f"there is no layout {layout!r}: choose from {', '.join(LAYOUTS)}")
    model = "/".join(_part(part) for part in (facts.model or MISSING).strip("/").split("/") if part)
    return "/".join([_part(facts.scenario), model or MISSING, _part(facts.hardware), _part(run)])


def named(name: Path, folder: str, run: str) -> str:
    """The name of a file below the destination. name: relative to the folder of its run; in the flat layout what lies in folders
    of that one gets the run's name in front."""
    if folder:
        return f"{folder}/{name.as_posix()}"
    return name.as_posix() if len(name.parts) == 1 else f"{run}/{name.as_posix()}"


def _part(text: str | None) -> str:
    return UNFIT.sub("_", text or "").strip("._") or MISSING
