"""The phases of an attempt on the time axis, each from the lines that begin and end it.

For every phase the span over all ranks lies on the critical path, cut by `waterfall.fill` where the phase before is
not over yet; ranks that print for themselves get a span of their own beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vllmperf.starts.log.attempt import Attempt, Key, Seen
from vllmperf.starts.log.figures import Labels
from vllmperf.starts.log.marker import number
from vllmperf.starts.log.wallclock import Moment
from vllmperf.starts.result import NS_PER_S, Phase
from vllmperf.starts.waterfall import fill

Instant = Callable[[Moment | None], int | None]
MAX_RANKS = 512  # have phases of their own
LONGEST_S = 1e8  # no start takes three years: such a number is none
_LOADED = ("model_loaded", "hpu_loaded", "tpu_init", "xpu_loaded")
_COMPILED = (
    "compiled",
    "cache_loaded",
    "aot_loaded",
    "aot_saved",
    "compile_total",
    "compile_and_warmup",
    "tpu_compiled",
)
_PROFILED = (
    "kv_available",
    "kv_reserved",
    "profiled",
    "memory_results",
    "xpu_profiled",
    "cpu_warmup_end",
    "kv_cpu",
)
_SIZED = ("kv_tokens", "concurrency", "blocks", "gpu_blocks", "cpu_blocks")
_WARMED = ("autotune_end", "kernel_warmup", "kernel_warmup_end", "jit_monitor")
_WARMS = ("autotune_start", "autotune_end", "kernel_warmup", "kernel_warmup_end", "deep_gemm_bar")


def spans(
    attempt: Attempt,
    instant: Instant,
    resolution_s: float,
    first_ns: int | None,
    ready_ns: int | None,
    last_ns: int | None,
    unfinished: str | None = None,
) -> tuple[Phase, ...]:
    """All phases of the attempt, from its first stamp to ready (to the last line when it never was).

    unfinished: the phase that a start was in that never came to ready; it lasts to the end.
    """
    builder = _Builder(attempt, instant, resolution_s, first_ns)
    found = builder.build(ready_ns)
    end = ready_ns if ready_ns is not None else builder.end_ns(last_ns)
    if unfinished is not None:
        found += builder.unfinished(unfinished, found, end)
    return fill(found, first_ns, end)


class _Builder:
    def __init__(self, attempt: Attempt, instant: Instant, resolution_s: float, first_ns: int | None) -> None:
        self.attempt = attempt
        self.resolution_s = resolution_s
        self.first_ns = first_ns
        self.at: dict[str, list[tuple[int, Seen]]] = {}
        self.of: dict[tuple[str, Key], list[tuple[int, Seen]]] = {}  # the same, of each process
        for seen in attempt.events:
            ns = instant(seen.moment)
            if ns is not None:
                self.at.setdefault(seen.event, []).append((ns, seen))
                self.of.setdefault((seen.event, seen.process), []).append((ns, seen))
        self.labels = Labels(attempt)
        self._bars = _last_bars(attempt)

    def end_ns(self, last_ns: int | None) -> int | None:
        """A log that never came to ready ends with its last line; what a running engine does is no start-up."""
        if not self.attempt.served_lines and not self.attempt.later:
            return last_ns
        return max((ns for found in self.at.values() for ns, _ in found), default=last_ns)

    def unfinished(self, name: str, found: list[Phase], end: int | None) -> list[Phase]:
        ends = [p.end_ns for p in found if p.critical and p.end_ns is not None]
        start = max(ends, default=self.first_ns)
        return self._phase(name, start, end, detail="not finished") if start != end else []

    # --- looking up

    def first(self, *events: str, key: Key | None = None) -> int | None:
        return min(self._times(events, key), default=None)

    def last(self, *events: str, key: Key | None = None) -> int | None:
        return max(self._times(events, key), default=None)

    def _found(self, events: Iterable[str], key: Key | None) -> list[tuple[int, Seen]]:
        """Markers of these events with their instants, of one process or of all."""
        if key is None:
            return [pair for event in events for pair in self.at.get(event, ())]
        return [pair for event in events for pair in self.of.get((event, key), ())]

    def _times(self, events: Iterable[str], key: Key | None) -> list[int]:
        return [ns for ns, _ in self._found(events, key)]

    def _reported(self, *events: str, key: Key | None = None) -> float | None:
        """The largest number of seconds that these lines give."""
        found = self._found(events, key)
        return max((number(s.fields["seconds"]) for _, s in found if "seconds" in s.fields), default=None)

    def _phase(self, name: str, start: int | None, end: int | None, **more: object) -> list[Phase]:
        if end is None or start is None or end < start:
            return []
        return [Phase(name, start, end, "log", self.resolution_s, **more)]  # type: ignore[arg-type]

    def _began(
        self, events: tuple[str, ...], key: Key | None, floor: int | None, rounded_s: float = 0.0
    ) -> int | None:
        """Where a phase begins that only tells how long it took: with the first rank, but not before the phase in
        front of it ended. rounded_s: how far its number may be off."""
        found = self._found(events, key)
        took = [(ns, number(s.fields["seconds"])) for ns, s in found if "seconds" in s.fields]
        starts = [ns - round(seconds * NS_PER_S) for ns, seconds in took if seconds < LONGEST_S]
        start = min(starts, default=None)
        if start is None or floor is None:
            return start
        # The stamps and the number cannot tell such a gap.
        near = start - floor <= (1.5 * self.resolution_s + rounded_s) * NS_PER_S
        return floor if near else start

    # --- the phases

    def build(self, ready_ns: int | None) -> list[Phase]:
        out = [*self._processes(), *self._load(None), *self._engine(None), *self._end(ready_ns)]
        ranks = self._ranks()
        for key in ranks if len(ranks) > 1 else ():
            label = self.labels.of(key)
            for phase in (*self._load(key), *self._engine(key)):
                out.append(_of_rank(phase, label))
        return out

    def _ranks(self) -> list[Key]:
        keys = {
            seen.process
            for event in ("weights_took", *_LOADED, "captured")
            for _, seen in self.at.get(event, ())
        }
        return sorted(keys, key=lambda key: (key[1], key[0] or 0))[:MAX_RANKS]

    def _processes(self) -> list[Phase]:
        engine = self.first("engine_config")
        spawned = self._engine_spawned(engine)
        begin = self.last(*_SIZED_LOAD_STARTS) or self._load_began(None) or self.first(*_LOADED)
        out = self._phase("config", self.first_ns, spawned if spawned is not None else engine)
        out += self._phase("engine_process", spawned, engine)
        if begin is not None and engine is not None:
            out += self._phase("worker_init", engine, max(begin, engine))
        return out

    def _engine_spawned(self, engine: int | None) -> int | None:
        """The parent's last line before the engine's first one: the silence after it are the engine's imports."""
        if engine is None:
            return None
        parent = ("architecture", "max_model_len", "chunked_prefill", "api_version", "banner_version", "args")
        times = [ns for ns in self._times((*parent, "engine_spawned", "eager"), None) if ns <= engine]
        return max(times, default=None)

    def _load_began(self, key: Key | None) -> int | None:
        start = self.first("load_start", "load_scratch", key=key)
        if start is not None:
            return start
        loaded = self._began(("model_loaded",), key, None)
        return loaded if loaded is not None else self._began(("weights_took",), key, None)

    def _load(self, key: Key | None) -> list[Phase]:
        start, out = self._load_began(key), []
        downloaded = self.last("download", key=key)
        if downloaded is not None:
            seconds = self._reported("download", key=key)
            begin = self._began(("download",), key, start)
            out += self._phase("weights_download", begin, downloaded, reported_s=seconds)
            start = downloaded
        read, loaded = self.last("weights_took", key=key), self.last(*_LOADED, key=key)
        seconds = self._reported("weights_took", key=key)
        if read is not None:
            begin = start if start is not None else self._began(("weights_took",), key, None)
            out += self._phase("weights_load", begin, read, reported_s=seconds, detail=self._shards(key))
            out += self._phase("model_finish", read, loaded)
        else:
            out += self._phase("weights_load", start, loaded, detail=self._shards(key))
        return out

    def _shards(self, key: Key | None) -> str | None:
        bar = self._bars.get(key)
        return f"{bar.fields['done']} of {bar.fields['total']} shards" if bar else None

    def _engine(self, key: Key | None) -> list[Phase]:
        loaded = self.last(*_LOADED, "weights_took", key=key)
        out, after = self._compile(key, loaded)
        start = after if after is not None else loaded
        profiled = self.last(*_PROFILED, key=key)
        sized = self.last(*_SIZED, key=key)
        if profiled is None:
            profiled, sized = sized, None
        seconds = self._reported("warmup_run", "profiled", key=key)
        if start is None:
            start = self._began(("warmup_run", "profiled"), key, None)
        out += self._phase("profile", start, profiled, reported_s=seconds)
        out += self._phase("kv_cache", profiled, sized)
        return out + self._capture(key, max((t for t in (sized, profiled) if t is not None), default=None))

    def _compile(self, key: Key | None, loaded: int | None) -> tuple[list[Phase], int | None]:
        traced = self.last("dynamo", key=key)
        seconds = self._reported("dynamo", key=key)
        out = self._phase("dynamo", self._began(("dynamo",), key, loaded), traced, reported_s=seconds)
        done = self.last(*_COMPILED, key=key)
        begin = traced if traced is not None else self.first("cpu_warmup_start", "tpu_compile_start", key=key)
        if begin is None and done is not None:
            begin = loaded
        if done is None or begin is None or done < begin:
            return out, traced
        cached = self.at.get("cache_loaded") or self.at.get("aot_loaded")
        fresh = self.at.get("compiled") or self.at.get("aot_saved")
        seconds = self._reported("compiled", "cache_loaded", key=key)
        detail = "compiled" if fresh else "from cache" if cached else None
        out += self._phase("compile", begin, done, reported_s=seconds, detail=detail)
        return out, done

    def _capture(self, key: Key | None, sized: int | None) -> list[Phase]:
        captured = self.last("captured", key=key)
        seconds = self._reported("captured", key=key)
        warmed = self.last("autotune_end", "kernel_warmup_end", key=key)
        floor = max((t for t in (sized, warmed) if t is not None), default=None)
        began = self.first("capture_start", key=key)
        # Told in whole seconds.
        start = began if began is not None else self._began(("captured",), key, floor, rounded_s=0.5)
        out = self._phase("graph_capture", start, captured, reported_s=seconds)
        if self.attempt.has(*_WARMS):
            begun = self.first("autotune_start", "kernel_warmup", key=key)
            ended = warmed if warmed is not None else start
            ended = ended if ended is not None else self.last("jit_monitor", key=key)
            out += self._phase("kernel_warmup", begun if begun is not None else sized, ended)
        return out

    def _end(self, ready_ns: int | None) -> list[Phase]:
        done = self.last("engine_done")
        steps = (*_SIZED, *_PROFILED, *_WARMED, "captured", *_COMPILED, *_LOADED)
        before = [ns for ns in self._times(steps, None) if done is None or ns <= done]
        out = self._phase("engine_finish", max(before, default=None), done)
        start = done if done is not None else self.last(*steps)
        return out + self._phase("frontend", start, ready_ns)


def _last_bars(attempt: Attempt) -> dict[Key | None, Seen]:
    """The last bar of the shards, of each process and of all: they have no stamps."""
    found: dict[Key | None, Seen] = {}
    for seen in attempt.all("shards"):
        found[seen.process] = found[None] = seen
    return found


_SIZED_LOAD_STARTS = ("load_start", "load_scratch")


def _of_rank(phase: Phase, label: str) -> Phase:
    return Phase(
        phase.name,
        phase.start_ns,
        phase.end_ns,
        phase.source,
        phase.resolution_s,
        rank=label,
        critical=False,
        reported_s=phase.reported_s,
        detail=phase.detail,
    )
