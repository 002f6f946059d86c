"""`vllmperf parse-log`: files, what is no log, JSON, exit codes."""

import gzip
import io
import json
from pathlib import Path

import pytest
from parse_texts import START_0_11

from vllmperf.cli import main
from vllmperf.starts.log.parse import parse
from vllmperf.starts.log.source import LONGEST_LINE, Source, blocks


@pytest.fixture
def server_log(tmp_path: Path) -> Path:
    path = tmp_path / "server.log"
    path.write_text(START_0_11, encoding="utf-8")
    return path


def objects(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_json_is_one_object_a_file_on_a_line(server_log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parse-log", "--json", str(server_log), str(server_log)]) == 0
    found = objects(capsys)
    assert [entry["file"] for entry in found] == [str(server_log)] * 2
    assert found[0]["reached_ready"] is True


def test_the_table_names_phases_and_total(server_log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parse-log", str(server_log)]) == 0
    out = capsys.readouterr().out
    assert "weights download" in out
    assert "56 s" in out


def test_a_packed_log_is_unpacked_whatever_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "packed"
    path.write_bytes(gzip.compress(START_0_11.encode()))
    assert main(["parse-log", "--json", str(path)]) == 0
    assert objects(capsys)[0]["vllm_version"] == "0.11.0"


def test_standard_input_is_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(START_0_11.encode())))
    assert main(["parse-log", "--json", "--year", "2024", "--tz", "+02:00", "-"]) == 0
    found = objects(capsys)[0]
    assert (found["file"], found["ready_utc"]) == ("-", "2024-06-21T06:00:56Z")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        (b"", "is empty"),
        (bytes(range(256)) * 200, "is no text"),
        (b"\0" * 10_000, "is no text"),
        (gzip.compress(START_0_11.encode())[:-30], "is a damaged .gz"),
        (b"\x1f\x8bnothing of the kind", "is a damaged .gz"),
    ],
)
def test_what_cannot_be_read_is_one_line_and_the_rest_is_read(
    content: bytes | None, says: str, server_log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad"
    if content is not None:
        bad.write_bytes(content)
    assert main(["parse-log", "--json", str(bad), str(server_log)]) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1
    assert json.loads(captured.out)["file"] == str(server_log)


def test_a_folder_is_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parse-log", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--year", "soon"], ["--year", "12"], ["--tz", "Mars/Base"]])
def test_bad_arguments_are_refused(words: list[str], server_log: Path) -> None:
    try:
        code = main(["parse-log", *words, str(server_log)])
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == 2


@pytest.mark.parametrize("hole", [b"\0" * 5000 + b"\n", b"\0" * 3_000_001])
def test_a_hole_at_the_beginning_of_a_rotated_file_does_no_harm(
    hole: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rotated.log"
    path.write_bytes(hole + START_0_11.encode())
    assert main(["parse-log", "--json", str(path)]) == 0
    assert objects(capsys)[0]["reached_ready"] is True


def test_a_progress_bar_of_many_megabytes_needs_no_time_and_no_memory() -> None:
    bar = b"Loading safetensors checkpoint shards:  10% Completed | 1/9 [00:01<00:09,  1.13s/it]\r" * 60_000
    begin, rest = START_0_11.encode().split(b"(EngineCore_DP0 pid=2) INFO 06-21 08:00:26", 1)
    text = begin + bar + b"\n(EngineCore_DP0 pid=2) INFO 06-21 08:00:26" + rest
    source = Source("x", io.BytesIO(text[1000:]), text[:1000], None, "assumed")
    pieces = list(blocks(source))
    assert b"".join(pieces) == text
    assert max(map(len, pieces)) < 2 * LONGEST_LINE
    log = parse(io.BytesIO(text), year=2026).main
    assert log.reached_ready
    assert log.reported["weights_load_s"] == 5.75
    assert [p.detail for p in log.phases if p.name == "weights_load"] == ["1 of 9 shards"]


@pytest.mark.parametrize(
    ("content", "first"),
    [
        (b"\n\nhello of a proxy\nworld\n", "'hello of a proxy'"),
        (b"x" * 5000, "x" * 100),
        (b'[{"textPayload": "of a proxy"}]', "'of a proxy'"),
        (b"\xef\xbb\xbf\x1b[32mok\x07\n", "'?[32mok?'"),
        (b"\n \n", "it has no line with a text"),
    ],
)
@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_file_without_a_server_is_one_line_with_its_first_line_and_what_was_looked_for(
    content: bytes, first: str, flags: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "proxy.log"
    path.write_bytes(content)
    assert main(["parse-log", *flags, str(path)]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert all(
        part in captured.err for part in (str(path), first, "looked for", "Application startup complete")
    )
    if flags:
        assert json.loads(captured.out)["vllm_version"] is None
    else:
        assert captured.out == ""


def test_a_file_without_a_server_does_not_hide_the_others(
    server_log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "proxy.log"
    path.write_bytes(b"hello\n")
    assert main(["parse-log", str(path), str(server_log)]) == 1
    captured = capsys.readouterr()
    assert "server.log" in captured.out
    assert "proxy.log" not in captured.out
    assert main(["parse-log", str(path), str(server_log), str(tmp_path / "none")]) == 2
