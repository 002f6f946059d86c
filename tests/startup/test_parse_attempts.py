"""What became of a start: ready or not, several starts, failures, logs cut off, text that is served."""

import pytest
from parse_texts import START_0_7, START_0_11, config, log_of, parsed, said

from vllmperf.starts.log.parse import LogParser

READY = "(APIServer pid=1) INFO:     Application startup complete.\n"
TRACEBACK = """\
(EngineCore_DP0 pid=2) ERROR 06-21 08:00:13 [core.py:700] EngineCore failed to start.
(EngineCore_DP0 pid=2) ERROR 06-21 08:00:13 [core.py:700] Traceback (most recent call last):
(EngineCore_DP0 pid=2) ERROR 06-21 08:00:13 [core.py:700]   File "/x/vllm/v1/worker/gpu_worker.py", line 2, in load_model
(EngineCore_DP0 pid=2) ERROR 06-21 08:00:13 [core.py:700]     self.model_runner.load_model()
(EngineCore_DP0 pid=2) ERROR 06-21 08:00:13 [core.py:700] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB
(APIServer pid=1) Traceback (most recent call last):
(APIServer pid=1)   File "/x/vllm/entrypoints/cli/main.py", line 2, in main
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""


def lines(text: str, first: int, last: int) -> str:
    return "".join(text.splitlines(keepends=True)[first - 1 : last])


def test_a_start_has_its_facts() -> None:
    log = log_of(START_0_11)
    assert (log.vllm_version, log.engine, log.platform, log.mode) == ("0.11.0", "V1", "cuda", "serve")
    assert (log.model, log.ranks, log.tp, log.pp, log.dp) == ("org/model", 1, 1, 1, 1)
    assert (log.first_log_ts, log.ready_ts) == ("06-21 08:00:00", "06-21 08:00:56")
    assert log.reached_ready
    assert not log.cut_at_start
    assert log.failure is None


def test_phases_lie_end_to_end_and_say_what_the_server_said() -> None:
    phases = {phase.name: phase for phase in log_of(START_0_11).phases if phase.critical}
    spans = {name: phase.duration_s for name, phase in phases.items() if name != "unattributed"}
    assert spans["config"] == 3
    assert spans["engine_process"] == 7
    assert spans["worker_init"] == 2
    assert spans["weights_download"] == 8
    assert spans["weights_load"] == 6
    assert phases["weights_load"].reported_s == 5.75
    assert spans["compile"] == 11
    assert phases["compile"].detail == "compiled"
    assert spans["graph_capture"] == 7
    assert spans["frontend"] == 2
    assert sum(phase.duration_s or 0 for phase in log_of(START_0_11).phases if phase.critical) == 56


def test_two_starts_in_one_file_are_two_attempts() -> None:
    second = START_0_11.replace("06-21 08:00", "06-21 09:00").replace("32.1993", "16.5")
    found = parsed(START_0_11 + second)
    assert [log.reached_ready for log in found.attempts] == [True, True]
    assert [log.first_log_ts for log in found.attempts] == ["06-21 08:00:00", "06-21 09:00:00"]
    assert [log.reported["weights_gib"] for log in found.attempts] == [32.1993, 16.5]
    assert found.main is found.attempts[1]
    assert found.attempts[1].first_line == START_0_11.count("\n") + 1
    assert found.attempts[1].platform == "cuda"


def test_the_file_shows_the_attempt_that_became_ready() -> None:
    failed = lines(START_0_11, 1, 6) + TRACEBACK
    later = START_0_11.replace("06-21 08:00", "06-21 08:05")
    found = parsed(START_0_11.replace("06-21 08:00", "06-21 07:00") + failed)
    assert found.main is found.attempts[0]
    assert parsed(failed + later).main.first_log_ts == "06-21 08:05:00"
    assert parsed(failed + later).attempts[0].failure is not None


def test_a_failure_is_its_first_exception_with_line_and_phase() -> None:
    log = log_of(lines(START_0_11, 1, 6) + TRACEBACK)
    assert log.failure is not None
    assert log.failure.line == 11
    assert log.failure.text.endswith("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB")
    assert log.failure.phase == "weights_load"
    assert not log.reached_ready
    assert [p.detail for p in log.phases if p.name == "weights_load"] == ["not finished"]


def test_an_error_that_the_start_goes_on_after_is_no_failure() -> None:
    begin, rest = lines(START_0_11, 1, 6), lines(START_0_11, 7, 21)
    harmless = (
        "(EngineCore_DP0 pid=2) ERROR 06-21 08:00:13 [x.py:1] Traceback (most recent call last):\n"
        "(EngineCore_DP0 pid=2) ERROR 06-21 08:00:13 [x.py:1] OSError: 404 of the metadata server\n"
    )
    assert log_of(begin + harmless + rest).failure is None
    cut = log_of(begin + harmless + lines(START_0_11, 7, 12))
    assert cut.failure is None
    assert any("ends before the server was ready" in note for note in cut.notes)


def test_errors_of_a_running_server_are_no_failed_start() -> None:
    log = log_of(START_0_11 + TRACEBACK.replace("08:00:13", "11:11:11"))
    assert log.reached_ready
    assert log.failure is None


@pytest.mark.parametrize(
    ("end", "phase"),
    [
        ("OSError: [Errno 98] Address already in use\n", "config"),
        ("vllm serve: error: unrecognized arguments: --fast\n", "config"),
        ("Segmentation fault (core dumped)\n", "config"),
    ],
)
def test_ends_without_a_traceback_are_failures(end: str, phase: str) -> None:
    log = log_of(lines(START_0_11, 1, 3) + end)
    assert log.failure is not None
    assert (log.failure.text, log.failure.phase, log.failure.line) == (end.strip(), phase, 4)


def test_the_first_cause_of_a_broken_wheel_is_named() -> None:
    warning = "WARNING 06-21 07:59:59 [interface.py:201] Failed to import from vllm._C: ImportError('libc')\n"
    log = log_of(warning + lines(START_0_11, 1, 6) + TRACEBACK)
    assert any("line 1 may be the cause: Failed to import from vllm._C" in note for note in log.notes)


def test_a_log_cut_at_the_start_is_said_to_be() -> None:
    log = log_of(lines(START_0_11, 8, 21))
    assert log.cut_at_start
    assert log.reached_ready
    assert log.vllm_version is None
    assert log.reported["weights_load_s"] == 5.75


def test_a_start_that_goes_on_is_neither_ready_nor_failed() -> None:
    log = log_of(lines(START_0_11, 1, 9))
    assert (log.reached_ready, log.ready_ts, log.failure) == (False, None, None)


def test_an_answered_request_shows_that_it_was_ready() -> None:
    answered = '(APIServer pid=1) INFO:     10.0.0.1:5 - "POST /v1/completions HTTP/1.1" 200 OK\n'
    log = log_of(START_0_11.replace(READY, "") + answered)
    assert log.reached_ready
    assert (log.ready_ts, log.ready_ns) == (None, None)
    assert not log_of(START_0_11.replace(READY, "") + answered.replace("200 OK", "503")).reached_ready


def test_a_server_in_front_that_is_up_first_is_not_the_engine() -> None:
    front = "INFO:     Application startup complete.\n"
    offline = "".join(line for line in START_0_11.splitlines(keepends=True) if "APIServer" not in line)
    assert not log_of(front + offline).reached_ready
    assert log_of(front + offline + front).reached_ready


def test_an_offline_engine_is_one() -> None:
    offline = "".join(line for line in START_0_11.splitlines(keepends=True) if "APIServer" not in line)
    log = log_of(offline)
    assert (log.mode, log.reached_ready) == ("offline", False)
    assert log.reported["init_engine_s"] == 26.86


def test_an_engine_in_another_server_is_embedded() -> None:
    text = START_0_7.split("INFO:     Started")[0].replace("api_server.py:912] vLLM API", "x.py:1] The API")
    log = log_of(text + "INFO 02-24 14:00:00 metrics.py:455] Avg prompt throughput: 1.0 tokens/s\n")
    assert log.mode == "embedded"


SERVED = "It took 3.000000 seconds to fall asleep."


@pytest.mark.parametrize(
    "line",
    [
        f"(APIServer pid=1) INFO 06-21 08:01:00 [logger.py:43] Received request x: prompt: '{SERVED}'",
        f"(APIServer pid=1) INFO 06-21 08:01:00 [logger.py:43] {SERVED}",
        f"(APIServer pid=1) INFO 06-21 08:01:00 [logger.py:43] INFO 06-21 08:01:00 [executor_base.py:1] {SERVED}",
        f"(EngineCore_DP0 pid=2) ERROR 06-21 08:01:00 [executor_base.py:1] {SERVED}",
        SERVED,
        f"INFO 06-21 08:01:00 [executor_base.py:1] {SERVED}",
        f"INFO:     {SERVED}",
        "(APIServer pid=1) INFO 06-21 08:01:00 [serving_chat.py:1] vLLM API server version 0.1",
        "INFO 06-21 08:01:00 [api_server.py:1] vLLM API server version 0.1",
        f"(EngineCore_DP0 pid=2) ERROR 06-21 08:01:00 [dump_input.py:72] Dumping input data for V1 LLM engine (v0.1) with "
        f"config: {config(tp=9)}",
    ],
)  # fmt: skip
def test_served_text_is_no_marker(line: str) -> None:
    found = parsed(START_0_11 + line + "\n")
    assert len(found.attempts) == 1
    assert found.main.sleep == ()
    assert (found.main.tp, found.main.vllm_version) == (1, "0.11.0")


def test_sleep_and_wake_are_cycles() -> None:
    text = """\
