#!/usr/bin/env python3
"""Replaces SGLang's bench_serving.py and the prefix-aware guide's benchmark.py: the same flags, requests, output and
files. Also `python -m benchmark` from this folder. See docs/sglang.md.
"""

import sys

from vllmperf.cli import guarded
from vllmperf.dropin.sglang.command import main

if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))
