"""stderr and stdout in two files, joined one behind the other: uvicorn's lines stand apart from vLLM's."""

import pytest
from parse_texts import START_0_11, log_of, parsed, said

from vllmperf.starts.result import StartupLog

NOTE = "uvicorn's lines stand apart from vLLM's: ready is taken from vLLM's last line before them"
END = """\
(APIServer pid=1) INFO:     Shutting down
(APIServer pid=1) INFO:     Waiting for application shutdown.
(APIServer pid=1) INFO:     Application shutdown complete.
(APIServer pid=1) INFO:     Finished server process [1]
"""
ANSWERED = '(APIServer pid=1) INFO:     10.0.0.1:44 - "POST /v1/completions HTTP/1.1" 200 OK\n'
CLOSING = "(APIServer pid=1) INFO 06-21 11:00:00 [launcher.py:110] Shutting down FastAPI HTTP server.\n"
FAILED = START_0_11.split("(EngineCore_DP0 pid=2) INFO 06-21 08:00:33")[0] + (
    "(EngineCore_DP0 pid=2) ERROR 06-21 08:00:34 [core.py:708] EngineCore failed to start.\n"
    "(EngineCore_DP0 pid=2) ERROR 06-21 08:00:34 [core.py:708] torch.OutOfMemoryError: CUDA out of memory.\n"
)


def parts(text: str) -> tuple[str, str]:
    """What a server wrote to stderr, to stdout."""
    lines = text.splitlines(keepends=True)
    err = [line for line in lines if "INFO:  " in line and " - " not in line]
    return "".join(err), "".join(line for line in lines if line not in err)


def of(text: str, pid: int, day: int = 21) -> str:
    """The same start of another process, on another day."""
    return (
        text.replace("pid=1)", f"pid={pid})")
        .replace("process [1]", f"process [{pid}]")
        .replace("06-21", f"06-{day}")
    )


ERR, OUT = parts(START_0_11)


def readies(text: str) -> list[tuple[bool, str | None]]:
    return [(log.reached_ready, log.ready_ts) for log in parsed(text).attempts]


@pytest.mark.parametrize("end", ["", END])
@pytest.mark.parametrize("order", ["stderr first", "stdout first"])
def test_both_orders_are_one_ready_start_with_the_same_numbers(order: str, end: str) -> None:
    err, out = ERR + end, OUT + (CLOSING if end else "")
    found = parsed(err + out if order == "stderr first" else out + err)
    whole = log_of(START_0_11)
    assert len(found.attempts) == 1
    log: StartupLog = found.main
    assert (log.reached_ready, log.ready_ts, log.ready_ns) == (True, "06-21 08:00:56", whole.ready_ns)
    assert (log.vllm_version, log.mode, said(log)) == ("0.11.0", "serve", said(whole))
    assert [phase.name for phase in log.phases] == [phase.name for phase in whole.phases]


def test_what_was_served_meanwhile_does_not_move_ready() -> None:
    traffic = "(APIServer pid=1) INFO 06-21 10:00:00 [loggers.py:123] Engine 000: Avg prompt throughput: 1.0 tokens/s\n"
    log = log_of(OUT + ANSWERED + traffic + ERR)
    assert (log.reached_ready, log.ready_ts) == (True, "06-21 08:00:56")
    assert NOTE in log.notes
    assert NOTE not in log_of(START_0_11).notes


def test_weights_loaded_again_later_are_no_part_of_a_start_whose_ready_line_came_first() -> None:
    again = "(EngineCore_DP0 pid=2) INFO 06-21 09:00:26 [default_loader.py:267] Loading weights took 99.00 seconds\n"
    log = log_of(ERR + OUT + again)
    assert said(log) == said(log_of(START_0_11))
    assert [step.event for step in log.later] == ["weights_took"]


@pytest.mark.parametrize("order", ["stderr first", "stdout first"])
def test_several_starts_each_get_their_ready_line(order: str) -> None:
    starts = [(of(ERR + END, 1, day), of(OUT + CLOSING, 1, day)) for day in (21, 22, 23)]
    err, out = ("".join(part) for part in zip(*starts, strict=True))
    days = [(True, f"06-{day} 08:00:56") for day in (21, 22, 23)]
    assert readies(err + out if order == "stderr first" else out + err) == days


@pytest.mark.parametrize("order", ["stderr first", "stdout first"])
@pytest.mark.parametrize("failed", [0, 1])
def test_a_start_that_failed_does_not_get_the_ready_line_of_another(order: str, failed: int) -> None:
    outs = [of(FAILED if place == failed else OUT, 1, 21 + place) for place in (0, 1)]
    text = ERR + "".join(outs) if order == "stderr first" else "".join(outs) + ERR
    assert [ready for ready, _ in readies(text)] == [place != failed for place in (0, 1)]
    assert parsed(text).attempts[failed].failure is not None


@pytest.mark.parametrize("order", ["stderr first", "stdout first"])
def test_the_pid_tells_whose_ready_line_it_is(order: str) -> None:
    outs = of(OUT, 11, 21) + of(OUT, 12, 22)
    for pid, expected in ((11, [True, False]), (12, [False, True])):
        err = of(ERR, pid)
        text = err + outs if order == "stderr first" else outs + err
        assert [ready for ready, _ in readies(text)] == expected


def test_fewer_ready_lines_than_starts_tell_nothing_where_no_pid_does() -> None:
    assert [ready for ready, _ in readies(ERR + OUT + of(OUT, 1, 22))] == [False, False]


@pytest.mark.parametrize(
    "out",
    [
        OUT.split("(APIServer pid=1) INFO 06-21 08:00:56")[0],  # the engine is up, the server is not
        OUT.split("(EngineCore_DP0 pid=2) INFO 06-21 08:00:33")[0],
        "".join(line for line in OUT.splitlines(keepends=True) if "APIServer" not in line),
        FAILED,
        of(OUT, 7),  # another process
    ],
)
def test_a_ready_line_before_a_start_that_did_not_come_so_far_is_not_its(out: str) -> None:
    assert not log_of(ERR + out).reached_ready


def test_a_port_that_was_taken_is_no_ready_start_in_either_order() -> None:
    taken = "ERROR:    [Errno 98] error while attempting to bind on address ('0.0.0.0', 8000): address already in use\n"
    assert not log_of(ERR + taken + OUT).reached_ready
    assert not log_of(OUT + ERR + taken).reached_ready
    both = ERR + taken + END + ERR + OUT + of(OUT, 1, 22)
    assert [ready for ready, _ in readies(both)] == [False, True]


def stamped(text: str, hour: int = 8) -> str:
    """With the stamps of a collector, in UTC; a line without one of its own has that of the line before."""
    out, at = [], "08:00:00"
    for line in text.splitlines(keepends=True):
        at = line.split("06-21 ")[1][:8] if "06-21 " in line else at
        out.append(f"2026-06-21T{hour:02}{at[2:]}.250Z {line}")
    return "".join(out)


def test_stamps_say_which_start_a_ready_line_is_of() -> None:
    lines = stamped(START_0_11).splitlines(keepends=True)
    err = "".join(line for line in lines if "INFO:  " in line)
    out = "".join(line for line in lines if "INFO:  " not in line)
    log = log_of(err + out)
    assert log.reached_ready
    assert log.ready_ns == log_of(stamped(START_0_11)).ready_ns
    other = err.replace("T08:00:56", "T07:00:56")
    assert not log_of(other + out).reached_ready  # it was said an hour before
    later = stamped(of(OUT, 1).replace("06-21 08", "06-21 09"), 9)
    assert [ready for ready, _ in readies(err + out + later)] == [True, False]
