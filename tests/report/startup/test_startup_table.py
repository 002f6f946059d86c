"""The text of starts: what it says, how wide it is, what it leaves out."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from made_starts import LOG_NUMBERS, SLEEP, at, command, failed, log, phase, pod, ranked
from rich.cells import cell_len

from vllmperf.report.startup.bars import ASCII, UNICODE, bar, segment_text, segments
from vllmperf.report.startup.table import print_starts, text
from vllmperf.starts.result import Clock, Failure, Phase, Start
from vllmperf.starts.waterfall import fill

GOLDEN = Path(__file__).parent / "golden"
SETS = [command(f"cold {i}", 30 + 1.3 * i, "cold") for i in range(3)]
SETS += [command(f"warm {i}", 20 + 0.7 * i, "warm") for i in range(3)]
BLOCKS = "".join(UNICODE) + "▎▍▌▋▊▉·"


def line_of(shown: str, begin: str) -> str:
    return next(line for line in shown.splitlines() if line.strip().startswith(begin))


# ---- golden ----


@pytest.mark.parametrize(
    ("name", "starts", "width"),
    [
        ("pod", [pod(log=log(sleep=SLEEP))], 100),
        ("failed", [failed()], 100),
        ("ranks", [ranked(8)], 100),
        ("sets", [*SETS, failed()], 100),
        ("narrow", [pod()], 60),
    ],
)
def test_the_text_is_as_it_was(name: str, starts: list[Start], width: int) -> None:
    assert text(starts, width) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


# ---- widths ----


@pytest.mark.parametrize("width", [40, 47, 60, 80, 100, 133, 160])
def test_no_line_is_wider_than_asked(width: int) -> None:
    wide = pod("模型" * 30, log=log(sleep=SLEEP, model="org/" + "long-" * 40))
    for starts in ([wide], [ranked(16)], [*SETS, failed(), wide], [failed()]):
        for line in text(starts, width, detail=True).splitlines():
            assert cell_len(line) <= width, line


def test_a_pipe_gets_100_columns_without_colour() -> None:
    file = io.StringIO()
    print_starts([pod()], file)
    assert file.getvalue() == text([pod()], 100)
    assert "\x1b" not in file.getvalue()
    assert max(map(cell_len, file.getvalue().splitlines())) > 80


def test_colour_changes_no_character() -> None:
    file = io.StringIO()
    print_starts([pod(), failed()], file, width=100, color=True)
    assert "\x1b[" in file.getvalue()
    bare = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())
    one = [line.rstrip() for line in bare.splitlines() if line.strip().startswith(("image pull", "total"))]
    assert one == [
        line
        for line in text([pod(), failed()], 100).splitlines()
        if line.strip().startswith(("image pull", "total"))
    ]


def test_a_terminal_without_unicode_gets_ascii() -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    print_starts([pod(), failed(), command()], file, detail=True)
    file.flush()
    shown = raw.getvalue().decode("ascii")
    assert "#" in shown
    assert "|pod--" in shown
    assert "?" not in shown


def test_control_characters_of_a_log_do_not_reach_the_terminal() -> None:
    evil = "a\x1b[2Jb\rc\nd"
    start = pod(
        evil,
        log=log(model=evil, vllm_version=evil, notes=(evil,)),
        facts={"node": evil},
        notes=(evil,),
        reached=False,
        failure=Failure("weights_load", 1, evil, evil),
        evidence=(evil,),
        group=evil,
        phases=(
            phase("weights_load", 0, 1, detail=evil, source=evil),
            phase("weights_load", 0, 1, rank=evil),
        ),
    )
    for shown in (text([start]), text([start, start])):
        assert "\x1b" not in shown
        assert "\r" not in shown


# ---- what it says ----


def test_the_shares_of_a_start_add_up_to_all_of_it() -> None:
    shown = text([pod()], 130)
    shares = [float(found) for found in re.findall(r"(\d+\.\d) %", shown)]
    assert len(shares) == 19
    assert sum(shares) == pytest.approx(100, abs=0.05 * len(shares))


def test_a_missing_phase_is_a_dash_and_never_0() -> None:
    start = pod(phases=(*pod().phases, Phase("weights_download", None, None, "log", None)))
    row = line_of(text([start], 120), "weights download")
    assert re.findall(r"\S+", row)[2:5] == ["–", "–", "–"]
    assert "0" not in row


def test_a_phase_that_left_no_trace_is_named_below() -> None:
    shown = text([command()], 100)
    missing = shown[shown.index("not seen:") :]
    assert "CUDA graph capture" in missing
    assert "image pull" not in missing  # nobody looked at a pod


def test_graphs_are_not_missed_where_they_were_turned_off() -> None:
    assert "CUDA graph capture" not in text([command(log=log(enforce_eager=True, reported={}))], 100)


def test_the_resolution_and_what_was_assumed_are_said() -> None:
    clock = Clock("log", 1.0, utc=False, year=2026, year_from="assumed", zone="UTC")
    shown = " ".join(text([pod(log=log(clock=clock))], 140).split())
    assert "each end ±1 s, year 2026 (assumed), zone UTC (assumed; spans are right)" in shown


def test_envelope_stamps_assume_nothing() -> None:
    clock = Clock("envelope", 0.000001, utc=True, year=2026, year_from="envelope", zone="UTC")
    row = line_of(text([pod(log=log(clock=clock))], 140), "clock")
    assert "the collector's stamps" in row
    assert "assumed" not in row


def test_whole_second_stamps_show_no_tenths() -> None:
    assert re.findall(r"\S+", line_of(text([pod()], 120), "weights load"))[2:4] == ["37", "12"]


def test_the_servers_own_number_stands_beside_the_span() -> None:
    assert "11.87" in line_of(text([pod()], 120), "weights load")


def test_a_failure_names_phase_line_text_and_evidence() -> None:
    shown = text([failed()], 120)
    assert (
        "✘ failed in weights load (OOMKilled), line 312: torch.OutOfMemoryError: CUDA out of memory" in shown
    )
    assert "event Warning BackOff: restarting failed container" in shown
    assert "not up after 10 s from first line" in shown


def test_a_start_that_just_stops_is_said_to_be_unexplained() -> None:
    start = command(reached=False, end_ns=None)
    assert "not ready, and nothing says why" in text([start])


def test_of_many_ranks_the_slowest_and_the_fastest_are_shown() -> None:
    shown = text([ranked(8)], 120)
    assert re.findall(r"\S+", line_of(shown, "· Worker_TP7"))[3] == "17"
    assert re.findall(r"\S+", line_of(shown, "· Worker_TP0"))[3] == "10"
    assert "Worker_TP3" not in shown


def test_numbers_that_the_log_does_not_give_are_left_out() -> None:
    shown = text([pod()], 100)
    assert "GPU blocks" not in shown
    assert "weights download" in shown
    for name in ("17.23", "6.1501", "538,560"):
        assert name in shown


def test_the_drafters_numbers_stand_beside_the_models() -> None:
    shown = text([pod(log=log(drafter={"weights_load_s": 1.25, "weights_gib": 0.5}))], 100)
    assert "drafter" in shown
    assert "1.25" in line_of(shown[shown.index("own numbers") :], "weights load")


def test_sleep_and_wake_are_listed_with_what_they_freed() -> None:
    shown = text([pod(log=log(sleep=SLEEP))], 100)
    assert re.findall(r"\S+", line_of(shown, "sleep"))[1:] == ["200", "1.234567", "60.5", "2.25"]
    assert "wake (weights, kv_cache)" in shown


def test_earlier_attempts_are_told() -> None:
    assert "attempt 1: failed in weights load" in " ".join(
        text([pod(restarts=1, earlier=(failed(),))]).split()
    )


# ---- many ----


def test_more_than_two_starts_are_a_line_each_and_detail_shows_all() -> None:
    assert "not seen" not in text(SETS)
    assert text(SETS, detail=True).count("not seen") == len(SETS)


def test_the_slowest_pod_is_named_and_nobody_where_all_are_alike() -> None:
    shown = text([pod("a"), pod("b", scale=2.0), pod("c")], 100)
    assert line_of(shown, "torch.compile").endswith("b")
    assert not line_of(shown, "image pull").endswith(("a", "b", "c"))


def test_a_failed_start_is_counted_and_not_in_the_distribution() -> None:
    shown = text([*SETS, failed()], 100)
    assert "7 starts, 1 not ready" in shown
    assert "cold, 3 starts" in shown
    assert "configuration" not in shown  # only the failed one had it


def test_few_starts_are_said_to_be_few() -> None:
    assert "p90 of 3 starts lies between the two slowest" in text(SETS, 120)
    assert "p90" not in text([pod(str(i)) for i in range(10)], 120).split("Phases")[1].replace("p90, s", "")


def test_two_sets_are_compared_with_an_interval() -> None:
    shown = text(SETS, 110)
    row = line_of(shown[shown.index("cold → warm") :], "torch.compile")
    assert "−10.60" in row
    assert row.endswith("*")
    assert "interval by Welch's t" in shown


def test_two_starts_a_side_get_no_interval_but_the_spread() -> None:
    shown = text([SETS[0], SETS[1], SETS[3], SETS[4]], 110)
    assert "too few for an interval" in " ".join(shown.split())
    assert "95 %" not in shown
    assert "(spread)" in shown


def test_one_start_a_side_says_that_scatter_is_unknown() -> None:
    shown = text([SETS[0], SETS[3]], 110)
    assert "how much starts scatter is not known" in " ".join(shown.split())


def test_nothing_seen_is_said() -> None:
    assert text([]) == "  no start was seen\n"


def test_a_start_without_instants_does_not_break_the_table() -> None:
    empty = Start(
        "x", "created", "ready", None, None, (), reached=False, failure=Failure(None, None, "no pods")
    )
    assert "failed: no pods" in text([empty])
    assert "failed: no pods" in text([empty, pod()])


# ---- bars ----


@pytest.mark.parametrize("marks", [UNICODE, ASCII])
@pytest.mark.parametrize("width", [1, 7, 30])
def test_a_bar_is_never_longer_than_its_room_and_never_empty(marks, width: int) -> None:
    for begin in range(0, 101, 5):
        for end in range(begin, 101, 5):
            for mark in (marks.path, marks.beside, marks.rest):
                drawn = bar(begin, end, 100, width, mark, marks)
                assert drawn.strip()
                assert len(drawn) <= width


def test_the_cells_of_one_line_add_up_to_its_share_of_the_longest() -> None:
    start = pod()
    for width in (10, 33, 80):
        assert sum(segment.cells for segment in segments(start, width, 111.0)) == width
        assert sum(segment.cells for segment in segments(start, width, 222.0)) == round(width / 2)


def test_a_segments_text_is_as_long_as_its_cells() -> None:
    for marks in (UNICODE, ASCII):
        for segment in segments(command(), 50, 60.0):
            assert len(segment_text(segment, marks)) == segment.cells


def test_time_that_no_source_explains_is_dotted() -> None:
    gap = Start("x", "a", "b", at(0), at(10), fill([phase("config", 0, 2)], at(0), at(10)))
    assert "░" in line_of(text([gap], 100), "unattributed")


def test_the_factory_itself_adds_up() -> None:
    start = pod()
    assert sum(p.duration_s or 0 for p in start.phases) == start.total_s == 111.0
    assert set(LOG_NUMBERS) <= set(log().reported)


def test_facts_are_shown_with_their_units_and_the_command_by_itself() -> None:
    facts = {"command": "vllm serve m", "node": "n", "image_bytes": 8_123_456_789, "token_s": 0.25}
    shown = text([command(facts={**facts, "started_ns": 1, "gone": None})], 120)
    assert line_of(shown, "command").split(maxsplit=1)[1] == "vllm serve m"
    assert line_of(shown, "where").split(maxsplit=1)[1] == "node n, image size 8.12 GB, token 0.250 s"


def test_sleeps_that_were_asked_for_are_shown_as_seen_from_outside() -> None:
    facts = {"sleep_1_s": 0.31234, "sleep_1_log_s": 0.3, "sleep_1_freed_gib": 60.5}
    facts |= {"wake_1_s": 0.12, "wake_1_log_s": None, "wake_1_to_first_token_s": 0.456}
    shown = text([command(facts=facts)], 100)
    assert "where" not in shown
    assert re.findall(r"\S+", line_of(shown, "sleep 1")) == ["sleep", "1", "0.312", "0.3", "60.5", "–"]
    assert re.findall(r"\S+", line_of(shown, "wake 1")) == ["wake", "1", "0.12", "–", "–", "0.456"]


def test_a_change_that_rounds_to_nothing_has_no_sign() -> None:
    row = line_of(text([SETS[0], SETS[3]], 110).split("→")[1], "weights load")
    assert re.findall(r"\S+", row)[4:6] == ["0.00", "0"]


def test_a_set_without_a_start_that_came_up_has_nothing_to_compare() -> None:
    bad = command("x", group="warm", reached=False)
    assert "nothing to compare" in text([SETS[0], SETS[1], bad], 120)
