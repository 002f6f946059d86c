"""A model folder of our own, and tests/twins importable."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A model folder with tokenizer.json, tokenizer_config.json and a chat template."""
    for package in ("tokenizers", "jinja2"):
        pytest.importorskip(package, reason="the extra tokenizers is not installed")
    from twins import model_folder

    folder = tmp_path_factory.mktemp("model")
    model_folder.make(folder)
    return folder


@pytest.fixture(scope="session")
def tokens(model):
    from vllmperf.tokenizer.tokens import Tokens

    return Tokens(str(model))
