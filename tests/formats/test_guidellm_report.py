"""benchmarks.json: rows, metrics and keys, against reports that guidellm 0.3.1 wrote."""

import csv
import json
from pathlib import Path

import pytest
from guidellm_golden import golden, key_tree, report

from vllmperf.errors import UsageError
from vllmperf.formats import guidellm_file
from vllmperf.formats.guidellm_report import Request, benchmark, metrics, row, sampled, totals

HEAD = {
    "type_": "generative_benchmark",
    "id_": "a",
    "run_id": "b",
    "args": {"strategy": {"type_": "synchronous", "start_time": 0.0}},
    "worker": {},
    "request_loader": {},
    "extras": {},
}


def request(status="successful", **more):
    usual = {
        "id": "1",
        "type": "text_completions",
        "status": status,
        "prompt": "p",
        "output": "o",
        "prompt_tokens": 16,
        "output_tokens": 5,
        "targeted": 100.0,
        "start": 100.0,
        "end": 101.0,
        "first": 100.2,
        "last": 101.0,
    }
    return Request(**{**usual, **more})


def of_row(status, found):
    """A Request from a row that guidellm wrote."""
    info = found["scheduler_info"]
    return Request(
        id=found["request_id"],
        type=found["request_type"],
        status=status,
        prompt=found["prompt"],
        output=found["output"],
        prompt_tokens=found["prompt_tokens"],
        output_tokens=found["output_tokens"],
        targeted=info["targeted_start_time"],
        start=found["start_time"],
        end=found["end_time"],
        first=found["first_token_time"],
        last=found["last_token_time"],
        error=found.get("error"),
        worker=info["process_id"],
    )


def requests_of(found):
    return [of_row(status, item) for status, rows in found["requests"].items() for item in rows or []]


def test_the_metrics_of_a_request_are_those_of_0_3():
    item = request()
    assert item.latency_s == pytest.approx(1.0)
    assert item.ttft_ms == pytest.approx(200)
    assert item.itl_ms == pytest.approx(800 / 4)
    assert item.tpot_ms == pytest.approx(800 / 5)
    assert item.per_second(5) == pytest.approx(5)


def test_itl_is_weighted_by_gaps_and_tpot_by_tokens():
    both = metrics([request(), request(output_tokens=2)])
    assert both["inter_token_latency_ms"]["successful"]["mean"] == pytest.approx((200 * 4 + 800 * 1) / 5)
    assert both["time_per_output_token_ms"]["successful"]["mean"] == pytest.approx((160 * 5 + 400 * 2) / 7)


def test_what_never_brought_a_token_is_null_in_its_row_and_not_in_the_token_metrics():
    item = request("errored", first=None, last=None, output_tokens=0, output="", error="refused")
    found = row(item)
    assert found["time_to_first_token_ms"] is None
    assert found["time_per_output_token_ms"] is None
    assert found["output_tokens_per_second"] is None
    assert found["type_"] == "generative_text_error"
    assert found["error"] == "refused"
    assert metrics([item])["time_to_first_token_ms"]["total"]["count"] == 0


def test_one_token_has_a_rate_and_no_gap():
    found = row(request(output_tokens=1, last=100.2))
    assert (found["inter_token_latency_ms"], found["output_tokens_per_second"]) == (None, pytest.approx(1))


def test_blocks_of_requests_that_were_not_there_keep_zeros_and_those_that_people_read_are_null():
    good, bad = metrics([request()]), metrics([request("errored", first=None, last=None, output_tokens=0)])
    assert good["request_latency"]["errored"]["mean"] == good["request_latency"]["incomplete"]["mean"] == 0.0
    for name in ("request_latency", "time_to_first_token_ms", "inter_token_latency_ms", "output_token_count"):
        assert bad[name]["successful"]["mean"] is bad[name]["successful"]["percentiles"]["p99"] is None
    assert bad["time_to_first_token_ms"]["total"]["mean"] is None
    assert bad["request_latency"]["total"]["mean"] == pytest.approx(1.0)
    assert bad["requests_per_second"]["successful"]["mean"] == 0.0


def test_total_holds_all_and_each_status_its_own():
    items = [request(), request("incomplete"), request("errored", output_tokens=0)]
    assert totals(items) == {"successful": 1, "errored": 1, "incomplete": 1, "total": 3}
    counts = {status: block["count"] for status, block in metrics(items)["request_latency"].items()}
    assert counts == {"successful": 1, "errored": 1, "incomplete": 1, "total": 3}


