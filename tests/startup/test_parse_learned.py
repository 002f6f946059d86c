"""Lines in envelopes that no table knows, broken logos, and what failed where little else is told."""

import pytest
from parse_texts import START_0_11, config, log_of, parsed

from vllmperf.starts.log.learned import Learned
from vllmperf.starts.log.lines import Line

FAILED = """\
(APIServer pid=1) INFO 06-21 08:00:01 [api_server.py:1839] vLLM API server version 0.11.0
(EngineCore_DP0 pid=2) ERROR 06-21 08:00:10 [core.py:708] EngineCore failed to start.
(EngineCore_DP0 pid=2) ERROR 06-21 08:00:10 [core.py:708] Traceback (most recent call last):
(EngineCore_DP0 pid=2) ERROR 06-21 08:00:10 [core.py:708]   File "/x/gpu_worker.py", line 2, in load_model
(EngineCore_DP0 pid=2) ERROR 06-21 08:00:10 [core.py:708] {error}
(APIServer pid=1) Traceback (most recent call last):
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.
"""
COLLECTORS = (
    "2026-06-21 08:{minute:02}:00.{number:03} [Info] (Server) ",
    "2026-06-21T08:00:{minute:02},{number:03} [INFO ] W-9000-m_1.0-{stream} MODEL_LOG - ",
    "июн 21 08:00:{minute:02} host python3[{number}]: ",
    "2026-06-21 08:00:{minute:02},{number:03} - __main__ - INFO - ",
    "vLLM {STREAM}: ",
    "[1,{number}]<{stream}>:",
    "2026-06-21T08:00:{minute:02}.{number}000Z app[web.1]: ",
    "17500000{minute:02}{number},",
    "(head, rank=0, pid=2310) ",
)


def collected(text: str, collector: str) -> str:
    """Every line in an envelope, in which numbers and streams differ."""
    out = []
    for number, line in enumerate(text.splitlines()):
        stream = ("stdout", "stderr")[number % 2]
        out.append(
            collector.format(minute=number % 60, number=100 + number, stream=stream, STREAM=stream.upper())
            + line
        )
    return "\n".join(out) + "\n"


@pytest.mark.parametrize("collector", COLLECTORS)
def test_an_envelope_that_no_table_knows_is_learned(collector: str) -> None:
    plain, found = log_of(START_0_11), log_of(collected(START_0_11, collector))
    for name in ("vllm_version", "platform", "mode", "tp", "first_log_ts", "ready_ts", "reported"):
        assert getattr(found, name) == getattr(plain, name), name


@pytest.mark.parametrize("collector", COLLECTORS)
def test_a_traceback_in_a_learned_envelope_is_read(collector: str) -> None:
    failure = log_of(collected(FAILED.format(error="ValueError: broken"), collector)).failure
    assert failure is not None
    assert failure.text.endswith("ValueError: broken")
    assert failure.line == 5


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        ('"2026-06-21T08:00:{minute:02}.1Z","', '"'),
        ('time="2026-06-21T08:00:{minute:02}Z" level=info msg="', '"'),
        ('[0] kube.x: [[17500000{minute:02}.5, {{}}], {{"log"=>"', '"}]'),
    ],
)
def test_an_envelope_that_closes_behind_the_line_is_learned(before: str, behind: str) -> None:
    failed = FAILED.format(error="ValueError: broken").replace('"/x/gpu_worker.py"', "x")
    text = collected(failed, before).replace("\n", f"{behind}\n")
    found = log_of(text)
    assert found.vllm_version == "0.11.0"
    assert found.failure is not None
    assert found.failure.line == 5


def test_a_bar_before_a_header_is_no_envelope() -> None:
    bar = "2026-06-21T08:00:12.5Z Loading x 100% Completed | 4/4 [00:01<00:00, 2.5it/s] "
    head = "INFO 06-21 08:00:12 [default_loader.py:1] "
    text = f"{bar}{head}Loading weights took 1.50 seconds\n{bar}{head}Loading weights took 2.50 seconds\n"
    assert log_of(text).reported["weights_load_s"] == 2.5


def test_what_fails_while_the_drafter_is_loaded_fails_in_loading() -> None:
    seen = """\
(EngineCore_DP0 pid=2) INFO 06-21 08:00:08 [gpu_model_runner.py:1] Starting to load model org/model...
(EngineCore_DP0 pid=2) INFO 06-21 08:00:09 [default_loader.py:1] Loading weights took 1.00 seconds
(EngineCore_DP0 pid=2) INFO 06-21 08:00:09 [gpu_model_runner.py:1] Loading drafter model...
"""
    failure = log_of(seen + "".join(FAILED.format(error="ValueError: broken").splitlines(True)[1:5])).failure
    assert failure is not None
    assert failure.phase == "weights_load"


def test_text_with_a_stamp_that_a_client_sent_teaches_nothing() -> None:
    answer = 'INFO:     10.0.0.1:5000 - "POST /v1/completions HTTP/1.1" 200 OK\n'
    quoted = (
        "2026-06-21 09:00:00 [Info] (x) INFO 06-21 09:00:00 [api_server.py:1] vLLM API server version 9.9\n"
    )
    found = parsed(START_0_11 + answer + quoted)
    assert [log.vllm_version for log in found.attempts] == ["0.11.0"]


