"""The numbers that logs report: the largest over the ranks, drafter apart, null for what is not said."""

import pytest
from parse_texts import START_0_7, START_0_11, config, log_of, said

from vllmperf.starts.result import REPORTED


def test_v1_reports_what_it_prints() -> None:
    assert said(log_of(START_0_11)) == {
        "weights_download_s": 8.123456,
        "weights_load_s": 5.75,
        "weights_gib": 32.1993,
        "model_loading_s": 14.099772,
        "dynamo_transform_s": 5.5,
        "compile_s": 9.87,
        "compile_from_cache": False,
        "torch_compile_total_s": 15.37,
        "graph_capture_s": 7.0,
        "graph_capture_gib": 1.13,
        "kv_cache_gib": -0.12,
        "kv_cache_tokens": 1024736,
        "init_engine_s": 26.86,
    }


def test_v0_reports_the_largest_of_its_ranks() -> None:
    log = log_of(START_0_7)
    assert said(log) == {
        "weights_gib": 6.5001,
        "v0_memory_profiling_s": 2.5,
        "graph_capture_s": 6.0,
        "graph_capture_gib": 0.25,
        "kv_cache_gib": 63.09,
        "num_gpu_blocks": 25000,
        "num_cpu_blocks": 2048,
        "init_engine_s": 9.99,
    }
    assert log.per_rank["weights_gib"] == {"driver": 6.5, "VllmWorkerProcess 71": 6.5001}
    assert (log.engine, log.ranks) == ("V0", 2)


def test_every_name_is_there_and_null_where_nothing_was_said() -> None:
    assert dict(log_of("INFO 06-21 08:00:00 [x.py:1] hello\n").reported) == dict.fromkeys(REPORTED)


def worker(rank: int, message: str, file: str = "x.py", second: int = 30) -> str:
    return f"(Worker_TP{rank} pid={70 + rank}) INFO 06-21 08:00:{second} [{file}:1] {message}\n"


def start(tp: int, draft: str = "None") -> str:
    return f"(EngineCore pid=2) INFO 06-21 08:00:10 [core.py:77] Initializing a V1 LLM engine (v0.19.0) with config: {config(tp, draft=draft)}\n"  # noqa: E501


def test_ranks_have_phases_of_their_own_beside_the_critical_path() -> None:
    text = start(2)
    for rank in (0, 1):
        text += worker(rank, "Starting to load model m...", "gpu_model_runner.py", 20)
    text += worker(0, "Loading weights took 9.50 seconds", "default_loader.py", 30)
    text += worker(1, "Loading weights took 15.25 seconds", "default_loader.py", 36)
    log = log_of(text)
    loads = {p.rank: p for p in log.phases if p.name == "weights_load"}
    assert (loads[None].duration_s, loads[None].critical) == (16, True)
    assert (loads["Worker_TP0"].duration_s, loads["Worker_TP0"].critical) == (10, False)
    assert log.reported["weights_load_s"] == 15.25
    assert log.per_rank["weights_load_s"] == {"Worker_TP0": 9.5, "Worker_TP1": 15.25}


def test_a_worker_keeps_its_rank_when_its_name_changes() -> None:
    text = (
        start(2)
        + "(Worker pid=70) INFO 06-21 08:00:20 [parallel_state.py:1] world_size=2 rank=0 local_rank=0\n"
    )
    text += worker(0, "Loading weights took 9.50 seconds", "default_loader.py")
    text += "(Worker pid=71) INFO 06-21 08:00:31 [default_loader.py:1] Loading weights took 9.75 seconds\n"
    assert set(log_of(text).per_rank["weights_load_s"]) == {"Worker_TP0", "Worker 71"}


def test_ranges_of_one_rank_are_added_up() -> None:
    text = start(1) + worker(0, "Dynamo bytecode transform time: 2.00 s", "backends.py", 20)
    for low, high, seconds in ((1, 2048, "4.00"), (2049, 8192, "3.50")):
        text += worker(
            0, f"Compiling a graph for compile range ({low}, {high}) takes {seconds} s", "backends.py"
        )
    assert log_of(text).reported["compile_s"] == 7.5


def test_a_cache_without_a_time_is_a_cache() -> None:
    shape = "Directly load the compiled graph for shape None from the cache"
    log = log_of(start(1) + worker(0, shape, "backends.py"))
    assert (log.reported["compile_from_cache"], log.reported["compile_cache_load_s"]) == (True, None)


def test_what_is_compiled_beside_a_target_that_was_loaded_compiled_is_the_drafters() -> None:
    text = start(1) + worker(0, "Loading drafter model...", "gpu_model_runner.py")
    text += worker(0, "Directly load AOT compilation from path /c/0f/rank_0_0/model", "decorators.py")
    text += worker(0, "Compiling a graph for compile range (1, 2048) takes 4.10 s", "backends.py")
    log = log_of(text)
    assert (log.reported["compile_from_cache"], log.reported["compile_s"]) == (True, None)
    assert dict(log.drafter) == {"compile_s": 4.1, "compile_from_cache": False}


