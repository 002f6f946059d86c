"""`vllmperf check`: tables pasted into a text are found, and sums that do not agree are told."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vllmperf as vp
from vllmperf.cli import main
from vllmperf.errors import UsageError
from vllmperf.formats.runs import read_all
from vllmperf.metrics.figure_spans import Figures, Span, agree
from vllmperf.metrics.sums import SUMS, checked
from vllmperf.metrics.verdict import RULES

VLLM = """\
Namespace(backend='vllm', dataset_name='random', num_prompts=200, request_rate={rate}, max_concurrency=None,
  sharegpt_output_len=None, random_input_len=100, random_output_len=101, sonnet_input_len=550)
============ Serving Benchmark Result ============
Successful requests:                     200
Benchmark duration (s):                  {duration}
Total input tokens:                      20000
Total generated tokens:                  20200
Request throughput (req/s):              {rps}
Output token throughput (tok/s):         1010.00
Total Token throughput (tok/s):          2010.00
---------------Time to First Token----------------
Mean TTFT (ms):                          50.00
Median TTFT (ms):                        {ttft_median}
P99 TTFT (ms):                           80.00
-----Time per Output Token (excl. 1st token)------
Mean TPOT (ms):                          {tpot}
Median TPOT (ms):                        10.00
P99 TPOT (ms):                           12.00
---------------Inter-token Latency----------------
Mean ITL (ms):                           {itl}
Median ITL (ms):                         {itl_median}
P99 ITL (ms):                            40.00
----------------End-to-end Latency----------------
Mean E2EL (ms):                          1050.00
Median E2EL (ms):                        1040.00
P99 E2EL (ms):                           {e2el_p99}
==================================================
"""
SOUND = {
    "rate": "10.0", "duration": "20.00", "rps": "10.00", "ttft_median": "45.00", "itl": "10.00", "itl_median": "9.90",
    "e2el_p99": "1200.00", "tpot": "10.00",
}  # fmt: skip
GUIDELLM = """\
Benchmarks Info:
================================================================================
Metadata                                    |||| Requests Made  ||| Prompt
Tok/Req ||| Output Tok/Req ||| Prompt Tok Total  ||| Output Tok Total  ||
  Benchmark| Start Time| End Time| Duration (s)|  Comp|  Inc|  Err|  Comp|
Inc| Err|  Comp|   Inc| Err|   Comp|   Inc|   Err|   Comp|   Inc|   Err
-----------|-----------|---------|-------------|------|-----|-----|------|------
|----|------|------|----|-------|------|------|-------|------|------
synchronous|   20:41:22| 20:42:22|         60.0|   650|    1|    0| 129.1|
128.0| 0.0| 128.0| 123.0| 0.0|  83900|   128|     0|  83200|   123|     0
 throughput|   20:43:22| 20:44:22|         60.0|  3900|    1|    0| 129.1|
128.0| 0.0| 128.0| 123.0| 0.0| 503490|   128|     0| 499200|   123|     0
================================================================================

Benchmarks Stats:
================================================================================
Metadata   | Request Stats         || Out Tok/sec| Tot Tok/sec| Req Latency
{unit}||| TTFT (ms)       ||| ITL (ms)       ||| TPOT (ms)      ||
  Benchmark| Per Second| Concurrency|        mean|        mean| mean| median|
p99| mean| median|  p99| mean| median| p99| mean| median| p99
-----------|-----------|------------|------------|------------|-----|-------|---
--|-----|-------|-----|-----|-------|----|-----|-------|----
synchronous|      10.90|        1.00|      1395.2|      {total}| 0.09|   0.09|
0.10| 15.0|   14.8| 17.0|  0.6|    0.6| 0.7|  0.6|    0.6| 0.7
 throughput|      65.10|       66.40|      8332.8|     16737.2| 1.02|   1.02|
