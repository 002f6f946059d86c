#!/usr/bin/env python3
"""Where the starts of vLLM servers in a cluster went, with the arguments and files of the script of this name.

    vllm-serverStartupLatency.py -cfg $HOME/.kube/config -ctx wec1 -l environment=test -c vllm -n vllm-test \\
        -m gpt2 -o $HOME/data

docs/startup.md says how its values differ. `vllmperf startup` shows more.
"""

import sys

from vllmperf.dropin.startup_latency import main

if __name__ == "__main__":
    sys.exit(main())
