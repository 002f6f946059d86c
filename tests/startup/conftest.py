"""Tests here use the fake API server of tests/kube."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "kube"))
