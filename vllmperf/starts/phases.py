"""The phases of a start, in order: name, what people read, what it spans, and which source gives it."""

from __future__ import annotations

from typing import NamedTuple


class PhaseKind(NamedTuple):
    name: str
    label: str
    meaning: str
    group: str  # "pod", "process", "engine", "ready"


PHASES = (
    PhaseKind("scheduling", "scheduling", "pod created to PodScheduled", "pod"),
    PhaseKind(
        "volumes", "volumes and sandbox", "scheduled to PodReadyToStartContainers or the first pull", "pod"
    ),
    PhaseKind("image_pull", "image pull", "events Pulling to Pulled", "pod"),
    PhaseKind("init_containers", "init containers", "first init container started to last one ended", "pod"),
    PhaseKind("container_start", "container start", "image there to container started", "pod"),
    PhaseKind(
        "earlier_attempts",
        "earlier attempts",
        "first start of the container to the start of its last try",
        "pod",
    ),
    PhaseKind("imports", "Python and imports", "process started to its first line", "process"),
    PhaseKind("config", "configuration", "first line to the engine's process", "process"),
    PhaseKind(
        "engine_process", "engine process", "engine process spawned to its configuration line", "process"
    ),
    PhaseKind("worker_init", "worker and NCCL", "engine configuration to the start of loading", "engine"),
    PhaseKind("weights_download", "weights download", "the time that the log gives for it", "engine"),
    PhaseKind("weights_load", "weights load", "checkpoint shards read and placed", "engine"),
    PhaseKind("model_finish", "model set-up", "weights read to the model loaded", "engine"),
    PhaseKind("dynamo", "Dynamo", "bytecode transform", "engine"),
    PhaseKind("compile", "torch.compile", "graphs compiled, or loaded from the cache", "engine"),
    PhaseKind("profile", "profile and warm-up run", "first forward pass, memory profiling", "engine"),
    PhaseKind("kv_cache", "KV cache", "profiling done to the cache allocated", "engine"),
    PhaseKind("kernel_warmup", "kernel warm-up", "autotune and JIT of kernels", "engine"),
    PhaseKind("graph_capture", "CUDA graph capture", "graphs captured", "engine"),
    PhaseKind("engine_finish", "engine finish", "last engine step to `init engine took`", "engine"),
    PhaseKind("frontend", "API front end", "engine done to the server's `startup complete`", "ready"),
    PhaseKind("ready", "ready probe", "server up to the first 200 on /health or the pod's Ready", "ready"),
    PhaseKind("first_token", "first token", "ready to the first token of a first request", "ready"),
    PhaseKind("unattributed", "unattributed", "time that no source explains", "rest"),
)
LABELS = {kind.name: kind.label for kind in PHASES}
ORDER = {kind.name: place for place, kind in enumerate(PHASES)}
