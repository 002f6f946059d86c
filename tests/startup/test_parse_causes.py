"""Why a start failed: the first line that names the cause, not what echoes it."""

import pytest
from parse_texts import START_0_11, config, log_of

BEGIN = f"""\
(APIServer pid=1) INFO 05-01 21:12:00 [api_utils.py:339] vLLM server version 0.20.1, serving model org/m
(EngineCore pid=187) INFO 05-01 21:12:15 [core.py:112] Initializing a V1 LLM engine (v0.20.1) with config: {config(tp=2)}
(EngineCore pid=187) INFO 05-01 21:12:18 [core.py:112] Starting to load model org/m...
"""
ECHO = (
    "(APIServer pid=1) Traceback (most recent call last):\n"
    '(APIServer pid=1)   File "/x/vllm/v1/engine/utils.py", line 2, in wait_for_engine_startup\n'
    "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): "
    "{'EngineCore': -9}\n"
)
CORE = "(EngineCore pid=187) ERROR 05-01 21:13:00"
DIED = f"{CORE} [multiproc_executor.py:280] Worker proc VllmWorker-0 died unexpectedly, shutting down executor.\n"
CANCELLED = f"{CORE} [core.py:700] EngineCore failed to start.\n" + "".join(
    f"{CORE} [core.py:700] {text}\n"
    for text in (
        "Traceback (most recent call last):",
        '  File "/x/vllm/v1/executor/multiproc_executor.py", line 2, in collective_rpc',
        "RuntimeError: cancelled",
    )
)
TIMED_OUT = CANCELLED.replace("RuntimeError: cancelled", "TimeoutError: RPC call to load_model timed out.")
WATCHDOG = (
    "[rank{rank}]:[E501 21:12:59.{rank}00000 ProcessGroupNCCL.cpp:629] [Rank {rank}] Watchdog caught collective operation "
    "timeout: WorkNCCL(SeqNum=2, OpType=ALLREDUCE) ran for 600059 milliseconds before timing out.\n"
)
OLD_WATCHDOG = (
    "[E ProcessGroupNCCL.cpp:475] [Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=2)\n"
)
TERMINATE = (
    "terminate called after throwing an instance of 'c10::DistBackendError'\n"
    "  what():  [PG ID 2 PG GUID 3 Rank 0] Process group watchdog thread terminated with exception\n"
)
WORKER_OOM = (
    "(Worker_TP0 pid=200) ERROR 05-01 21:12:50 [multiproc_executor.py:700] WorkerProc failed to start.\n"
    "(Worker_TP0 pid=200) ERROR 05-01 21:12:50 [multiproc_executor.py:700] Traceback (most recent call last):\n"
    "(Worker_TP0 pid=200) ERROR 05-01 21:12:50 [multiproc_executor.py:700] torch.OutOfMemoryError: CUDA out of memory.\n"
)
KERNEL = "[ 1234.567890] Out of memory: Killed process 200 (python3) total-vm:1kB, anon-rss:1kB\n"
UNIT = "May 01 21:13:00 node kernel: vllm.service: "
GONE = (
    f"{UNIT}Main process exited, code=killed, status=9/KILL\n{UNIT}Failed with result 'signal'.\n"
    f"{UNIT}Main process exited, code=exited, status=0/SUCCESS\n"
)
V0_DIED = "ERROR 07-01 13:54:43 multiproc_worker_utils.py:120] Worker VllmWorkerProcess pid 1159 died, exit code: -6\n"


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        (DIED + ECHO, "VllmWorker-0 died unexpectedly"),
        (DIED + CANCELLED + ECHO, "VllmWorker-0 died unexpectedly"),
        (DIED + TIMED_OUT + ECHO, "VllmWorker-0 died unexpectedly"),
        (WORKER_OOM + DIED + CANCELLED + ECHO, "CUDA out of memory"),
        (DIED + WORKER_OOM + CANCELLED + ECHO, "CUDA out of memory"),
        (KERNEL + DIED + ECHO, "Out of memory: Killed process 200"),
        (DIED + KERNEL + ECHO, "Out of memory: Killed process 200"),
        (WATCHDOG.format(rank=0) + TERMINATE + DIED + ECHO, "[Rank 0] Watchdog caught"),
        (WATCHDOG.format(rank=1) + WATCHDOG.format(rank=0) + TERMINATE, "[Rank 1] Watchdog caught"),
        (V0_DIED + WATCHDOG.format(rank=0) + TERMINATE, "[Rank 0] Watchdog caught"),
        (OLD_WATCHDOG + TERMINATE, "Watchdog caught"),
        (f"(RayWorkerWrapper pid=4009) {OLD_WATCHDOG}" + TERMINATE, "Watchdog caught"),
        (V0_DIED, "pid 1159 died"),
        (TERMINATE, "what():  [PG ID 2"),
        ("terminate called without an active exception\n" + ECHO, "terminate called"),
        ("Fatal Python error: Segmentation fault\n" + DIED + ECHO, "Fatal Python error"),
        ("!!!!!!! Segfault encountered !!!!!!!\n" + DIED + ECHO, "Segfault encountered"),
        (CANCELLED + ECHO, "RuntimeError: cancelled"),
        (ECHO, "Engine core initialization failed"),
        (
            f"{CORE} [core_client.py:600] Engine core proc EngineCore_DP0 died unexpectedly, shutting down client.\n"
            + ECHO,
            "Engine core proc EngineCore_DP0 died",
        ),
        ("bash: line 1: vllm: command not found\n", "command not found"),
        (UNIT + "A process of this unit has been killed by the OOM killer.\n" + GONE, "killed by the OOM killer"),
        (WORKER_OOM + GONE, "CUDA out of memory"),
        (ECHO + GONE, "Engine core initialization failed"),
        (GONE, "code=killed, status=9/KILL"),
        ("vllm-1 exited with code 137\n", "exited with code 137"),
        ("command terminated with exit code 137\n", "exit code 137"),
        (UNIT.replace("vllm.service", "python3[77]") + "segfault at 0 ip 00007f error 4 in libcuda.so\n", "segfault at 0"),
        ("./start.sh: line 12:  42 Illegal instruction     (core dumped) vllm serve m\n", "Illegal instruction"),
        ("bash: line 1:    12 Killed                  vllm serve org/m\n", "12 Killed"),
        ("[1]+  12345 killed     vllm serve org/m\n", "12345 killed"),
        ("./run.sh: line 7:   812 Segmentation fault      (core dumped) vllm serve m\n", "Segmentation fault"),
    ],
)  # fmt: skip
def test_the_cause_is_named_and_not_its_echo(lines: str, cause: str) -> None:
    log = log_of(BEGIN + lines)
    assert not log.reached_ready
    assert log.failure is not None
    assert cause in log.failure.text


