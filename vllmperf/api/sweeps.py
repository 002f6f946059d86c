"""Sweeps over set-ups and loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vllmperf.api.given import Lines, lines_of

if TYPE_CHECKING:
    from vllmperf.loadgen.subscribers import Watch
    from vllmperf.sweeps.result import Sweep


def sweep(
    definition: str | Path | Mapping[str, object],
    /,
    *,
    output: str | Path | None = None,
    progress: Lines = False,
    watch: Watch | None = None,
    **course: object,
) -> Sweep:
    """Measure every set-up of a server at every load, repeated, and keep each point as a run file.

    definition: a sweep file (YAML, JSON) or the same as a dictionary; docs/sweep.md describes it. course: repeat, seed, order,
    reset, which override those of the file. output: the folder; one that holds points of this sweep already is completed. Without
    it the folder is a temporary one. progress: True for lines on stderr, or a function that takes each of them. watch: makes a
    subscriber for the session of each point.

    A set-up that does not get ready is in `failures`, the others go on. Ctrl-C ends the server and gives what was measured
    (`interrupted` is True). Raises UsageError for a definition that makes no sense and for a folder of another sweep.

    >>> import vllmperf as vp
    >>> servers = [{"name": name, "simulator": {"ttft_ms": ms, "itl_ms": 1}} for name, ms in (("slow", 9), ("fast", 3))]
    >>> found = vp.sweep({"setups": servers, "axes": {"max_concurrency": [1, 2]}, "plan": {"num_prompts": 4, "output_len": 3}})
    >>> found.setups, found.loads, len(found.rows())
    (['slow', 'fast'], ['max_concurrency=1', 'max_concurrency=2'], 4)
    """
    from vllmperf.run import Folder as Temporary
    from vllmperf.sweeps.definition import definition_of, with_course
    from vllmperf.sweeps.folder import Folder
    from vllmperf.sweeps.result import Sweep
    from vllmperf.sweeps.running import carry_out

    wanted = with_course(definition_of(definition), course)
    temporary = None if output else Temporary()
    folder = Folder.made(Path(output or str(temporary)), wanted)
    interrupted = False
    try:
        carry_out(wanted, folder, lines_of(progress), watch)
    except KeyboardInterrupt:
        interrupted = True
    return Sweep(folder.path, interrupted, temporary)
