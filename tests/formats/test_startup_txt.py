"""The files of vllm-serverStartupLatency.py: every layout column by column, and read back."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_starts import SLEEP, at, command, failed, log, phase, pod, ranked, reported

from vllmperf.errors import UsageError
from vllmperf.formats import startup_txt
from vllmperf.formats.startup_txt import LAYOUTS, read, row, rows, safe, write
from vllmperf.starts.result import Start

FULL = pod(log=log(sleep=SLEEP))

ROWS = {
    # pod, process, model loading, profiling, graphs, readiness
    "A": "vllm-0 5 12.6 3 18 7",
    # pod, engine init, model loading, graphs, readiness
    "B": "vllm-0 9 12.6 18 7",
    # pod, engine init, load, GB, before compile, compile, graphs, readiness
    "C": "vllm-0 9 12 6.1501 1 30.03 18 7",
    # pod, process, engine init, download, load, GB, before compile, compile, graphs, readiness
    "D": "vllm-0 5 9 17.23 12 6.1501 1 30.03 18 7",
    "D-offline": "9 17.23 12 6.1501 1 30.03 18 3",
    # process … readiness, sleep, freed, kept, wake, total
    "E": "5 9 17.23 11.87 6.1501 1 30.03 18 7 1.234567 60.5 2.25 0.456 94.13",
    "E-offline": "9 17.23 11.87 6.1501 1 30.03 18 3 1.234567 60.5 2.25 0.456 90.13",
}


def cells(start: Start, layout: str = "D", **more: bool) -> dict[str, str]:
    return dict(zip(LAYOUTS[layout].names, row(start, layout, **more).split("\t"), strict=True))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_has_its_columns_in_order(layout: str) -> None:
    assert row(FULL, layout) == ROWS[layout].replace(" ", "\t")


def test_the_layouts_are_told_apart_by_their_number_of_columns() -> None:
    assert {name: len(each.names) for name, each in LAYOUTS.items()} == {
        "A": 6,
        "B": 5,
        "C": 8,
        "D": 10,
        "D-offline": 8,
        "E": 14,
        "E-offline": 13,
    }


def test_the_total_of_july_is_the_sum_of_its_parts_without_the_process() -> None:
    found = {name: float(cell) for name, cell in cells(FULL, "E").items()}
    parts = ("engine_init_s", "weights_download_s", "weights_load_s", "before_compile_s", "torch_compile_s")
    parts += ("graph_capture_s", "api_readiness_s")
    assert found["total_s"] == pytest.approx(sum(found[name] for name in parts))


# ---- values ----


def test_a_missing_value_is_nan_and_never_0() -> None:
    found = cells(pod(log=None), "D")
    assert found["weights_download_s"] == found["weights_gib"] == "nan"
    assert math.isnan(float(found["weights_gib"]))


def test_a_failed_start_has_what_it_got_to_and_nan_after() -> None:
    found = cells(failed(), "D")
    assert (found["engine_init_s"], found["weights_load_s"]) == ("4", "6")
    assert found["torch_compile_s"] == found["api_readiness_s"] == "nan"
    assert cells(failed(), "E")["total_s"] == "nan"


def test_a_phase_of_0_s_is_0() -> None:
    start = pod(phases=(phase("imports", 3, 3), phase("graph_capture", 4, 9)), log=None)
    assert cells(start, "A")["process_startup_s"] == "0"


def test_a_real_span_never_wraps_or_turns_negative() -> None:
    backwards = pod(phases=(phase("weights_load", 20, 30), phase("compile", 25, 40)))
    assert cells(backwards, "C")["before_compile_s"] == "nan"


def test_cached_weights_begin_their_load_at_the_start_of_loading() -> None:
    start = pod(phases=(phase("weights_download", 10, 15), phase("weights_load", 15, 27)))
    assert cells(start)["weights_load_s"] == "12"
    assert cells(start, cached=True)["weights_load_s"] == "17"


def test_sub_second_stamps_give_sub_second_values() -> None:
    start = command(phases=(phase("weights_load", 1.0, 3.25, resolution_s=1e-9),))
    assert cells(start)["weights_load_s"] == "2.25"


def test_a_span_is_as_coarse_as_its_coarser_end() -> None:
    engine = phase("engine_finish", 10.0, 11.25, resolution_s=1e-9)
    ready = phase("ready", 12.0, 14.0, source="status", resolution_s=1.0)
    assert cells(pod(phases=(engine, ready)))["api_readiness_s"] == "3"  # 2.75 s, Ready in whole seconds


def test_readiness_of_a_start_without_a_pod_ends_at_startup_complete() -> None:
    start = pod(phases=tuple(p for p in pod().phases if p.name not in ("ready", "first_token")))
    assert cells(start, "D")["api_readiness_s"] == "3"  # graphs captured at 102, up at 105


def test_readiness_without_graphs_begins_at_the_engine() -> None:
    start = pod(phases=tuple(p for p in pod().phases if p.name not in ("graph_capture", "ready")))
    assert cells(start, "D-offline")["api_readiness_s"] == "2"


def test_without_the_logs_number_the_span_stands_in() -> None:
    found = cells(pod(log=log(reported=reported())), "D")
    assert (found["torch_compile_s"], found["graph_capture_s"], found["weights_load_s"]) == ("30", "18", "12")
    assert found["weights_download_s"] == "nan"


def test_a_log_without_its_beginning_gives_no_engine_init_from_its_first_line() -> None:
    cut = log(cut_at_start=True, first_log_ns=at(36))
    start = pod(log=cut, phases=tuple(p for p in pod().phases if p.name != "config"))
    assert cells(start)["engine_init_s"] == "nan"


def test_ranks_do_not_widen_the_span_of_the_server() -> None:
    assert cells(ranked(4))["weights_load_s"] == "13"


def test_the_logs_numbers_keep_their_digits() -> None:
    found = cells(pod(log=log(reported=reported(weights_download_s=877.582313, weights_gib=0.4315))))
    assert (found["weights_download_s"], found["weights_gib"]) == ("877.582313", "0.4315")


def test_the_first_sleep_and_the_first_wake_fill_the_row() -> None:
    assert cells(pod(log=log(sleep=(*SLEEP, *SLEEP))), "E")["sleep_s"] == "1.234567"
    assert cells(pod(), "E")["wake_s"] == "nan"


# ---- files ----


@pytest.mark.parametrize(
    ("name", "safe_name"),
    [
        ("gpt2", "gpt2"),
        ("ibm-granite/granite-3.1-8b", "ibm-granite_granite-3.1-8b"),
        ("../../etc/passwd", "etc_passwd"),
        ("/abs/model/", "abs_model"),
        ("a b\tc\nd", "a_b_c_d"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("模型/七", "模型_七"),
        ("org/model:tag?x=1&y", "org_model_tag_x=1_y"),
    ],
)
def test_a_model_name_is_one_part_of_a_path(name: str, safe_name: str) -> None:
    assert safe(name) == safe_name


@given(st.text(max_size=400))
def test_no_name_leaves_its_folder_or_is_too_long_for_it(name: str) -> None:
    path = Path("/folder") / startup_txt.file_name(name or "x")
    assert path.parent == Path("/folder")
    assert not path.name.startswith(".")
    assert "\0" not in path.name
    assert len(path.name.encode()) <= 255


def test_the_file_has_a_row_for_each_pod_and_its_folder_is_made(tmp_path: Path) -> None:
    path = write([pod("a"), failed(), pod("b")], tmp_path / "new" / "deep", "org/m")
    assert path == tmp_path / "new" / "deep" / "org_m_vllm-server-startup-latency.txt"
    assert path.read_text() == rows([pod("a"), failed(), pod("b")])
    assert [line.split("\t")[0] for line in path.read_text().splitlines()] == ["a", "vllm-bad", "b"]
    assert len(list(path.parent.iterdir())) == 1


def test_without_a_model_the_file_is_named_as_the_offline_parsers(tmp_path: Path) -> None:
    assert write([pod()], tmp_path, None, "D-offline").name == "vllm-server-startup-latency.txt"


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="choose another folder"):
        write([pod()], tmp_path / "file", "m")


def test_an_unknown_layout_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="A, B, C, D, D-offline, E, E-offline"):
        row(pod(), "F")


def test_a_blank_in_a_pods_name_makes_no_column() -> None:
    assert row(pod("a b\tc")).split("\t")[0] == "a_b_c"
    assert len(row(pod("a b\tc")).split("\t")) == 10


# ---- reading ----


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_was_written_is_read_back(layout: str, tmp_path: Path) -> None:
    path = write([FULL, failed()], tmp_path, "m", layout)
    first, second = read(path)
    assert first["layout"] == layout
    values = [value for name, value in first.items() if name not in ("layout", "pod")]
    texts = ROWS[layout].split()[1 if LAYOUTS[layout].has_pod else 0 :]
    assert values == [float(text) for text in texts]
    assert second["api_readiness_s"] is None


def test_the_guides_sample_row_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("vllm-granite-df585f45d-pcv   10   19   17.23   7  4.72   3.66  39.34  23  10\n")
    (found,) = read(path)
    assert found["layout"] == "D"
    assert found["pod"] == "vllm-granite-df585f45d-pcv"
    assert (found["process_startup_s"], found["weights_gib"], found["api_readiness_s"]) == (10, 4.72, 10)


def test_eight_columns_are_told_apart_by_the_pods_name(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("19\t17.23\t7\t4.72\t3.66\t39.34\t23\t0\npod-1\t19\t7\t4.72\t3.66\t39.34\t23\t0\n\n")
    assert [each["layout"] for each in read(path)] == ["D-offline", "C"]


def test_a_pod_named_like_a_number_needs_the_layout(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("123\t19\t7\t4.72\t3.66\t39.34\t23\t0\n")
    assert read(path)[0]["layout"] == "D-offline"
    assert read(path, "C")[0]["pod"] == "123"


@pytest.mark.parametrize(
    ("line", "said"),
    [("pod\t1\t2", "line 2 has 3 columns"), ("pod" + "\tx" * 9, "line 2: 'x' is not a number")],
)
def test_a_line_that_fits_no_layout_is_named(line: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"{row(pod())}\n{line}\n")
    with pytest.raises(UsageError, match=said):
        read(path)


def test_a_file_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read(tmp_path / "none.txt")


# ---- the page about them ----

PAGE = (Path(__file__).parents[2] / "docs" / "startup.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if not name.endswith("offline")])
def test_the_page_lists_each_layout_as_it_is_written(layout: str) -> None:
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{layout}`")]
    assert line.split("|")[3].strip() == ", ".join(LAYOUTS[layout].names)


def test_an_offline_layout_is_the_live_one_without_what_the_page_says() -> None:
    assert LAYOUTS["D-offline"].names == LAYOUTS["D"].names[2:]
    assert LAYOUTS["E-offline"].names == LAYOUTS["E"].names[1:]
