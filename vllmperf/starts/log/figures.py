"""The numbers that a log itself reports, by the rules of the issue: the largest over the ranks, drafter apart."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from vllmperf.starts.log.attempt import Attempt, Key, Seen
from vllmperf.starts.log.marker import number
from vllmperf.starts.log.process import Process
from vllmperf.starts.result import REPORTED, Value

_FIELD = {
    "weights_gib": "gib",
    "graph_capture_gib": "gib",
    "kv_cache_gib": "gib",
    "num_gpu_blocks": "blocks",
    "num_cpu_blocks": "cpu_blocks",
    "kv_cache_tokens": "tokens",
    "init_engine_compilation_s": "compilation",
}
NUMBERS = tuple(name for name in REPORTED if name != "compile_from_cache")
WHOLE = frozenset(("num_gpu_blocks", "num_cpu_blocks", "kv_cache_tokens"))
SUMMED = frozenset(("compile_s", "compile_cache_load_s"))  # one line a shape or range
_LOADS = frozenset(("download", "weights_took", "model_loaded"))
_COMPILES = frozenset(("dynamo", "compiled", "cache_loaded", "aot_loaded", "compile_total", "warmup_run"))
_DRAFT_LABELS = ("eagle", "draft", "mtp", "medusa", "speculator", "dflash")


class Figure(NamedTuple):
    name: str
    value: float
    process: Key
    line: int
    drafter: bool
    group: str  # what tells lines of one process apart: a shape, a range
    component: str


class Figures(NamedTuple):
    reported: dict[str, Value]
    per_rank: dict[str, dict[str, Value]]
    drafter: dict[str, Value]


def figures(attempt: Attempt, ranks: int) -> Figures:
    found = _collect(attempt)
    labels = Labels(attempt)
    main, draft = ([f for f in found if f.drafter == of_draft] for of_draft in (False, True))
    values = _by_name(main, labels)
    per_rank: dict[str, dict[str, Value]] = {}
    if ranks > 1 or len(attempt.engines) > 1:
        per_rank = {name: {**of} for name, of in values.items() if len(of) > 1}
    reported: dict[str, Value] = dict.fromkeys(REPORTED)
    reported |= _largest(values) | _from_cache(main)
    return Figures(reported, per_rank, _largest(_by_name(draft, labels)) | _from_cache(draft))


def _by_name(found: list[Figure], labels: Labels) -> dict[str, dict[str, float]]:
    """{name: {rank: value}}, in the order of NUMBERS."""
    of: dict[str, list[Figure]] = defaultdict(list)
    for figure in found:
        of[figure.name].append(figure)
    return {name: _by_process(name, of[name], labels) for name in NUMBERS if name in of}


def _largest(of: dict[str, dict[str, float]]) -> dict[str, Value]:
    return {name: max(values.values()) for name, values in of.items()}


def _from_cache(found: list[Figure]) -> dict[str, Value]:
    """What was compiled anew in part did not come from the cache."""
    names = {figure.name for figure in found}
    if names.isdisjoint(("compile_s", "compile_from_cache")):
        return {}
    return {"compile_from_cache": "compile_s" not in names}


def _by_process(name: str, found: list[Figure], labels: Labels) -> dict[str, float]:
    """{rank: value}. Lines that one process printed for several ranks stand for themselves."""
    by_key: dict[Key, list[Figure]] = defaultdict(list)
    for figure in found:
        by_key[figure.process].append(figure)
    out: dict[str, float] = {}
    for key, mine in by_key.items():
        label = labels.of(key, mine[0].component)
        if name in SUMMED:
            latest = {f.group: f.value for f in mine}
            out[label] = round(sum(latest.values()), 6)
        else:
            values = [int(f.value) if name in WHOLE else f.value for f in mine]
            for place, value in enumerate(values):
                out[label if place == 0 else f"{label} #{place + 1}"] = value
    return out


class Labels:
    """What the processes of an attempt are called in results, each by a name of its own."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._taken: dict[str, Key] = {}
        self._known: dict[Key, str] = {}

    def of(self, key: Key, component: str = "worker") -> str:
        """Where several processes have one name, the engine's part or the pid is added."""
        if key not in self._known:
            label = rank_label(self._attempt.names.get(key), component)
            if label in ("engine", "driver"):  # no process of its own: named by what it prints
                return f"{label} {key[1]}" if key[0] is None and key[1] else label
            if self._taken.setdefault(label, key) != key:
                label = f"{label} {self._attempt.parts.get(key) or f'pid {key[0]}'}"
            self._known[key] = label
        return self._known[key]


