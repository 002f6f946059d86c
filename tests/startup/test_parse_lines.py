"""Lines of every form: who printed them, when, from where, and what they say."""

import pytest
from hostile_texts import marker_texts, random_text

from vllmperf.starts.log.envelope import Wrapped, unwrap
from vllmperf.starts.log.failure import is_end
from vllmperf.starts.log.lines import Line, is_bare, read
from vllmperf.starts.log.text import decode, pieces, plain

HEADER = "INFO 04-15 07:11:53"


@pytest.mark.parametrize(
    ("text", "name", "pid", "kind", "rank"),
    [
        (f"{HEADER} api_server.py:149] said", "", None, "", None),
        (f"{HEADER} [__init__.py:256] said", "", None, "", None),
        (f"(RayWorkerVllm pid=7) {HEADER} x.py:1] said", "RayWorkerVllm", 7, "worker", None),
        (f"(RayWorkerWrapper pid=7, ip=10.0.0.2) {HEADER} x.py:1] said", "RayWorkerWrapper", 7, "worker", None),
        (f"(VllmWorkerProcess pid=7) {HEADER} x.py:1] said", "VllmWorkerProcess", 7, "worker", None),
        (f"(VllmWorker rank=3 pid=7) {HEADER} [x.py:1] said", "VllmWorker", 7, "worker", "3"),
        (f"(VllmWorker TP1 pid=7) {HEADER} [x.py:1] said", "VllmWorker", 7, "worker", "TP1"),
        (f"(APIServer pid=7) {HEADER} [x.py:1] said", "APIServer", 7, "api", None),
        (f"(ApiServer_1 pid=7) {HEADER} [x.py:1] said", "ApiServer_1", 7, "api", None),
        (f"(EngineCore_0 pid=7) {HEADER} [x.py:1] said", "EngineCore_0", 7, "engine", "0"),
        (f"(EngineCore_DP2 pid=7) {HEADER} [x.py:1] said", "EngineCore_DP2", 7, "engine", "2"),
        (f"(EngineCore pid=7) {HEADER} [x.py:1] said", "EngineCore", 7, "engine", None),
        (f"(Worker_DP1_TP0_EP8 pid=7) {HEADER} [x.py:1] said", "Worker_DP1_TP0_EP8", 7, "worker", "DP1_TP0_EP8"),
        (f"(Worker_PP1 pid=7) {HEADER} [x.py:1] said", "Worker_PP1", 7, "worker", "PP1"),
        (f"(Worker pid=7) {HEADER} [x.py:1] said", "Worker", 7, "worker", None),
        (f"(EngineCore_0 pid=9) (RayWorkerWrapper pid=7, ip=::1) {HEADER} [x.py:1] said", "RayWorkerWrapper", 7,
         "worker", None),
        (f"(MapWorker(MapBatches(LLM)) pid=3) (EngineCore_0 pid=7) {HEADER} [x.py:1] said", "EngineCore_0", 7, "engine", "0"),
        (f"(pid=7) {HEADER} [x.py:1] said", "", 7, "", None),
        (f"[pod-7] (APIServer pid=7) {HEADER} [x.py:1] said", "APIServer", 7, "api", None),
        (f"(APIServer pid=7) pod-7 {HEADER} [x.py:1] said", "APIServer", 7, "api", None),
    ],
)  # fmt: skip
def test_every_prefix_names_its_process(
    text: str, name: str, pid: int | None, kind: str, rank: str | None
) -> None:
    line = read(Wrapped(text))
    assert (line.process.name, line.process.pid, line.process.kind, line.process.rank) == (
        name,
        pid,
        kind,
        rank,
    )
    assert (line.logger, line.level, line.message) == ("vllm", "INFO", "said")
    assert str(line.stamp) == "04-15 07:11:53"


def test_a_path_in_the_bracket_is_its_file() -> None:
    assert read(Wrapped(f"{HEADER} [v1/worker/gpu_worker.py:548] x")).file == "gpu_worker.py"
    assert read(Wrapped(f"{HEADER} [model_executor/.../utils/fp8_utils.py:1] x")).file == "fp8_utils.py"


def test_ray_says_how_often_a_line_came() -> None:
    line = read(Wrapped(f"(RayWorkerWrapper pid=7) {HEADER} [x.py:1] said [repeated 7x across cluster]"))
    assert (line.message, line.repeated) == ("said", 7)


