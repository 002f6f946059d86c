"""Several engines of one server: kept apart by pid, node or part, the largest of each number as for ranks."""

import pytest
from parse_texts import config, log_of, parsed

SERVER = "(APIServer pid=300) INFO 02-27 08:53:30 [utils.py:287] vLLM server version 0.16.0, serving model org/omni\n"
READY = "(APIServer pid=300) INFO:     Application startup complete.\n"


def engine(who: str, minute: int, gib: float, took: float, init: float, tp: int = 1) -> list[str]:
    """An engine's lines with their seconds in front, to be mixed with another's."""
    steps = (
        (50, "core.py:96", f"Initializing a V1 LLM engine (v0.16.0) with config: {config(tp=tp)}"),
        (58, "gpu_model_runner.py:4100", "Starting to load model org/omni..."),
        (59, "gpu_model_runner.py:4221", f"Model loading took {gib} GiB memory and {took} seconds"),
        (59, "backends.py:1", f"Compiling a graph for compile range (1, 64) takes {took} s"),
        (59, "backends.py:1", f"Compiling a graph for compile range (64, 2048) takes {took} s"),
        (59, "core.py:278", f"init engine (profile, create kv cache, warmup model) took {init} seconds"),
    )
    return [f"{who}INFO 02-27 08:{minute}:{s} [{file}] {text}\n" for s, file, text in steps]


def mixed(*engines: list[str]) -> str:
    return "".join(line for lines in zip(*engines, strict=True) for line in lines)


WHO = {
    "pid and part": ("(EngineCore_DP0 pid=411) [Stage-0] ", "(EngineCore_DP0 pid=422) [Stage-1] "),
    "pid": ("(EngineCore_DP0 pid=411) ", "(EngineCore_DP0 pid=422) "),
    "part": ("[Stage-0] ", "[Stage-1] "),
    "workers of parts": ("(Worker pid=511) [Stage-0] ", "(Worker pid=522) [Stage-1] "),
    "node": ("(EngineCore_DP0 pid=411, ip=10.0.0.1) ", "(EngineCore_DP0 pid=411, ip=10.0.0.2) "),
    "name": ("(EngineCore_DP0 pid=411) ", "(EngineCore_DP1 pid=422) "),
}


@pytest.mark.parametrize("server", [True, False])
@pytest.mark.parametrize("swapped", [True, False])
@pytest.mark.parametrize("name", WHO)
def test_of_several_engines_each_number_is_the_largest(name: str, swapped: bool, server: bool) -> None:
    first, second = engine(WHO[name][0], 53, 12.5, 10.1, 8.4), engine(WHO[name][1], 53, 3.25, 12.9, 4.2)
    lines = mixed(second, first) if swapped else mixed(first, second)
    found = parsed(SERVER + lines + READY if server else lines)
    assert len(found.attempts) == 1
    reported = found.main.reported
    assert (reported["weights_gib"], reported["model_loading_s"], reported["init_engine_s"]) == (
        12.5,
        12.9,
        8.4,
    )
    assert reported["compile_s"] == 25.8  # a sum over the ranges of one engine


@pytest.mark.parametrize("name", WHO)
def test_several_engines_are_kept_apart(name: str) -> None:
    log = log_of(
        SERVER + mixed(engine(WHO[name][0], 53, 12.5, 1, 2), engine(WHO[name][1], 53, 3.25, 3, 4)) + READY
    )
    values = log.per_rank["weights_gib"]
    assert sorted(values.values(), key=str) == [12.5, 3.25]
    assert len(set(values)) == 2
    spans = {phase.rank for phase in log.phases if phase.name == "weights_load" and not phase.critical}
    assert spans == set(values)


def test_engines_of_one_name_are_called_by_their_parts_or_pids() -> None:
    parts = log_of(SERVER + mixed(*(engine(who, 53, 1, 2, 3) for who in WHO["pid and part"])) + READY)
    assert list(parts.per_rank["weights_gib"]) == ["EngineCore_DP0", "EngineCore_DP0 [Stage-1]"]
    pids = log_of(SERVER + mixed(*(engine(who, 53, 1, 2, 3) for who in WHO["pid"])) + READY)
    assert list(pids.per_rank["weights_gib"]) == ["EngineCore_DP0", "EngineCore_DP0 pid 422"]


def test_an_engine_that_starts_when_another_is_loaded_belongs_to_the_same_start() -> None:
    lines = engine(WHO["pid and part"][0], 53, 12.5, 10.1, 8.4) + engine(WHO["pid and part"][1], 54, 3, 12, 4)
    assert len(parsed(SERVER + "".join(lines) + READY).attempts) == 1
    assert len(parsed("".join(lines)).attempts) == 1


def test_sizes_are_those_of_the_largest_engine() -> None:
    first, second = engine(WHO["pid"][0], 53, 1, 2, 3, tp=4), engine(WHO["pid"][1], 53, 1, 2, 3, tp=1)
    assert log_of(SERVER + mixed(first, second) + READY).tp == 4
