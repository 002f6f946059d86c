"""Collectors, exports and terminals that no table names, lines that come twice, and logs of other servers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parse_texts import START_0_11, log_of, parsed, said

from vllmperf.cli import main

LINES = START_0_11.splitlines()
FAILURE = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
CRASH = [
    *LINES[:6],
    *(f"(EngineCore_DP0 pid=2) ERROR 06-21 08:00:13 [core.py:708] {text}"
      for text in ("EngineCore failed to start.", "Traceback (most recent call last):", FAILURE)),
]  # fmt: skip
STAMP = "2026-06-21T08:00:00.25"
PREFIXES = (
    *("Jun 21 08:00:00 ", "00:00:00 ", "1782028800.123456 ", "[vllm-7d9c6f-abcde] ", "vllm-7d9c6f-abcde vllm "),
    *("vllm stderr | ", "08:00:00 vllm.1   | ", "0: ", "[1,0]<stdout>:", "[default0]:", f"{STAMP}Z 01O "),
    *("app.log:17:", "+", "\t", "vllm[123]: ", "🚀 vllm ", "replica-7 ", "<134>Jun 21 08:00:00 host vllm[77]: "),
    *("[  100.000000] host vllm[77]: ", f"{STAMP}+00:00 vllm/vllm/0123abcd ", "    ", "(task, pid=1234) "),
    *("vllm_vllm.1.abc123xyz456@node-1    | ", "INFO  PyProcess W-187-model-stdout: ", "\x1b]0;x\x07\x1b[2K\x1b[1G"),
)  # fmt: skip
ENTRIES: dict[str, Callable[[int, str], dict[str, Any]]] = {
    "Azure": lambda i, text: {"TimeGenerated": i, "LogMessage": text, "PodName": "p"},
    "Splunk": lambda i, text: {"preview": False, "result": {"_raw": text, "_time": str(i)}},
    "a notebook": lambda i, text: {"stream_name": "stderr", "time": float(i), "data": text + "\n"},
    "text first": lambda i, text: {"Zeile": text, "n": i},
    "text between": lambda i, text: {"seq": i, "Zeile": text, "n": {"pod": "p"}},
}


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


TABLES: dict[str, Callable[[str], str]] = {
    "message last": lambda text: f"{STAMP}Z,h,{quoted(text)}",
    "message first": lambda text: f"{quoted(text)},{STAMP}Z",
    "quoted cells behind": lambda text: f'"{STAMP}Z",{quoted(text)},"1","a ""b"""',
    "a plain cell behind": lambda text: f"5,{quoted(text)},p-1",
    "tabs": lambda text: f"5\t{text}\tp",
}


def same_start(text: str) -> None:
    found, right = parsed(text), log_of(START_0_11)
    assert len(found.attempts) == 1
    assert found.main.reached_ready
    assert found.main.failure is None
    assert found.main.vllm_version == "0.11.0"
    assert said(found.main) == said(right)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_whatever_stands_before_each_line_is_taken_off(prefix: str) -> None:
    same_start("".join(f"{prefix}{line}\n" for line in LINES))


def written(lines: list[str], entry: str, form: str, ascii_only: bool) -> str:
    entries = [ENTRIES[entry](i, line) for i, line in enumerate(lines)]
    if form == "lines":
        return "".join(json.dumps(each, ensure_ascii=ascii_only) + "\n" for each in entries)
    return json.dumps(entries, ensure_ascii=ascii_only, indent=1 if form == "pretty" else None)


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("form", ["lines", "array", "pretty"])
def test_json_with_a_text_under_an_unknown_name_is_read(entry: str, form: str) -> None:
    same_start(written(LINES, entry, form, ascii_only=True))
    failure = log_of(written(CRASH, entry, form, ascii_only=False)).failure
    assert failure is not None
    assert FAILURE in failure.text


@pytest.mark.parametrize("row", TABLES)
def test_rows_of_a_table_are_read(row: str) -> None:
    same_start("Date,Host,Message\n" + "".join(TABLES[row](line) + "\n" for line in LINES))


def test_hard_blanks_are_blanks() -> None:
    same_start(START_0_11.replace(" ", "\u00a0"))


def test_a_logger_with_two_handlers_starts_once() -> None:
    same_start("".join(f"{line}\n{line}\n" for line in LINES))


def test_of_a_group_of_exceptions_the_inner_one_is_the_cause() -> None:
    group = """\
  + Exception Group Traceback (most recent call last):
  |   File "/x/a.py", line 1, in f
  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/x/gpu_worker.py", line 2, in init_device
    | ValueError: the device is in use
    +------------------------------------
"""
    failure = log_of("\n".join(LINES[:5]) + "\n" + group).failure
    assert failure is not None
    assert "ValueError: the device is in use" in failure.text
    assert failure.phase == "worker_init"


UVICORN = "INFO:     Started server process [1]\nINFO:     Application startup complete.\n"
OTHERS = {
    "SGLang": "[2026-05-01 21:12:00] server_args=ServerArgs(model_path='org/m')\n"
    "[2026-05-01 21:12:20] Load weight end. type=LlamaForCausalLM, mem usage=15.08 GB.\n"
    f"{UVICORN}[2026-05-01 21:12:45] The server is fired up and ready to roll!\n",
    "TGI": "2026-05-01T21:12:00.000000Z  INFO text_generation_launcher: Args {\n"
    "2026-05-01T21:12:25.000000Z  INFO text_generation_router::server: router/src/server.rs:2402: Connected\n",
    "llama.cpp": "main: server is listening on http://127.0.0.1:8080 - starting the main loop\n",
    "LiteLLM": f"LiteLLM: Proxy initialized with Config, Set models:\n{UVICORN}",
    "a model of KServe's": "2026-05-01 21:12:00.000 1 kserve INFO [model_server.py:register_model():402] Registering model: x\n"
    "2026-05-01 21:12:00.250 1 uvicorn.error INFO:     Application startup complete.\n",
    "requests alone": 'INFO:     10.0.0.1:5000 - "POST /v1/completions HTTP/1.1" 200 OK\n',
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_log_of_another_server_is_none_of_vllm(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.log"
    path.write_text(OTHERS[name], encoding="utf-8")
    assert main(["parse-log", str(path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "no line of a vLLM server was found" in captured.err


@pytest.mark.parametrize(
    "text",
    [
        f"(APIServer pid=1) {UVICORN.splitlines()[1]}\n",
        f"Capturing CUDA graph shapes: 100%|██████████| 35/35 [00:09<00:00,  3.71it/s]\n{UVICORN}",
        "vllm serve: error: unrecognized arguments: --fast\n",
        'Traceback (most recent call last):\n  File "/usr/local/bin/vllm", line 5, in <module>\n'
        "ImportError: libcudart.so.12: cannot open shared object file\n",
        "Traceback (most recent call last):\nModuleNotFoundError: No module named 'vllm'\n",
    ],
)
def test_little_is_enough_to_know_vllm_by(text: str) -> None:
    assert parsed(text).recognized