@pytest.mark.parametrize("logo", ["  ?? ?? ?     ?     ? ??? ?  ", "  â–„â–„ â–„â–ˆ â–ˆ     â–ˆ     â–ˆ  "])
def test_a_logo_that_the_terminal_could_not_print_tells_the_version(logo: str) -> None:
    head = "(APIServer pid=1) INFO 06-21 08:00:01 [utils.py:299] "
    found = log_of(f"{head}{logo}version 0.19.0\n{head}{logo}model   org/model\n")
    assert (found.vllm_version, found.model) == ("0.19.0", "org/model")


def test_a_sentence_with_the_word_version_is_no_logo() -> None:
    assert log_of("INFO 06-21 08:00:01 [utils.py:299] Found nccl version 2.27.3\n").vllm_version is None


@pytest.mark.parametrize(
    ("error", "platform"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried", "cuda"),
        ("torch.OutOfMemoryError: HIP out of memory. Tried", "rocm"),
        ("torch.OutOfMemoryError: XPU out of memory. Tried", "xpu"),
        ("RuntimeError: NPU out of memory. Tried", "npu"),
        ("ModuleNotFoundError: No module named 'neuronx_distributed'", "neuron"),
        ("ValueError: broken", None),
    ],
)
def test_the_words_of_a_failure_tell_the_platform(error: str, platform: str | None) -> None:
    assert log_of(FAILED.format(error=error)).platform == platform


def test_a_device_that_was_asked_for_is_the_platform() -> None:
    text = "INFO 06-14 08:15:45 api_server.py:177] vLLM API server version 0.5.0\nINFO 06-14 08:15:45 "
    asked = text + "api_server.py:178] args: Namespace(model='m', device='neuron', tensor_parallel_size=2)\n"
    assert log_of(asked).platform == "neuron"
    assert log_of(asked.replace("'neuron'", "'auto'")).platform is None


def test_a_cache_too_small_fails_at_the_cache() -> None:
    text = f"INFO 08-15 10:00:02 llm_engine.py:174] Initializing an LLM engine (v0.5.4) with config: {config()}\n"
    text += "INFO 08-15 10:00:19 gpu_executor.py:56] # GPU blocks: 835, # CPU blocks: 1000\n"
    text += "Traceback (most recent call last):\nValueError: The max seq len (9) is larger than the KV cache (8).\n"
    failure = log_of(text).failure
    assert failure is not None
    assert failure.phase == "kv_cache"


def test_without_the_log_s_beginning_the_traceback_tells_the_phase() -> None:
    failure = log_of("".join(FAILED.format(error="ValueError: broken").splitlines(True)[1:5])).failure
    assert failure is not None
    assert failure.phase == "weights_load"


def test_a_port_in_use_is_seen_after_the_application_s_start() -> None:
    late = "ERROR:    [Errno 98] error while attempting to bind on address ('0.0.0.0', 8000): in use\n"
    found = log_of(START_0_11 + late)
    assert not found.reached_ready
    assert found.ready_ts is None
    assert found.failure is not None
    assert found.failure.phase == "frontend"


def test_a_release_without_process_names_after_one_with_them_that_failed_is_a_start() -> None:
    second = """\
INFO 06-21 09:00:00 [__init__.py:239] Automatically detected platform cuda.
INFO 06-21 09:00:03 [api_server.py:1043] vLLM API server version 0.8.5
INFO:     Application startup complete.
"""
    found = parsed(FAILED.format(error="ValueError: broken") + second)
    assert [log.vllm_version for log in found.attempts] == ["0.11.0", "0.8.5"]
    assert [log.reached_ready for log in found.attempts] == [False, True]
    assert found.attempts[1].first_log_ts == "06-21 09:00:00"


def test_a_row_that_ends_within_the_blocks_tells_both_numbers() -> None:
    first = (
        f"INFO 08-15 10:00:02 llm_engine.py:174] Initializing an LLM engine (v0.5.4) with config: {config()}"
    )
    line = "INFO 08-15 10:00:19 distributed_gpu_executor.py:56] # GPU blocks: 835, # CPU blocks: 1000"
    rows = [text[at : at + 80] for text in (first, line) for at in range(0, len(text), 80)]
    reported = log_of("\n".join(rows) + "\n").reported
    assert (reported["num_gpu_blocks"], reported["num_cpu_blocks"]) == (835, 1000)


@pytest.mark.parametrize(
    "form", ["w{n} x{n}: 08:00:0{n} INFO {said}", "08:00:0{n} INFO - {said}", "[INFO] 08:00:0{n} {said}"]
)
def test_a_logger_s_own_format_is_learned_once(form: str) -> None:
    learned = Learned()
    for n in range(5):
        text = form.format(n=n, said=f"Loading weights took {n} seconds")
        line = learned.read(Line(text), text, True, False)
        assert line is not None
        assert line.message == f"Loading weights took {n} seconds"
    assert len(learned._heads) == 1
