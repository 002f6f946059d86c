"""What the commands put out, and where; the live view."""

from __future__ import annotations

import argparse
import io
import json
import os
import pty
from pathlib import Path

import pytest
from made_starts import at, command, failed, phase, pod
from rich.cells import cell_len

from vllmperf.errors import UsageError
from vllmperf.report.startup.live import LiveStarts, panel, state_words
from vllmperf.report.startup.show import add_output_arguments, check_outputs, write_outputs
from vllmperf.report.table import plain


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_output_arguments(parser)
    return parser.parse_args(words)


def test_the_table_is_what_one_gets_without_asking(capsys: pytest.CaptureFixture[str]) -> None:
    write_outputs([pod()], arguments())
    assert "torch.compile" in capsys.readouterr().out


def test_json_takes_the_place_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    write_outputs([pod()], arguments("--json"))
    assert json.loads(capsys.readouterr().out)["schema"] == 1


def test_own_objects_are_printed_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    write_outputs([pod()], arguments("--json"), json_objects=[{"file": "a"}, {"file": "ä"}])
    assert capsys.readouterr().out == '{"file": "a"}\n{"file": "ä"}\n'


def test_files_are_written_beside_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_outputs([pod()], arguments("--csv", f"{tmp_path}/a.csv", "--html", f"{tmp_path}/a.html"))
    assert (tmp_path / "a.csv").read_text().startswith("start,group,")
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    out, err = capsys.readouterr()
    assert "torch.compile" in out
    assert err.count("vllmperf: wrote ") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.html"]


@pytest.mark.parametrize("flag", ["--csv", "--html"])
def test_a_dash_means_stdout_in_the_place_of_the_table(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_outputs([pod()], arguments(flag, "-"))
    out = capsys.readouterr().out
    assert out.startswith("start,group," if flag == "--csv" else "<!doctype html>")
    assert "  Phase  " not in out


def test_two_outputs_cannot_share_stdout() -> None:
    with pytest.raises(UsageError, match="--csv and --json all want stdout"):
        check_outputs(arguments("--csv", "-", "--json"))


def test_a_missing_folder_is_said_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        check_outputs(arguments("--html", f"{tmp_path}/nowhere/a.html"))
    with pytest.raises(UsageError, match="is a folder"):
        check_outputs(arguments("--csv", str(tmp_path)))


def test_what_was_measured_is_shown_even_when_a_file_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = arguments("--csv", f"{tmp_path}/gone/a.csv")
    with pytest.raises(UsageError, match="cannot write"):
        write_outputs([pod()], args)
    assert "torch.compile" in capsys.readouterr().out


# ---- live ----


def growing(name: str, **more: object) -> object:
    settings = {"end_ns": None, "phases": (phase("config", 0, 4), phase("weights_load", 4, None)), **more}
    return command(name, **settings)


def test_a_state_is_the_phase_under_way() -> None:
    assert state_words(growing("a")) == "weights load"
    assert state_words(growing("a", phases=(phase("config", 0, 4),))) == "after configuration"
    assert state_words(growing("a", phases=())) == "waiting"
    assert state_words(command()) == "ready"
    assert state_words(failed()).startswith("failed in weights load")


def test_into_a_pipe_a_line_comes_when_the_phase_changes_and_seldom_else() -> None:
    file = io.StringIO()
    with LiveStarts(file) as live:
        for second in range(62):
            live.update([growing("a")], at(second))
        live.update([command("a", 61.0)], at(62))
        live.update([command("a", 61.0)], at(300))
    assert file.getvalue().splitlines() == [
        "vllmperf: a: 0 s, weights load",
        "vllmperf: a: 30 s, still weights load",
        "vllmperf: a: 60 s, still weights load",
        "vllmperf: a: 61 s, ready",
    ]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_panel_keeps_to_the_screen(width: int) -> None:
    starts = [growing(f"pod-{i}-{'x' * 40}") for i in range(30)] + [command("done", 9.0), failed()]
    lines = plain(panel(starts, at(20), width, 10, io.StringIO())).splitlines()
    assert len(lines) == 10
    assert lines[-1].strip() == "and 23 more starts"
    assert all(cell_len(line) <= width for line in lines)


def test_the_panel_shows_those_under_way_first() -> None:
    first, second = plain(
        panel([command("done", 9.0), growing("busy")], at(20), 100, 10, io.StringIO())
    ).splitlines()
    assert first.split()[0] == "busy"
    assert second.split()[0] == "done"
    assert plain(panel([], at(1), 80, 5, io.StringIO())).strip() == "waiting for a pod"


def test_on_a_terminal_the_panel_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as file, LiveStarts(file) as live:
        live.update([growing("pod-a")], at(10))
        live.update([command("pod-a", 11.0)], at(11))
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:
        pass  # the other side is closed
    os.close(ours)
    assert b"pod-a" in shown
    assert b"\x1b[2K" in shown  # what was drawn is wiped
