"""Runs of a values file: its benchmarkSpecs are queued when the service starts, in their order."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllmperf import text_file
from vllmperf.errors import UsageError, VllmperfError
from vllmperf.service.jobs import INTERRUPTED, SPECS
from vllmperf.service.queue import Queue, digest_of
from vllmperf.service.request import Request, request_of, start_load

MOST_TRIES = 3
PLACES = ("POD_IP", "POD_NAME", "NODE_NAME")
"""Variables of the environment that a spec may name, as Kubernetes does: $(POD_IP)."""


@dataclass(frozen=True)
class Spec:
    """key: the same for the same run at the same place of the list: a service that starts again does not do it again."""

    request: Request
    key: str


def read_specs(path: Path) -> list[Spec]:
    """The runs of a values file: payloads of /start-load, or bodies of POST /runs. Raises UsageError, which names the run."""
    return [_spec(path, number, one) for number, one in enumerate(bodies(path))]


def bodies(path: Path) -> list[Any]:
    """What stands under benchmarkSpecs. Raises UsageError."""
    import yaml

    try:
        values = yaml.safe_load(text_file.read(path))
    except (OSError, text_file.NoTextError, yaml.YAMLError) as error:
        raise UsageError(f"--specs {path} cannot be read: {' '.join(str(error).split())}") from None
    specs = values.get(SPECS) if isinstance(values, Mapping) else None
    if isinstance(specs, Mapping):
        specs = [specs]
    if not isinstance(specs, Sequence) or isinstance(specs, str):
        raise UsageError(
            f"--specs {path} has no {SPECS}: give a list of payloads of /start-load under that name"
        )
    return [_placed(one) for one in specs]


def _placed(value: Any) -> Any:
    """With $(POD_IP) and the like in texts replaced: pods of one chart share one file."""
    if isinstance(value, Mapping):
        return {name: _placed(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_placed(one) for one in value]
    if isinstance(value, str):
        for name in PLACES:
            value = value.replace(f"$({name})", os.environ.get(name, f"$({name})"))
    return value


def _spec(path: Path, number: int, body: Any) -> Spec:
    try:
        request = request_of(body) if isinstance(body, Mapping) and "kind" in body else start_load(body)
        digest = digest_of(SPECS, json.loads(json.dumps(body)))
    except VllmperfError as error:
        raise UsageError(f"--specs {path}: {SPECS}[{number}]: {error}") from None
    except TypeError:
        raise UsageError(
            f"--specs {path}: {SPECS}[{number}] holds what JSON cannot, like a date: quote it"
        ) from None
    return Spec(request, f"{SPECS}[{number}] {digest}")


async def queue_specs(queue: Queue, specs: Sequence[Spec]) -> None:
    """Queue those that no service has carried out on this data folder: what was broken off is begun again, a few times."""
    for spec in specs:
        before = [job for job in queue.jobs.values() if job.key == spec.key]
        is_broken = all(job.phase == INTERRUPTED and not job.resumes for job in before)
        if is_broken and len(before) < MOST_TRIES and spec.key not in queue.spent:
            await queue.add(spec.request, spec.key, is_limited=False)