1.10| 26.0|   25.5| 35.4|  7.8|    7.8| 7.9|  7.8|    7.8| 7.9
================================================================================
"""
LLM_BENCH = """\
=================================== Summary ====================================
Provider                 : vllm
Prompt Tokens            : {tokens}
Generation Tokens        : 100
Time To First Token      : 57.354352397496925
Latency Per Token        : 5.2
Num Tokens               : {tokens}
Total Latency            : 572.2289447814732
Num Requests             : 118
Qps                      : 0.9999774881355382
P50 Time To First Token  : 57
P99 Total Latency        : 570.0
================================================================================
"""
FIELDS = """\
| Field | Value |
|---|---|
| request_rate | 100 |
| max_concurrency | 40 |
| duration | 56.4809 |
| completed | 1000 |
| request_throughput | 17.7051 |
| output_throughput | 1805.4434 |
| mean_ttft_ms | 136.1831 |
| mean_tpot_ms | 20.3178 |
| median_tpot_ms | 19.8729 |
| mean_itl_ms | 20.4028 |
| median_itl_ms | {itl_median} |
| mean_e2e_latency_ms | 2194.5704 |
"""


def wrong(tmp_path: Path, text: str) -> dict[str, str]:
    """Sums that are broken or doubtful, of all tables in a text."""
    path = tmp_path / "pasted.md"
    path.write_text(text)
    return {
        one.name: one.status
        for run in vp.check(path)
        for one in run.checks
        if one.status in ("broken", "doubt")
    }


def test_a_sound_table_breaks_no_sum(tmp_path: Path) -> None:
    assert wrong(tmp_path, VLLM.format(**SOUND)) == {}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"duration": "25.00"}, {"request_rate": "broken", "output_rate": "broken", "total_rate": "broken"}),
        ({"duration": "1.10"}, {"longest": "broken"}),
        ({"rps": "11.00"}, {"request_rate": "broken"}),
        ({"ttft_median": "90.00"}, {"order": "broken"}),  # above p99
        ({"itl": "14.70", "tpot": "12.40"}, {"e2el_itl": "broken"}),
        ({"itl_median": "0.01"}, {"joined": "doubt"}),
        ({"rate": "25.0"}, {"offered": "doubt"}),
    ],
)
def test_a_wrong_figure_breaks_its_sum(
    tmp_path: Path, change: dict[str, str], expected: dict[str, str]
) -> None:
    found = wrong(tmp_path, VLLM.format(**{**SOUND, **change}))
    assert expected.items() <= found.items()


def test_gaps_of_chunks_with_several_tokens_are_a_doubt_and_no_fault(tmp_path: Path) -> None:
    """As vLLM's client prints them: a token without text comes with the next one."""
    assert wrong(tmp_path, VLLM.format(**SOUND | {"itl": "10.90"})) == {"e2el_itl": "doubt"}


def test_rounding_alone_breaks_no_sum(tmp_path: Path) -> None:
    text = VLLM.format(**SOUND).replace("10.00      \n", "10.00\n").replace("1010.00", "1009.75")
    assert wrong(tmp_path, text.replace("20.00\nTotal input", "20.005\nTotal input")) == {}


def test_lengths_are_held_against_those_of_the_data_set_that_was_used(tmp_path: Path) -> None:
    assert wrong(
        tmp_path, VLLM.format(**SOUND).replace("random_output_len=101", "random_output_len=500")
    ) == {"output_length": "doubt"}


