"""The command: words in, exit code out, one line for what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from vllmperf.dropin import own_words
from vllmperf.dropin.llm_bench.arguments import parse
from vllmperf.dropin.llm_bench.one_run import run
from vllmperf.errors import VllmperfError
from vllmperf.outlet import outlets
from vllmperf.parser import flag

INTERRUPTED = 130


def main(words: Sequence[str] | None = None) -> int:
    """Run llm_bench with these words, else those of the process. A stdout that is closed or full loses its words
    alone (see outlet.py)."""
    with outlets() as out:
        return out.told(_coded(words))


def _coded(words: Sequence[str] | None) -> int:
    try:
        return run(parse(sys.argv[1:] if words is None else words))
    except VllmperfError as error:
        line = " ".join(own_words.told(error.told(flag), own_words.LLM_BENCH).split())
        print(f"llm_bench: error: {line}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
