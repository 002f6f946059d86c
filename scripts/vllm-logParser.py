#!/usr/bin/env python3
"""Where the start of a vLLM server went, from its log, with the arguments and the file of the script of this name.

    vllm-logParser.py -f $HOME/logs/pod-vllm-logs.txt -o $HOME/data

docs/startup.md says how its values differ. `vllmperf parse-log` shows more.
"""

import sys

from vllmperf.dropin.log_parser import main

if __name__ == "__main__":
    sys.exit(main())
