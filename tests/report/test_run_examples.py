"""The examples in the docstrings of what a run gives."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["run", "comparison.comparison", "metrics.percentiles"])
def test_the_examples_of_a_module_are_true(name: str) -> None:
    # by its name: vllmperf.metrics.percentile as an attribute is the function
    found = doctest.testmod(importlib.import_module(f"vllmperf.{name}"), optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0
    assert found.failed == 0
