#!/usr/bin/env python3
"""In the place of vLLM's benchmarks/benchmark_serving.py: the same flags, requests, output and files.

--profile vllm-0.6 | vllm-0.8 | vllm-2026 chooses the version; without it the flags do. See docs/profiles.md.
"""

import sys

from vllmperf.cli import guarded
from vllmperf.dropin.benchmark_serving.command import main

if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))