@pytest.mark.parametrize("prefix", ["", "  | ", "{n:6}\t", "2026-05-01T21:13:00.123456789Z ", "vllm-0 vllm "])
def test_the_cause_is_found_behind_a_prefix(prefix: str) -> None:
    text = (BEGIN + DIED + CANCELLED + WATCHDOG.format(rank=0) + TERMINATE + ECHO).splitlines()
    log = log_of("".join(prefix.format(n=n) + line + "\n" for n, line in enumerate(text, 1)))
    assert log.failure is not None
    assert "[Rank 0] Watchdog caught" in log.failure.text


@pytest.mark.parametrize("line", [DIED, WATCHDOG.format(rank=0), TERMINATE, KERNEL])
def test_after_the_server_is_ready_nothing_of_this_failed_the_start(line: str) -> None:
    log = log_of(START_0_11 + line)
    assert log.reached_ready
    assert log.failure is None


def test_a_worker_that_died_is_in_the_phase_that_the_start_was_in() -> None:
    failure = log_of(BEGIN + DIED + ECHO).failure
    assert failure is not None
    assert (failure.phase, failure.line) == ("weights_load", 4)


@pytest.mark.parametrize(
    "line",
    [
        "The documentation says that a worker died once.",
        "INFO 05-01 21:12:20 [x.py:1] Worker 3 of 4 started, none died",
        "UserWarning: Killed workers are restarted",
        "what a start",
    ],
)
def test_a_sentence_with_such_words_is_no_failure(line: str) -> None:
    assert log_of(BEGIN + line + "\n").failure is None