@pytest.mark.parametrize(
    ("text", "logger", "message"),
    [
        ("INFO:     Application startup complete.", "uvicorn", "Application startup complete."),
        ("(APIServer pid=1) INFO:     Application startup complete.", "uvicorn", "Application startup complete."),
        ("2026-08-04 13:16:47,790 - INFO - autotuner.py:622 - flashinfer.jit: [Autotuner]: ends", "flashinfer",
         "[Autotuner]: ends"),
        ("2024-12-12 05:28:04,536\tINFO worker.py:1634 -- Connected", "ray", "Connected"),
        ("2026-01-01 12:00:00,123 - vllm.engine.core - INFO - said", "vllm", "said"),
        ("INFO:vllm.engine.core:said", "vllm", "said"),
        ("[aiter] start build", "", "[aiter] start build"),
        ("", "", ""),
    ],
)  # fmt: skip
def test_other_loggers_are_told_apart(text: str, logger: str, message: str) -> None:
    line = read(Wrapped(text))
    assert (line.logger, line.message) == (logger, message)


def test_a_date_that_is_none_is_no_stamp() -> None:
    assert read(Wrapped("INFO 13-32 25:61:99 [x.py:1] said")).stamp is None


@pytest.mark.parametrize("escape", ["\x1b", "^[", "←", r"\x1b", r"\u001b", r"\033", r"\e", "#033", ""])
def test_colours_are_taken_off_however_they_are_spelled(escape: str) -> None:
    coloured = f"{escape}[1;36m(APIServer pid=7){escape}[0;0m {escape}[32mINFO{escape}[0m 04-15 07:11:53 [x.py:1] [a] b"
    assert plain(coloured) == "(APIServer pid=7) INFO 04-15 07:11:53 [x.py:1] [a] b"


def test_brackets_of_files_are_no_colours() -> None:
    assert plain("ERROR [multiproc_executor.py:8] [m") == "ERROR [multiproc_executor.py:8] [m"


def test_a_progress_bar_is_the_pieces_it_was_printed_in() -> None:
    assert pieces("0%|\r50%|\r100%|") == ["0%|", "50%|", "100%|"]
    assert pieces("whole\r") == ["whole"]
    assert pieces("spelled^M") == ["spelled"]


def test_stray_bytes_do_no_harm() -> None:
    assert decode(b"\xef\xbb\xbfa\0b\xff") == "ab�"


@pytest.mark.parametrize(
    "text",
    ["Loading safetensors checkpoint shards: 100% Completed | 2/2 [00:00<00:00, 70.07it/s]", "text", "{not json",
     "| 0  N/A |"],
)  # fmt: skip
def test_what_is_no_envelope_stays(text: str) -> None:
    assert unwrap(text).text == text


def test_a_line_that_is_taken_for_a_mere_message_is_one_by_every_pattern_too() -> None:
    said = [
        said for seed in range(60) for said in random_text(seed, 4000).decode("utf-8", "replace").split("\n")
    ]
    said += [write(200).decode("utf-8", "replace").split("\n")[0] for _, write in marker_texts()]
    bare = {text for text in said if is_bare(text)}
    assert len(bare) > 100
    for text in bare:
        assert plain(text) == text
        assert pieces(text) == [text]
        assert unwrap(text) == Wrapped(text)
        assert read(Wrapped(text)) == Line(text)


@pytest.mark.parametrize(
    "text",
    [
        "INFO: x",
        "a | x",
        "a: 08:00:00 x",
        "(a pid=1) x",
        "a (b pid=1) x",
        "[1;31mx",
        "a[0mx",
        "1 x",
        " x",
        "{}",
        "",
    ],
)
def test_a_line_with_anything_around_its_message_is_no_mere_message(text: str) -> None:
    assert not is_bare(text)


@pytest.mark.parametrize(
    "text",
    ["Killed", "x: 12 Killed ./vllm", "bash: line 1: 12 killed  vllm serve", "Terminated", "a: Segmentation fault",
     "Bus error (core dumped)", "Aborted", "Illegal instruction", "Fatal Python error: Aborted",
     "!!!!!!! Segfault encountered !!!!!!!", "vllm serve: error: x", "api_server.py: error: x",
     "docker: Error response from daemon: x", "exec: executable file not found in $PATH",
     "[Errno 98] error while attempting to bind on address ('', 1)", "[gw] FATAL: x", "terminate called after x",
     "bash: vllm: command not found", "vllm: No such file or directory", "[E1 a.cpp:1] Watchdog caught x",
     "[E1 a.cpp:1] watchdog thread terminated", "[E1 a.cpp:1] NCCL error", "  what(): x",
     "kernel: Out of memory: Killed process 1", "kernel: oom-kill:x", "kernel: Memory cgroup out of memory",
     "Worker proc x died", "Worker x pid 1 died", "The actor is dead", "worker process has died",
     "A process in the process pool was terminated", "docker.errors.ImageNotFound: x", "torch.OutOfMemoryError: x",
     "SystemExit: 1", "KeyboardInterrupt", "BuildFailure: x"],
)  # fmt: skip
def test_each_wording_of_an_end_is_one(text: str) -> None:
    assert is_end(text)
