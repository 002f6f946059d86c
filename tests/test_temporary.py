"""Temporary files where there is no /tmp."""

import os
import tempfile
from pathlib import Path

import pytest

from vllmperf import temporary
from vllmperf.errors import UsageError


@pytest.fixture(autouse=True)
def _without_tmp(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(tempfile, "gettempdir", nothing)


def test_a_read_only_root_without_tmp_keeps_temporary_files_in_memory() -> None:
    with temporary.new_folder("vllmperf-test-") as folder:
        assert Path(folder).parent == Path("/dev/shm")


def test_where_nothing_can_be_written_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UsageError, match="TMPDIR"):
        temporary.folder()
