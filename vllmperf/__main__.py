"""python -m vllmperf"""

import sys

from vllmperf.cli import main

sys.exit(main())
