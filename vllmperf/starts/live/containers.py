"""Which container of a pod is the vLLM server: by name, else by command, image and port; never by its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vllmperf.errors import UsageError

Json = Mapping[str, Any]
PORT = 8000
_COMMAND = re.compile(r"(^|[\s/;&])vllm(\s+serve\b|\s*$)|vllm\.entrypoints|vllm serve|openai[./]api_server")
_WEIGHTS = (4, 2, 1)  # the command says it, the image does, the port does


def choose(pod: Json, name: str | None = None) -> str:
    """The name of the server's container. Raises UsageError, which lists the containers, when it is not plain."""
    containers: list[Json] = pod["spec"].get("containers") or []
    names = [container["name"] for container in containers]
    names += [side["name"] for side in pod["spec"].get("initContainers") or [] if is_sidecar(side)]
    if name is not None:
        if name in names:
            return name
        raise UsageError(f"pod {_pod(pod)} has no container {name!r}; it has {', '.join(names)}: see -c")
    if len(containers) == 1:
        return str(names[0])
    scores = [(_score(container), container["name"]) for container in containers]
    best = max(score for score, _ in scores)
    found = [at for score, at in scores if score == best]
    if best == 0 or len(found) > 1:
        raise UsageError(
            f"pod {_pod(pod)} has {len(containers)} containers and "
            f"{'none looks' if best == 0 else 'several look'} like a vLLM server; "
            f"give -c with one of {', '.join(_describe(container) for container in containers)}"
        )
    return str(found[0])


def is_sidecar(init_container: Json) -> bool:
    """An init container that runs on beside the others ("native side-car")."""
    return init_container.get("restartPolicy") == "Always"


def _score(container: Json) -> int:
    words = " ".join([*(container.get("command") or []), *(container.get("args") or [])])
    ports = [port.get("containerPort") for port in container.get("ports") or []]
    signs = (
        bool(_COMMAND.search(words)),
        "vllm" in container.get("image", "").lower() or container["name"].lower() == "vllm",
        PORT in ports,
    )
    return sum(weight for weight, sign in zip(_WEIGHTS, signs, strict=True) if sign)


def _describe(container: Json) -> str:
    return f"{container['name']} ({container.get('image', 'no image')})"


def _pod(pod: Json) -> str:
    return str(pod["metadata"]["name"])