def test_guidellm_tables_are_read_where_80_columns_broke_them(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(GUIDELLM.format(unit="(sec)  ", total="2802.4"))
    first, second = vp.check(tmp_path / "log")
    assert (first.tool, first.completed, second.completed) == ("guidellm", 650, 3900)
    assert [one for run in (first, second) for one in run.checks if one.status in ("broken", "doubt")] == []


def test_a_prompt_that_was_counted_twice_is_named(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(GUIDELLM.format(unit="(sec)  ", total="4198.5"))
    (found,) = [one for run in vp.check(tmp_path / "log") for one in run.checks if one.status == "broken"]
    assert (found.name, "counted twice" in found.meaning) == ("total_rate", True)


def test_seconds_under_a_head_of_milliseconds_are_told(tmp_path: Path) -> None:
    assert wrong(tmp_path, GUIDELLM.format(unit="(ms)", total="2802.4")) == {"remark": "doubt"}


def test_tokens_that_nobody_counted_are_no_zero_tokens(tmp_path: Path) -> None:
    assert wrong(tmp_path, LLM_BENCH.format(tokens="0.0")) == {"not_zero": "broken"}
    assert "not_zero" not in wrong(tmp_path, LLM_BENCH.format(tokens="100.0"))


def test_fields_in_a_markdown_table_are_read(tmp_path: Path) -> None:
    assert wrong(tmp_path, FIELDS.format(itl_median="20.1")) == {"offered": "doubt"}
    assert wrong(tmp_path, FIELDS.format(itl_median="0.0142")) == {"offered": "doubt", "joined": "doubt"}


def test_several_tables_of_a_text_are_several_runs_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(VLLM.format(**SOUND) + "\nand\n\n" + LLM_BENCH.format(tokens="0.0"))
    titles = [
        n
        for n, line in enumerate(path.read_text().splitlines(), 1)
        if line.startswith("====") and line[-3:] == "==="
    ]
    lines = [int(run.name.rpartition(":")[2]) for run in vp.check(path)]
    assert lines == [titles[0], titles[2]]


def test_a_text_without_a_table_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.md").write_text("TTFT was fine")
    assert main(["check", str(tmp_path / "a.md")]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_the_exit_code_tells_whether_all_sums_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.log").write_text(VLLM.format(**SOUND))
    (tmp_path / "bad.log").write_text(VLLM.format(**{**SOUND, "rps": "11.00"}))
    assert main(["check", str(tmp_path / "good.log")]) == 0
    capsys.readouterr()
    assert main(["check", str(tmp_path / "good.log"), str(tmp_path / "bad.log"), "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in printed[1]["checks"] if one["status"] == "broken"] == ["request_rate"]


def test_our_own_results_hold_in_every_format(tmp_path: Path) -> None:
    run = vp.bench(sim={"ttft_ms": 5, "itl_ms": 2}, num_prompts=120, max_concurrency=4, output_len=8)
    from vllmperf.formats import runs

    for name in ("run_file", "json", "vllm", "guidellm"):
        path = tmp_path / f"a.{name}"
        runs.write(run, path, name)
        (found,) = vp.check(path)
        broken = {one.name for one in found.checks if one.status == "broken"}
        assert broken <= {rule.name for rule in RULES} - {"client_sums"}  # the machine may be busy
    statements = {one.name for one in vp.check(run)[0].checks}
    assert {"little", "e2el", "client_lag", "throttled"} <= statements


def test_spans_agree_where_some_value_of_both_does() -> None:
    assert agree(Span(1.0, 1.1), Span(1.1, 1.2), 0)
    assert not agree(Span(1.0, 1.1), Span(1.2, 1.3), 0.01)
    assert (Span(1, 2) / Span(2, 4), Span(1, 2) - Span(3, 4)) == (Span(0.25, 1.0), Span(0.0, 0.0))


def test_a_result_without_figures_is_unknown_and_not_broken() -> None:
    nothing = {
        "metrics": {},
        "plan": {},
        "requests": {"completed": 0},
        "throughput": {},
        "tokens": {},
        "profile": "x",
    }
    found = {one.name: one.status for one in checked(Figures(nothing))}
    assert found.pop("numbers") == "ok"  # 0 is one
    assert set(found.values()) == {"unknown"}
    assert len({one.name for one in SUMS}) == len(SUMS)


KNOWN = {
    "llm_bench": {"not_zero"},  # without usage and tokenizer nobody counts
    "vllm": {"e2el_itl"},  # 0.6 tokenizes the text again
    "guidellm": {"total_rate"},  # 0.2 counts the prompt twice
}


def test_what_other_tools_really_printed_breaks_nothing_but_their_known_faults() -> None:
    shared = Path(os.environ.get("VLLMPERF_SHARED", "/nowhere"))
    if not (shared / "golden_bench").is_dir():
        pytest.skip("recorded results of other tools are not there")
    found = 0
    for path in (
        *(shared / "golden_bench").rglob("out/*.json"),
        *(shared / "golden_bench").rglob("stdout.txt"),
    ):
        try:
            runs = vp.check(path)
        except vp.errors.UsageError:
            continue  # a client that failed prints no table
        for run in runs:
            found += 1
            assert {one.name for one in run.checks if one.status == "broken"} <= KNOWN.get(run.tool, set()), (
                run.name
            )
    assert found > 50


SHRUNK = SOUND | {"ttft": "34.00", "e2el": "714.00", "ttft_median": "49.00"}


def shrunk(**change: str) -> str:
    """Both means divided by more requests than they are of."""
    figures = SHRUNK | change
    text = VLLM.format(**{name: figures[name] for name in SOUND})
    text = text.replace(
        "Mean TTFT (ms):                          50.00", f"Mean TTFT (ms):   {figures['ttft']}"
    )
    return text.replace(
        "Mean E2EL (ms):                          1050.00", f"Mean E2EL (ms):   {figures['e2el']}"
    )


def meaning(tmp_path: Path, text: str, name: str) -> str:
    path = tmp_path / "pasted.md"
    path.write_text(text)
    return next(one.meaning for run in vp.check(path) for one in run.checks if one.name == name)


def test_means_over_a_part_of_the_requests_that_were_divided_by_all_are_named(tmp_path: Path) -> None:
    found = meaning(tmp_path, shrunk(), "e2el_itl")
    assert "means of TTFT and of E2EL are both 0.68 of their medians" in found
    assert "sums over about 136 of the 200 requests" in found


def test_a_factor_that_medians_or_tpot_do_not_share_is_named_so_by_no_means(tmp_path: Path) -> None:
    for change in ({"ttft_median": "36.00"}, {"tpot": "6.80", "tpot_median": "6.80"}, {"ttft": "50.00"}):
        text = shrunk(**change)
        if "tpot_median" in change:
            text = text.replace("Median TPOT (ms):                        10.00", "Median TPOT (ms):    6.80")
        assert "divided by all" not in meaning(tmp_path, text, "e2el_itl")


REAL = ("golden_bench/vllm-0.33.0", "golden_bench/sglang-0.4.4.post1", "golden_guidellm/0.3.1")
UNITS = 1000.0


def whole_files(folder: str) -> list[vp.Run]:
    """One of each folder, of figures alone."""
    found = []
    for path in sorted(Path(os.environ["VLLMPERF_SHARED"], folder).rglob("*.json*")):
        try:
            runs = read_all(path)
        except UsageError:
            continue
        found += [run for run in runs if not run.has_requests][:1]
    return found


def broken_sums(summary: Any, run: Any) -> set[str]:
    return {one.name for one in checked(Figures(summary, run.rounding)) if one.status in ("broken", "doubt")}


def changed(summary: Any, path: tuple[str, ...], factor: float) -> Any:
    made = copy.deepcopy(dict(summary))
    part = made
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] *= factor
    return made


def figures_of(summary: Any) -> Iterator[tuple[str, ...]]:
    """Where a unit may be wrong by 1,000."""
    for key, row in summary["metrics"].items():
        for name in ("mean", "std", "p99", "max") if row and row["mean"] else ():
            if row.get(name):
                yield "metrics", key, name
    for path in (
        ("duration_s",),
        ("requests", "completed"),
        ("tokens", "output"),
        ("throughput", "output_tokens_per_s"),
    ):
        part = summary
        for name in path:
            part = part.get(name) if part else None
        if part:
            yield path


@pytest.mark.skipif("VLLMPERF_SHARED" not in os.environ, reason="needs the recorded files")
@pytest.mark.parametrize("folder", REAL)
def test_a_unit_that_is_wrong_by_a_thousand_in_a_real_file_is_noticed(folder: str) -> None:
    runs = [
        run
        for run in whole_files(folder)
        if run.summary["metrics"]["itl_ms"] and run.summary["requests"]["completed"] >= 20
    ][:6]
    assert runs
    for run in runs:
        for path in figures_of(run.summary):
            assert broken_sums(changed(run.summary, path, UNITS), run) - broken_sums(run.summary, run), (
                run.path,
                path,
            )


def shape(**row: float) -> dict[str, str]:
    summary = {
        "profile": "vllm",
        "requests": {"completed": 200},
        "plan": {},
        "metrics": {
            "tpot_ms": {
                "n": 200,
                "mean": 10.0,
                **{name.replace("_", "."): value for name, value in row.items()},
            }
        },
    }
    return {one.name: one.status for one in checked(Figures(summary))}


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"p50": 10.0, "std": 200.0}, "std"),  # one value of 200 cannot hold so much
        ({"p50": 10.0, "min": 8.0, "max": 14.0, "std": 5.0}, "std"),
        ({"p50": 13.0, "std": 2.0}, "std"),  # the median lies within one std of the mean
        ({"p50": 10.0, "p99": 40.0, "std": 2.0}, "std"),
        ({"p50": 10.0, "p99": 900.0}, "mean_bounds"),
        ({"p50": 8.0, "p90": 9.0, "max": 11.0}, "mean_bounds"),
    ],
)
def test_statistics_that_no_set_of_values_has_are_wrong(row: dict[str, float], name: str) -> None:
    assert shape(**row)[name] == "broken"


def test_statistics_of_any_values_break_nothing() -> None:
    rng = np.random.default_rng(4)
    for values in (
        rng.lognormal(2, 1.5, 200),
        rng.exponential(9, 50),
        rng.normal(10, 0.01, 25),
        np.r_[np.zeros(99), 500.0],
    ):
        quantiles = {f"p{q}": float(np.percentile(values, q)) for q in (50, 90, 99)}
        row = {
            **quantiles,
            "min": values.min(),
            "max": values.max(),
            "std": values.std(ddof=1),
            "mean": values.mean(),
        }
        for left_out in ((), ("max",), ("min", "p90"), ("std",)):
            found = shape(
                n=float(len(values)), **{name: float(row[name]) for name in row if name not in left_out}
            )
            assert "broken" not in (found["std"], found["mean_bounds"]), (row, left_out)
