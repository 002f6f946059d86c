"""Small programs under the names of the tools that vllmperf takes the place of."""

from __future__ import annotations

import sys
from pathlib import Path

from vllmperf.errors import UsageError

GUARDED = """\
from vllmperf.cli import guarded
from vllmperf.dropin.{0}.command import main

sys.exit(guarded(lambda: main(sys.argv[1:])))
"""
PLAIN = """\
from vllmperf.dropin.{0}.main import main

sys.exit(main())
"""
SHIMS = {
    "guidellm": GUARDED.format("guidellm"),
    "benchmark_serving.py": GUARDED.format("benchmark_serving"),
    "benchmark.py": GUARDED.format("sglang"),
    "bench_serving.py": GUARDED.format("sglang"),
    "llm_bench": PLAIN.format("llm_bench"),
    "llm_bench.py": PLAIN.format("llm_bench"),
}
"""What each program does."""


def write(folder: Path, python: str = sys.executable) -> list[Path]:
    """Write all of them, executable, to be run by this Python. Gives their paths.

    A file of that name is replaced when it is such a program, else UsageError: it may be the tool itself.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_write(folder / name, python, text) for name, text in SHIMS.items()]
    except OSError as error:
        raise UsageError(f"cannot write shims to {folder}: {error.strerror or error}") from None


def _write(path: Path, python: str, text: str) -> Path:
    head = f"#!{python}\n# written by `vllmperf shims`\nimport sys\n\n"
    if path.exists() and "`vllmperf shims`" not in path.read_text(encoding="utf-8", errors="replace"):
        raise UsageError(f"{path} is there already and is no shim of ours: remove it or give another folder")
    path.write_text(head + text, encoding="utf-8")
    path.chmod(0o755)
    return path
