#!/usr/bin/env python3
"""fw-ai's llm_bench without locust: put this path where `locust` stood. docs/llm_bench.md says what differs.

    llm_bench.py [--profile 2024-10|2026-06] --provider vllm -H http://localhost:8000 --headless \\
        --summary-file vllm_locust.csv --tokenizer MODEL --qps 1.0 -u 100 -r 100 -p 1000 -o 100 -t 2m
"""

import sys

from vllmperf.dropin.llm_bench.main import main

if __name__ == "__main__":
    sys.exit(main())
