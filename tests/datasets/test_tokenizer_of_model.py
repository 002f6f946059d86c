"""Which setting an error names when a tokenizer cannot be had: the one that the user gave."""

from __future__ import annotations

from pathlib import Path

import pytest

from vllmperf.cli import main


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    text = tmp_path / "lines.txt"
    text.write_text("one two three\n" * 20)
    data = ("--dataset-name", "sonnet", "--dataset-path", str(text))
    main(["bench", "--base-url", "http://127.0.0.1:9", *data, *more])
    return capsys.readouterr().err


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A folder that is there, and holds no tokenizer."""
    return str(tmp_path)


def test_the_model_is_named_where_nobody_gave_a_tokenizer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    said = refused(tmp_path, capsys, "--model", model)
    assert f"the tokenizer of --model {model}: " in said
    assert "--tokenizer none goes without" in said
    assert f"--tokenizer {model}" not in said


def test_the_tokenizer_is_named_where_the_user_gave_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    said = refused(tmp_path, capsys, "--model", "some/model", "--tokenizer", model)
    assert f"--tokenizer {model}: " in said
    assert "--model" not in said
