"""Statistics, tables, Summary and CSV of llm_bench."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllmperf.dropin.llm_bench import summary, tables
from vllmperf.dropin.llm_bench.arguments import parse
from vllmperf.dropin.llm_bench.stats import Entry, Stats, locust_round, unrounded
from vllmperf.dropin.llm_bench.target import Target, task
from vllmperf.errors import UsageError
from vllmperf.formats.llm_bench_csv import append

VALUES = st.lists(st.floats(0, 2e5), min_size=1, max_size=60)


def options(words="", profile="2024-10"):
    return parse(["--profile", profile, *words.split()])


def entry_of(values):
    entry = Entry("METRIC", "x")
    for value in values:
        entry.add(value)
    return entry


def locust_percentile(values, share):
    """By its dictionary of rounded samples, from the largest down."""
    counts = {}
    for value in values:
        counts[locust_round(value)] = counts.get(locust_round(value), 0) + 1
    seen = 0
    for value in sorted(counts, reverse=True):
        seen += counts[value]
        if len(values) - seen <= int(len(values) * share):
            return value
    return 0


# ---- statistics ----


@pytest.mark.parametrize(
    ("value", "kept"),
    [(7.4, 7), (99.4, 99), (104, 100), (147, 150), (999, 1000), (3432, 3400), (58760, 59000)],
)
def test_rounding_is_that_of_locust(value, kept):
    assert locust_round(value) == kept
    assert unrounded(value) == value


@given(VALUES, st.sampled_from([0.5, 0.66, 0.9, 0.95, 0.99, 0.999, 1.0]))
def test_percentiles_with_rounding_are_those_of_locust(values, share):
    assert entry_of(values).percentile(share, locust_round) == locust_percentile(values, share)


@given(VALUES)
def test_percentiles_without_rounding_are_samples(values):
    entry = entry_of(values)
    assert entry.percentile(0.5, unrounded) in values
    assert entry.percentile(1.0, unrounded) == max(values)
    assert entry.least <= entry.median(unrounded) <= entry.most


def test_an_entry_without_samples_is_zero_as_in_locust():
    entry = Entry("METRIC", "x")
    assert (entry.mean, entry.percentile(0.5, unrounded), entry.median(locust_round)) == (0, 0, 0)


def test_the_median_is_not_rounded_beyond_the_extremes():
    assert entry_of([147.0]).median(locust_round) == 147.0


def test_rates_count_from_the_reset_to_the_last_sample_of_any_name():
    stats = Stats()
    stats.add("POST", "/p", 1.0, 0.5)
    stats.reset(2.0)
    for at_s in (3.0, 4.0):
        stats.add("METRIC", "total_latency", 5.0, at_s)
    assert stats.entry("POST", "/p").count == 0
    assert stats.rate(stats.entry("METRIC", "total_latency").count) == 1.0
    assert stats.total.count == 2


# ---- tables ----


def filled():
    stats = Stats()
    for value in (103.2, 5.5, 7.7):
        stats.add("POST", "/v1/completions", value, 2.0)
        stats.add("METRIC", "latency_per_token", value / 100, 2.0)
    stats.fail("POST", "/v1/completions", "CatchResponseError('bad')")
    stats.entry("METRIC", "prompt_tokens")
    return stats


def test_the_table_of_requests_is_locusts_to_the_character():
    assert tables.requests_table(filled(), 80, True) == [
        "Type     Name"
        + " " * 74
        + "# reqs      # fails |    Avg     Min     Max    Med |   req/s  failures/s",
        "--------|"
        + "-" * 76
        + "|-------|-------------|-------|-------|-------|-------|--------|-----------",
        "POST     /v1/completions"
        + " " * 68
        + "3    1(33.33%) |     38       5     103      8 |    1.50        0.50",
        "METRIC   latency_per_token"
        + " " * 66
        + "3     0(0.00%) |      0       0       1      0 |    1.50        0.00",
        "METRIC   prompt_tokens"
        + " " * 70
        + "0     0(0.00%) |      0       0       0      0 |    0.00        0.00",
        "--------|"
        + "-" * 76
        + "|-------|-------------|-------|-------|-------|-------|--------|-----------",
        "         Aggregated"
        + " " * 73
        + "6    1(16.67%) |     19       0     103      1 |    3.00        0.50",
    ]


def test_the_table_of_percentiles_is_locusts_to_the_character():
    table = tables.percentiles_table(filled(), 80, True)
    assert table[:3] == [
        "Response time percentiles (approximated)",
        "Type     Name"
        + " " * 82
        + "50%    66%    75%    80%    90%    95%    98%    99%  99.9% 99.99%   100% # reqs",
        "--------|" + "-" * 80 + "|--------" + "|------" * 11,
    ]
    assert table[3] == (
        "POST     /v1/completions"
        + " " * 73
        + "8      8    100    100    100    100    100    100    100    100    100      3"
    )
    assert [row[:30].strip() for row in table[4:]] == [
        "METRIC   latency_per_token",
        "-" * 8 + "|" + "-" * 21,
        "Aggregated",
    ]


def test_without_rounding_the_columns_stay_and_the_digits_come():
    rounded, exact = (tables.percentiles_table(filled(), 80, mode) for mode in (True, False))
    assert "103.20" in exact[3]
    assert "0.08" in exact[4]
    assert [len(row) for row in rounded[1:]] == [len(row) for row in exact[1:]]


def test_errors_are_listed_with_how_often_they_came():
    table = tables.errors_table(filled(), 80)
    assert table[0] == "Error report"
    assert table[2] == "-" * 18 + "|" + "-" * 141
    assert table[3].startswith("1                  POST /v1/completions: CatchResponseError('bad')")


# ---- Summary and CSV ----


def figures(words="", profile="2024-10"):
    read = options(f"-H http://h {words}", profile)
    target = Target("vllm", "m", "/v1/completions", task(read, "/v1/completions", chat=False), None)
    stats = Stats()
    for value in (103.2, 107.9):
        for name in ("time_to_first_token", "total_latency"):
            stats.add("METRIC", name, value, 2.0)
    return summary.figures(read, target, stats)


def test_the_summary_of_2024_has_its_figures_in_order():
    found = figures("--qps 2.5 --qps-distribution uniform")
    assert list(found) == [
        "Provider", "Model", "Prompt Tokens", "Generation Tokens", "Stream", "Temperature", "Logprobs",
        "Concurrency", "Time To First Token", "Latency Per Token", "Num Tokens", "Total Latency",
        "Num Requests", "Qps",
        "P50 Time To First Token", "P90 Time To First Token", "P99 Time To First Token",
        "P99.9 Time To First Token",
        "P50 Total Latency", "P90 Total Latency", "P99 Total Latency", "P99.9 Total Latency",
    ]  # fmt: skip
    assert found["Concurrency"] == "QPS 2.5 uniform"
    assert found["Generation Tokens"] == "64"
    assert found["Num Requests"] == 2
    assert found["Qps"] == 1.0
    assert found["P50 Total Latency"] == 107.9


def test_the_old_figures_come_with_locusts_rounding():
    assert figures("--locust-rounding")["P50 Total Latency"] == 110.0


def test_the_summary_of_2026_leaves_first_tokens_out_without_a_stream():
    streamed, plain = figures(profile="2026-06"), figures("--no-stream", profile="2026-06")
    gone = [name for name in streamed if name not in plain]
    assert gone == [f"P{rank} Time To First Token" for rank in (50, 90, 95, 99, 99.9)]
    assert plain["Time To First Token"] == plain["Latency Per Token"] == ""
    assert list(streamed)[8:14] == [
        "Concurrency", "Time To First Token", "Latency Per Token", "Overall Latency Per Token",
        "Total Latency", "Num Tokens",
    ]  # fmt: skip


def test_the_block_is_aligned_between_two_rules():
    lines = summary.block({"Qps": 1.5, "Num Requests": 3}).splitlines()
    assert lines == [
        "=================================== Summary ====================================",
        "Qps         : 1.5",
        "Num Requests: 3",
        "=" * 80,
    ]


def test_the_csv_gets_a_header_once_and_a_line_a_run(tmp_path):
    path = tmp_path / "s.csv"
    for qps in (1.5, 2.5):
        append(path, {"Provider": "vllm", "Logprobs": None, "Concurrency": "QPS 1, x", "Qps": qps})
    text = path.read_bytes()
    assert text.count(b"\r\n") == 3
    assert list(csv.reader(text.decode().splitlines())) == [
        ["Provider", "Logprobs", "Concurrency", "Qps"],
        ["vllm", "", "QPS 1, x", "1.5"],
        ["vllm", "", "QPS 1, x", "2.5"],
    ]


def test_a_csv_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="--summary-file"):
        append(tmp_path / "missing" / "s.csv", {"Qps": 1})
