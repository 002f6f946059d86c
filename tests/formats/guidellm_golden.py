"""Where the recorded outputs of the real guidellm are; tests that need them are skipped elsewhere."""

import gzip
import json
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("VLLMPERF_SHARED", ROOT.parent / "shared")) / "golden_guidellm" / "0.3.1"


def golden(name):
    """The path of a recorded file."""
    if not FOLDER.is_dir():
        pytest.skip(f"the recorded outputs of guidellm are not in {FOLDER} (VLLMPERF_SHARED)")
    return FOLDER / name


def report(name):
    """A recorded report."""
    path = golden(name)
    return json.loads(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())


def key_tree(value, path=""):
    """All keys in the order in which they first appear."""
    if isinstance(value, dict):
        pairs = value.items()
        return [
            found for key, inner in pairs for found in [f"{path}.{key}", *key_tree(inner, f"{path}.{key}")]
        ]
    if isinstance(value, list):
        return list(dict.fromkeys(found for inner in value for found in key_tree(inner, path + "[]")))
    return []