def test_the_drafter_is_told_from_the_target() -> None:
    spec = "SpeculativeConfig(method='eagle', model='d')"
    text = start(1, spec)
    text += worker(0, "Loading weights took 716.49 seconds", "default_loader.py", 20)
    text += worker(0, "Loading drafter model...", "gpu_model_runner.py", 21)
    text += worker(0, "Loading weights took 16.82 seconds", "default_loader.py", 25)
    text += worker(0, "Model loading took 95.63 GiB memory and 748.400124 seconds", "gpu_model_runner.py", 26)
    for name, seconds in (("backbone", 5.66), ("eagle_head", 1.25)):
        text += worker(
            0, f"Using cache directory: /c/rank_0_0/{name} for vLLM's torch.compile", "backends.py"
        )
        text += worker(0, f"Dynamo bytecode transform time: {seconds} s", "backends.py")
        text += worker(0, f"torch.compile took {seconds * 2} s in total", "monitor.py")
    log = log_of(text)
    assert (log.reported["weights_load_s"], log.reported["weights_gib"]) == (716.49, 95.63)
    assert (log.reported["dynamo_transform_s"], log.reported["torch_compile_total_s"]) == (5.66, 11.32)
    assert dict(log.drafter) == {
        "weights_load_s": 16.82,
        "dynamo_transform_s": 1.25,
        "torch_compile_total_s": 2.5,
    }


def test_a_label_before_the_message_names_the_compiled_model() -> None:
    text = start(1, "SpeculativeConfig(method='eagle', model='d')")
    text += worker(0, "[backbone] torch.compile took 5.00 s in total", "monitor.py")
    text += worker(0, "[eagle_head] torch.compile took 1.00 s in total", "monitor.py")
    log = log_of(text)
    assert log.reported["torch_compile_total_s"] == 5.0
    assert log.drafter["torch_compile_total_s"] == 1.0


@pytest.mark.parametrize(
    ("file", "device", "platform"),
    [
        ("cuda.py", "cuda", "cuda"),
        ("rocm.py", "cuda", "rocm"),
        ("cpu_worker.py", "cpu", "cpu"),
        ("tpu_worker.py", "None", "tpu"),
        ("xpu_worker.py", "xpu", "xpu"),
        ("neuron_worker.py", "cpu", "neuron"),
        ("hpu_model_runner.py", "hpu", "hpu"),
    ],
)
def test_the_platform_is_what_ran(file: str, device: str, platform: str) -> None:
    text = f"INFO 06-21 08:00:10 [core.py:7] Initializing a V1 LLM engine (v0.9.2) with config: {config(device=device)}\n"
    assert log_of(text + f"INFO 06-21 08:00:11 [{file}:1] hello\n").platform == platform


def test_blocks_of_a_cpu_are_cpu_blocks() -> None:
    log = log_of("INFO 06-21 08:00:10 executor_base.py:1] # cpu blocks: 2048, # CPU blocks: 0\n")
    assert (log.reported["num_gpu_blocks"], log.reported["num_cpu_blocks"]) == (None, 2048)


def test_engines_of_data_parallelism_are_ranks() -> None:
    text = "".join(
        f"(EngineCore_DP{i} pid={i + 5}) INFO 06-21 08:00:10 [core.py:7] Initializing a V1 LLM engine (v0.32.0) with "
        f"config: {config()}\n(EngineCore_DP{i} pid={i + 5}) INFO 06-21 08:00:2{i} [core.py:9] init engine (profile, "
        f"create kv cache, warmup model) took {10 + i}.00 s (compilation: 3.00 s)\n"
        for i in (0, 1)
    )
    log = log_of(text)
    assert (log.dp, log.ranks, log.reported["init_engine_s"]) == (2, 2, 11.0)
    assert log.per_rank["init_engine_s"] == {"EngineCore_DP0": 10.0, "EngineCore_DP1": 11.0}
    assert log.reported["init_engine_compilation_s"] == 3.0


def test_a_line_behind_a_progress_bar_is_read() -> None:
    bar = "Capturing CUDA graphs (decode, FULL): 100%|███| 67/67 [00:04<00:00, 14.1it/s]"
    text = (
        start(2) + bar + worker(1, "Graph capturing finished in 4 secs, took 0.65 GiB", "gpu_model_runner.py")
    )
    assert log_of(text).reported["graph_capture_s"] == 4.0


def test_lines_that_a_terminal_wrapped_are_joined() -> None:
    whole = worker(0, "Model loading took 35.6458 GiB and 324.096440 seconds", "gpu_model_runner.py")
    text = start(2) + whole
    for width in (78, 90, 101):
        rows = [row[at : at + width] for row in text.splitlines() for at in range(0, len(row), width)]
        log = log_of("\n".join(rows) + "\n")
        assert (log.tp, log.reported["weights_gib"], log.reported["model_loading_s"]) == (
            2,
            35.6458,
            324.09644,
        ), width


def test_a_plain_line_after_a_long_one_is_not_swallowed() -> None:
    text = start(1) + "OSError: [Errno 98] Address already in use\n"
    failure = log_of(text).failure
    assert failure is not None
    assert failure.line == 2


def test_a_number_that_a_terminal_cut_is_read_whole() -> None:
    long = start(1).rstrip("\n") + ", " + ", ".join(f"option_{n}=None" for n in range(60)) + "\n"
    text = long + "INFO 06-21 08:00:30 [executor_base.py:111] # cuda blocks: 25000, # CPU blocks: 2048\n"
    width = len("INFO 06-21 08:00:30 [executor_base.py:111] # cuda blocks: 25000, # CPU blocks: 20")
    rows = [row[at : at + width] for row in text.splitlines() for at in range(0, len(row), width)]
    assert log_of("\n".join(rows) + "\n").reported["num_cpu_blocks"] == 2048
    assert log_of(text + "48 of 99 files\n").reported["num_cpu_blocks"] == 2048
