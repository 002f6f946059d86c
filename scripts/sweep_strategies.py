#!/usr/bin/env python3
"""Replaces the prefix-aware guide's sweep_strategies.py. Every entry is also a flag (--router-port 8000). See
docs/sweep_strategies.md.
"""

import sys

from vllmperf.cli import guarded
from vllmperf.dropin.strategies.command import main

DEFAULT_CONFIG = {
    # Server
    "host": "127.0.0.1",
    "router_port": 0,  # 0: any free one
    "metrics_port": 0,  # of Ray
    "scheduler_strategies_dict": {
        "pow_of_2": "pow2",
        "prefix_aware": "prefix_aware",
        # "round_robin": "round_robin",
        # "mine": "package.module.MyRequestRouter",
    },
    "server_command": "ray",  # or "simulator", or a command with {port}, {config}, {router}, {replicas}, {model}
    # Model
    "model_name": "Qwen/Qwen2.5-1.5B-Instruct",
    "gpu_type": "L4",  # "cpu": none
    "num_servers": 4,
    "enable_prefix_caching": True,
    "enable_chunked_prefill": True,
    # Benchmark
    "benchmark_label": "my_label",
    "dataset_name": "sharegpt",
    "max_concurrency": 40,
    "min_output_len": 10,
    "max_output_len": 200,
    "with_warmup": False,  # everything twice, without a reset between
    "disable_ignore_eos": False,
    "disable_stream": False,
    "request_rate": 100,
    "num_prompts": 1000,
    "max_conversations": 10000,
    "dataset_link": "https://huggingface.co/datasets/samos123/share-gpt-long-convos/resolve/main/"
    "sharegpt_16_messages_or_more.json",
}

if __name__ == "__main__":
    sys.exit(guarded(lambda: main(DEFAULT_CONFIG, sys.argv[1:])))
