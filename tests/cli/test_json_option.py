"""--json prints JSON, --json FILE writes it beside the table; exit codes are those of one table."""

import json
from pathlib import Path

import pytest

from vllmperf import errors, exit_codes
from vllmperf.cli import json_option, main

DOCS = Path(__file__).parents[2] / "docs"
LOG = """\
INFO 06-21 08:00:00 [api_server.py:1839] vLLM API server version 0.11.0
INFO 06-21 08:00:10 [core.py:77] Initializing a V1 LLM engine (v0.11.0) with config: model='m'
"""
READY = "INFO:     Application startup complete.\n"
FAILED = "ERROR 06-21 08:00:12 [core.py:700] torch.OutOfMemoryError: CUDA out of memory.\n"


@pytest.mark.parametrize(
    ("words", "target"),
    [
        ("parse-log --json server.log", "-"),
        ("parse-log server.log --json out.json", "out.json"),
        ("parse-log --json out.json server.log", "out.json"),
        ("parse-log --json -", "-"),
        ("fit --json one.json two.json", "-"),
        ("fit one.json two.json --batch 1,64 --json two.json", "two.json"),
        ("fit --base-url http://h:1 --json out.json", "out.json"),
        ("fit --base-url http://h:1 --json one.json", "one.json"),  # of an earlier fit
        ("fit --json one.json --host=h", "one.json"),
        ("capacity --json out.txt --ttft 9", "out.txt"),
        ("capacity --json --ttft 9", "-"),
        ("size one.json --json", "-"),
        ("size one.json --json -", "-"),
        ("report --json - one.json", "-"),
    ],
)
def test_a_word_behind_json_is_its_file_unless_the_command_has_to_read_it(
    words: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one.json", "two.json"):
        Path(name).touch()
    assert f"--json={target}" in json_option.settled(words.split())


def test_a_file_of_json_stands_beside_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, out = tmp_path / "a.log", tmp_path / "out.json"
    log.write_text(LOG + READY)
    assert main(["parse-log", str(log), "--json", str(out)]) == 0
    assert "from first line to server up" in capsys.readouterr().out
    assert json.loads(out.read_text())["reached_ready"] is True


@pytest.mark.parametrize(
    ("text", "code"),
    [(LOG + READY, exit_codes.OK), (LOG + FAILED, exit_codes.FAILED), ("hello\n", exit_codes.FAILED)],
)
def test_a_failed_start_and_a_file_without_a_server_end_with_1(text: str, code: int, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text(text)
    assert main(["parse-log", str(path)]) == code


def test_help_and_docs_show_the_one_table_of_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    help_text = " ".join(capsys.readouterr().out.split())
    for code, meaning in exit_codes.EXIT_CODES.items():
        assert f"{code} {meaning}" in help_text
    assert (DOCS / "exit_codes.md").read_text(encoding="utf-8") == exit_codes.page()


def test_errors_end_with_codes_of_the_table() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert {kind.exit_code for kind in kinds if issubclass(kind, errors.VllmperfError)} <= {
        *exit_codes.EXIT_CODES
    }
