"""Sets of starts by pattern, and an earlier measurement read back."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from made_starts import command, failed, pod, ranked

from vllmperf.errors import UsageError
from vllmperf.report.startup.json import to_json
from vllmperf.report.startup.sets import against, distinct, grouped, read_json
from vllmperf.report.startup.show import add_output_arguments, check_outputs, write_outputs
from vllmperf.report.startup.spans import seconds_by_phase


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_output_arguments(parser)
    return parser.parse_args(words)


def saved(tmp_path: Path, starts: list) -> Path:
    path = tmp_path / "before.json"
    path.write_text(json.dumps(to_json(starts)))
    return path


def test_patterns_make_sets_and_the_first_that_fits_counts() -> None:
    starts = [command(name) for name in ("cold-1", "warm-1", "other")]
    found = grouped(starts, [("a", "cold*"), ("b", "*-1")])
    assert [start.group for start in found] == ["a", "b", None]


def test_a_pattern_that_fits_nothing_is_an_error_that_names_what_there_is() -> None:
    with pytest.raises(UsageError, match="no start has such a name; there are a, b"):
        grouped([command("a"), command("b")], [("x", "cold*")])


def test_sets_by_flag_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    starts = [command("cold-1", 30.0), command("warm-1", 20.0)]
    write_outputs(starts, arguments("--group", "C=cold*", "--group", "W=warm*"))
    out = capsys.readouterr().out
    assert "C → W" in out
    assert "−10.00" in out


@pytest.mark.parametrize("words", ["x", "=x", "x="])
def test_a_group_without_pattern_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments("--group", words)
    assert "SET=PATTERN" in capsys.readouterr().err


def test_an_earlier_measurement_is_read_back_as_it_was(tmp_path: Path) -> None:
    starts = [pod(), failed(), ranked(4)]
    again = read_json(saved(tmp_path, starts))
    for one, other in zip(starts, again, strict=True):
        assert seconds_by_phase(other) == pytest.approx(seconds_by_phase(one))
        assert (other.name, other.reached, other.failure) == (one.name, one.reached, one.failure)
        assert other.total_s == one.total_s


def test_now_is_compared_with_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path, [command("x", 30.0)])
    write_outputs([command("y", 20.0)], arguments("--against", str(path)))
    assert "before → now" in capsys.readouterr().out
    found = against([command("x", 30.0, "cold")], [command("y", 20.0, "warm"), command("z", 20.0)])
    assert [start.group for start in found] == ["before", "warm", "now"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not what"),
        ("[]", "is not what"),
        ('{"schema": 2, "starts": []}', "has schema 2"),
        (None, "cannot read"),
    ],
)
def test_something_else_than_a_measurement_is_refused_before_any_work(
    content: str | None, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=said):
        check_outputs(arguments("--against", str(path)))


def test_a_measurement_is_shown_even_when_its_sets_are_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="no start has such a name"):
        write_outputs([pod()], arguments("--group", "C=cold*"))
    assert "torch.compile" in capsys.readouterr().out


def test_a_pattern_may_be_of_the_logs_path() -> None:
    starts = [command("server.log", log_path=f"/runs/{name}/server.log") for name in ("cold", "warm")]
    found = grouped(starts, [("c", "*/cold/*"), ("w", "*/warm/*")])
    assert [start.group for start in found] == ["c", "w"]


def test_logs_of_one_file_name_are_told_apart_by_as_much_path_as_it_takes() -> None:
    paths = ["/a/cold/1/s.log", "/a/warm/1/s.log", "/b/warm/1/s.log", "/a/x.log"]
    starts = [command(Path(path).name, log_path=path) for path in paths]
    assert [start.name for start in distinct(starts)] == [
        "cold/1/s.log", "a/warm/1/s.log", "b/warm/1/s.log", "x.log"
    ]  # fmt: skip


def test_starts_that_cannot_be_told_apart_keep_their_name() -> None:
    starts = [command("pod"), command("pod"), command("s.log", log_path="/a/s.log")]
    starts.append(starts[-1])
    assert [start.name for start in distinct(starts)] == ["pod", "pod", "s.log", "s.log"]