def rank_label(process: Process | None, component: str) -> str:
    """How a process is named in results: `Worker_TP0`, `rank 3`, `RayWorkerWrapper 374 10.0.0.2`; without a prefix
    `driver`, or `engine` for what only an engine prints."""
    if process is None or not (process.name or process.pid):
        return "engine" if component == "engine" else "driver"
    if process.rank is not None and process.kind == "worker":
        rank = process.rank
        return f"rank {rank}" if rank.isdecimal() else f"Worker_{rank}"
    if process.kind == "engine":
        return process.name
    return " ".join(part for part in (process.name or "process", str(process.pid), process.ip) if part)


def _collect(attempt: Attempt) -> list[Figure]:
    drafts = _Drafts(attempt)
    out: list[Figure] = []
    for seen in attempt.events:
        drafter = drafts.of(seen)
        group = seen.fields.get("range") or seen.fields.get("shape") or seen.marker.template
        for name in seen.marker.keys:
            value = 1.0 if name == "compile_from_cache" else _value(name, seen)
            if value is not None:
                out.append(
                    Figure(name, value, seen.process, seen.moment.line, drafter, group, seen.marker.component)
                )
    return _cpu_blocks(attempt, out)


def _value(name: str, seen: Seen) -> float | None:
    text = seen.fields.get(_FIELD.get(name, "seconds"))
    return number(text) if text is not None else None


def _cpu_blocks(attempt: Attempt, found: list[Figure]) -> list[Figure]:
    """V0 on a CPU prints its KV cache as blocks of the device "cpu" too: they are the CPU blocks."""
    lines = {
        s.moment.line
        for s in attempt.all("blocks")
        if s.fields.get("device", "").lower() in ("cpu", "openvino")
    }
    if not lines:
        return found
    rest = [f for f in found if not (f.line in lines and f.name == "num_cpu_blocks")]
    return [f._replace(name="num_cpu_blocks") if f.line in lines else f for f in rest]


class _Drafts:
    """Tells the lines of the speculative model from the target's."""

    def __init__(self, attempt: Attempt) -> None:
        sources = (attempt.config, attempt.arguments)
        self.speculative = any(
            config is not None and config.speculative for config in sources
        ) or attempt.has("drafter_start")
        self._started: set[Key] = set()  # between "Loading drafter model" and "Model loading took"
        self._counts: dict[tuple[str, Key], int] = defaultdict(int)
        self._loaded_whole: set[Key] = (
            set()
        )  # the target's compilation was loaded, so what is compiled is the draft's
        self._cache_label: dict[Key, str] = {}

    def of(self, seen: Seen) -> bool:
        key = seen.process
        if seen.event == "drafter_start":
            self._started.add(key)
        elif seen.event == "compile_cache_dir":
            self._cache_label[key] = seen.fields["path"].rstrip("/").rsplit("/", 1)[-1]
        if not self.speculative:
            return False
        if seen.event in _LOADS:
            return self._load(seen, key)
        if seen.event in _COMPILES:
            return self._compile(seen, key)
        return False

    def _load(self, seen: Seen, key: Key) -> bool:
        if key in self._started:
            # The last line spans both models and is the target's.
            if seen.event == "model_loaded":
                self._started.discard(key)
                return False
            return True
        self._counts[seen.event, key] += 1
        return self._counts[seen.event, key] > 1

    def _compile(self, seen: Seen, key: Key) -> bool:
        label = (seen.label or self._cache_label.get(key) or "").lower()
        if label:
            return label != "backbone" and any(word in label for word in _DRAFT_LABELS)
        if seen.event in ("compiled", "cache_loaded"):
            return self._counts["dynamo", key] > 1 or (seen.event == "compiled" and key in self._loaded_whole)
        if seen.event == "aot_loaded" and not self._counts["dynamo", key]:
            self._loaded_whole.add(key)
        # A model whose compilation was loaded whole is not traced.
        traced = "dynamo" if seen.event in ("dynamo", "aot_loaded") else seen.event
        self._counts[traced, key] += 1
        return self._counts[traced, key] > 1