(EngineCore_DP0 pid=2) INFO 06-21 08:02:00 [gpu_worker.py:1] Sleep mode freed 53.45 GiB memory, 20.25 GiB memory is still in use.
(EngineCore_DP0 pid=2) INFO 06-21 08:02:00 [executor_base.py:1] It took 0.500000 seconds to fall asleep.
(EngineCore_DP0 pid=2) INFO 06-21 08:03:00 [executor_base.py:1] It took 0.250000 seconds to wake up tags {'weights'}.
(EngineCore_DP0 pid=2) INFO 06-21 08:03:01 [abstract.py:1] It took 0.125000 seconds to wake up tags ['kv_cache', 'weights'].
"""
    cycles = log_of(START_0_11 + text).sleep
    assert [(c.kind, c.duration_s, c.tags) for c in cycles] == [
        ("sleep", 0.5, ()),
        ("wake", 0.25, ("weights",)),
        ("wake", 0.125, ("kv_cache", "weights")),
    ]
    assert (cycles[0].freed_gib, cycles[0].in_use_gib) == (53.45, 20.25)


def test_a_long_time_of_traffic_hides_nothing() -> None:
    access = '(APIServer pid=1) INFO:     10.0.0.1:5 - "POST /v1/completions HTTP/1.1" 200 OK\n' * 40_000
    asleep = f"(EngineCore_DP0 pid=2) INFO 06-21 09:02:00 [executor_base.py:1] {SERVED}\n"
    again = START_0_11.replace("06-21 08:00", "06-21 10:00")
    found = parsed(START_0_11 + access + asleep + access + again + access)
    assert [log.reached_ready for log in found.attempts] == [True, True]
    assert found.attempts[0].sleep[0].line == START_0_11.count("\n") + 40_001
    assert found.main.first_log_ts == "06-21 10:00:00"
    assert found.lines == 2 * START_0_11.count("\n") + 120_001
    assert said(found.main) == said(log_of(START_0_11))


def test_a_parser_that_is_fed_knows_at_any_time() -> None:
    parser = LogParser(year=2026)
    for line in START_0_11.encode().splitlines()[:-1]:
        parser.feed(line)
        assert not parser.result().main.reached_ready
    parser.feed(START_0_11.encode().splitlines()[-1], stamp_ns=1_782_028_857_500_000_000)
    log = parser.result().main
    assert log.reached_ready
    assert log.reported == log_of(START_0_11).reported


def test_a_file_without_a_server_says_so() -> None:
    found = parsed("hello\nworld\n")
    assert found.notes == ("no line of a vLLM server was found",)
    assert found.main.phases == ()


def test_much_other_text_hides_nothing() -> None:
    other = "2026-01-01 00:00:00,123 [worker-1] DEBUG com.example.Foo - handled request in 12 ms\n" * 25_000
    found = parsed(lines(START_0_11, 1, 6) + other + lines(START_0_11, 7, 21) + other)
    assert said(found.main) == said(log_of(START_0_11))
    assert found.main.reached_ready
    failed = log_of(lines(START_0_11, 1, 6) + other + TRACEBACK).failure
    assert failed is not None
    assert failed.line == 25_000 + 11


def test_an_exception_that_python_ignores_is_no_failure() -> None:
    ignored = (
        "Exception ignored in: <function Event.__del__ at 0x7f>\nTraceback (most recent call last):\n"
        '  File "/x/cupy.py", line 5, in __del__\nAttributeError: no attribute\n'
    )
    assert log_of(lines(START_0_11, 1, 6) + ignored).failure is None


def test_a_traceback_of_the_front_end_that_the_engine_goes_on_after_is_no_failure() -> None:
    dump = (
        "(APIServer pid=1) ERROR 06-21 08:00:03 [config.py:1] Traceback (most recent call last):\n"
        "(APIServer pid=1) ERROR 06-21 08:00:03 [config.py:1] OSError: safetensors metadata: 404\n"
    )
    assert log_of(lines(START_0_11, 1, 3) + dump + lines(START_0_11, 4, 12)).failure is None


def test_a_worker_that_dies_while_its_sisters_go_on_is_a_failure() -> None:
    text = lines(START_0_11, 1, 5)
    for rank in range(4):
        text += f"(VllmWorker TP{rank} pid=7{rank}) INFO 06-21 08:00:12 [x_runner.py:1] Starting to load model m...\n"
    text += "(VllmWorker TP1 pid=71) ERROR 06-21 08:00:13 [multiproc_executor.py:1] Traceback (most recent call last):\n"
    text += (
        "(VllmWorker TP1 pid=71) ERROR 06-21 08:00:13 [multiproc_executor.py:1] RuntimeError: NCCL error\n"
    )
    for rank in (0, 2, 3):
        text += f"(VllmWorker TP{rank} pid=7{rank}) INFO 06-21 08:00:14 [default_loader.py:1] Loading weights took 1.00 seconds\n"
    failure = log_of(text).failure
    assert failure is not None
    assert failure.text.endswith("RuntimeError: NCCL error")
    assert failure.phase == "weights_load"


def test_a_script_that_fails_after_its_engine_started_is_no_failed_start() -> None:
    offline = "".join(line for line in START_0_11.splitlines(keepends=True) if "APIServer" not in line)
    end = '[rank0]: Traceback (most recent call last):\n[rank0]:   File "x.py", line 1, in <module>\n[rank0]: ValueError: mine\n'
    assert log_of(offline + end).failure is None
    before = offline.split("(EngineCore_DP0 pid=2) INFO 06-21 08:00:26")[0]
    failure = log_of(before + end).failure
    assert failure is not None
    assert failure.text == "[rank0]: ValueError: mine"


@pytest.mark.parametrize(
    "end",
    [
        "bash: line 1:    12 Killed                  vllm serve org/model",
        "[1]    12345 killed     vllm serve org/model",
        "docker: Error response from daemon: could not select device driver",
        "[node-1:12:0] FATAL: UCX library was compiled with avx but CPU does not support it.",
    ],
)
def test_what_shells_and_runtimes_say_of_a_death_is_a_failure(end: str) -> None:
    failure = log_of(lines(START_0_11, 1, 3) + end + "\n").failure
    assert failure is not None
    assert failure.text == end