def test_sampling_keeps_the_metrics_and_says_how_many_rows_are_left():
    found = benchmark(HEAD, [request() for _ in range(5)], [request()], {"start_time": 0.0, "end_time": 1.0})
    few = sampled(found, 2)
    assert len(few["requests"]["successful"]) == 2
    assert few["request_samples"] == {"successful": 2, "errored": 0, "incomplete": 0, "total": None}
    assert few["metrics"] == found["metrics"]
    assert sampled(found, None) == found


@pytest.mark.parametrize(
    "name", ["small.json", "stdev.json", "poisson.json", "sweep.json", "throughput.full.json.gz"]
)
def test_aggregates_of_recorded_rows_are_those_that_guidellm_wrote(name):
    for found in report(name)["benchmarks"]:
        ours = metrics(requests_of(found))
        assert list(ours) == list(found["metrics"])
        for metric, blocks in found["metrics"].items():
            for status, block in blocks.items():
                expected = {**block, **block["percentiles"]}
                got = {**ours[metric][status], **ours[metric][status]["percentiles"]}
                for key in ("percentiles", "cumulative_distribution_function"):
                    del expected[key], got[key]
                assert got == pytest.approx(expected, rel=1e-9), f"{metric} {status}"


@pytest.mark.parametrize("name", ["poisson.json", "synchronous.json", "small.json"])
def test_rows_and_keys_of_recorded_reports_are_written_again_as_they_were(name):
    found = report(name)["benchmarks"][0]
    items = requests_of(found)
    times = {name: found["run_stats"][name] for name in ("start_time", "end_time")}
    ours = benchmark(found, items, items, times)
    assert key_tree(ours) == key_tree(found)
    for status in ("successful", "incomplete"):
        for got, expected in zip(ours["requests"][status], found["requests"][status], strict=True):
            assert {**got, "scheduler_info": None} == {**expected, "scheduler_info": None}


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_a_report_comes_back_from_json_and_yaml(tmp_path, suffix):
    made = {"benchmarks": [benchmark(HEAD, [request()], [request()], {"start_time": 0.0, "end_time": 1.0})]}
    write = {"json": guidellm_file.to_json, "yaml": guidellm_file.to_yaml}[suffix]
    path = tmp_path / f"benchmarks.{suffix}"
    path.write_text(write(made))
    assert guidellm_file.load(path) == made


def test_the_recorded_yaml_has_the_keys_of_ours():
    recorded = guidellm_file.load(golden("small.yaml"))
    again = guidellm_file.to_yaml(recorded)
    assert again == Path(golden("small.yaml")).read_text()


def test_csv_has_the_recorded_columns_and_a_row_a_benchmark(tmp_path):
    path = tmp_path / "out.csv"
    guidellm_file.write_csv(report("concurrent.json"), path)
    ours, recorded = (list(csv.reader(file.read_text().splitlines())) for file in (path, golden("small.csv")))
    assert ours[0] == recorded[0]
    assert len(ours) == len(recorded) == 3
    assert [row[3] for row in ours[1:]] == ["concurrent@1", "concurrent@4"]
    for mine, theirs in zip(ours[1], recorded[1], strict=True):
        assert mine[:1] == theirs[:1] or mine.replace(".", "")[:1].isdigit()  # the same kind of cell


def test_a_list_of_percentiles_is_one_cell(tmp_path):
    path = tmp_path / "out.csv"
    made = benchmark(HEAD, [request()], [request()], {"start_time": 0.0, "end_time": 1.0})
    guidellm_file.write_csv({"benchmarks": [made]}, path)
    header, values = csv.reader(path.read_text().splitlines())
    cells = dict(zip(header, values, strict=True))
    listed = json.loads(
        cells["Successful Time to first token ms [min, 0.1, 1, 5, 10, 25, 75, 90, 95, 99, max]"]
    )
    assert len(listed) == 11


@pytest.mark.parametrize(
    ("text", "word"), [("{", "cannot be read"), ("[]", "no report"), ('{"benchmarks": []}', "no report")]
)
def test_what_is_no_report_is_said_to_be_none(tmp_path, text, word):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=word):
        guidellm_file.load(path)


def test_a_suffix_that_says_nothing_is_refused_by_name(tmp_path):
    with pytest.raises(UsageError, match=r"result\.txt"):
        guidellm_file.place("result.txt")
    assert guidellm_file.place(tmp_path) == (tmp_path / "benchmarks.json", "json")
