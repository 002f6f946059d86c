"""--keep-gaps: of which requests a run file keeps the gaps between tokens, and what it tells without the others."""

from __future__ import annotations

import random

import numpy as np
import pytest
from synthetic import PLAN, Request, batch

import vllmperf
from vllmperf.cli import main
from vllmperf.errors import UsageError
from vllmperf.formats.vllm_result import save
from vllmperf.model.arrivals import arrivals
from vllmperf.record import gap_sample, merge
from vllmperf.record.reader import read
from vllmperf.record.resumed import ResumedWriter
from vllmperf.record.unfinished import unfinished
from vllmperf.record.writer import RunWriter
from vllmperf.report.console import table

MOST = 50


@pytest.fixture(autouse=True)
def small_sample(monkeypatch):
    monkeypatch.setattr(gap_sample, "MOST", MOST)


def requests(n: int, n_gaps: int = 20) -> list[Request]:
    """One after the other; the ITL of each is of its own."""
    drawn = random.Random(5)
    found, at = [], 0.0
    for i in range(n):
        gaps = [drawn.lognormvariate(2.3, 0.3) for _ in range(n_gaps)]
        found.append(Request(i, at, gaps=gaps, tokens=(1,) * n_gaps))
        at += 60 + sum(gaps)
    return found


PLANNED = {**PLAN, "backend": "openai", "burstiness": 1.0}


def written(path, keep, all_requests, per_batch=17, plan=PLAN):
    with RunWriter(path, plan, {}, facts={"keep_gaps": keep}) as writer:
        for i in range(0, len(all_requests), per_batch):
            writer.append(batch(all_requests[i : i + per_batch]))
        writer.finish("finished", {}, {})
    return vllmperf.open_run(path, trim=False)


def with_gaps(run) -> list[int]:
    rows = run.recording.requests
    return rows["index"][rows["n_gaps"] > 0].tolist()


def place(number: int) -> int:
    return number * gap_sample.MULTIPLIER % gap_sample.PLACES


def test_a_sample_is_bounded_and_follows_from_the_numbers_alone(tmp_path):
    many = requests(700)
    shuffled = list(many)
    random.Random(1).shuffle(shuffled)
    run, other = written(tmp_path / "a", "sample", many), written(tmp_path / "b", "sample", shuffled, 41)
    kept = with_gaps(run)
    halvings = run.recording.meta["gaps"]["halvings"]
    assert MOST // 2 - 5 <= len(kept) <= MOST
    assert kept == with_gaps(other) == [i for i in range(700) if place(i) < gap_sample.PLACES >> halvings]
    assert len(run.recording.requests) == 700
    assert max(np.diff(kept)) <= 3 * 700 / len(kept)  # spread evenly


def test_the_file_of_a_sample_grows_only_by_the_rows(tmp_path):
    many = requests(400, 250)
    sizes = {}
    for keep in ("all", "sample", "none"):
        written(tmp_path / keep, keep, many)
        sizes[keep] = (tmp_path / keep).stat().st_size
    of_sample = (sizes["all"] - sizes["none"]) * MOST / 400
    assert (
        sizes["sample"] < sizes["none"] + 2.5 * of_sample
    )  # pages freed by one halving are there at the end


def test_the_gaps_that_are_kept_are_those_of_their_requests(tmp_path):
    many = requests(300)
    recording = written(tmp_path / "a", "sample", many).recording
    offsets = recording.gap_request
    for row, request in enumerate(many):
        gaps = recording.gaps_ns[offsets[row] : offsets[row + 1]]
        if len(gaps):
            np.testing.assert_allclose(gaps / 1e6, request.gaps, rtol=1e-6)


def test_a_sample_of_few_requests_is_all_of_them(tmp_path):
    many = requests(MOST)
    run = written(tmp_path / "a", "sample", many)
    assert run.recording.keep_gaps == "all"
    assert run.summary["metrics"] == written(tmp_path / "b", "all", many).summary["metrics"]


def test_percentiles_of_a_sample_are_near_those_of_all_and_the_table_says_what_they_are_of(tmp_path):
    many = requests(900)
    run, whole = written(tmp_path / "a", "sample", many), written(tmp_path / "b", "all", many)
    a, b = (one.summary["metrics"]["itl_ms"] for one in (run, whole))
    assert a["mean"] == pytest.approx(b["mean"], rel=0.03)
    assert a["p50"] == pytest.approx(b["p50"], rel=0.03)
    assert a["p99"] == pytest.approx(b["p99"], rel=0.1)
    n = len(with_gaps(run))
    assert run.summary["gaps"] == {**run.summary["gaps"], "kept": "sample", "requests": n, "n": 20 * n}
    assert f"ITL: the gaps of {n} of 900 requests, a uniform sample" in table(run.summary)
    for name in ("ttft_ms", "tpot_ms", "e2el_ms"):
        assert run.summary["metrics"][name] == whole.summary["metrics"][name]


def test_without_gaps_itl_is_that_of_all_gaps_within_the_bound_of_the_histogram(tmp_path):
    many = requests(300)
    run, whole = written(tmp_path / "a", "none", many), written(tmp_path / "b", "all", many)
    a, b = (one.summary["metrics"]["itl_ms"] for one in (run, whole))
    assert len(run.recording.gaps_ns) == 0
    assert a["n"] == b["n"] == 6000
    for name in ("p50", "p90", "p99"):
        assert a[name] == pytest.approx(b[name], rel=0.001)
    assert run.summary["metrics"]["tpot_ms"] == whole.summary["metrics"]["tpot_ms"]
    assert "percentiles of the 6,000 gaps are from a histogram" in table(run.summary)
    assert "of the whole run" in table(run.summary)


@pytest.mark.parametrize("keep", ["sample", "none"])
def test_gaps_that_are_even_shares_are_still_told(tmp_path, keep):
    many = requests(300)
    for request in many:
        request.shared = (0, 1, 1, 1, *(0,) * 16)
        request.fields = {"coalesced": 3}
    run = written(tmp_path / "a", keep, many)
    assert run.summary["gaps"]["shared_share"] == pytest.approx(0.15)
    assert "coalesced" in {one["name"] for one in run.summary["verdict"]["findings"]}
    shown = " ".join(table(run.summary).split())
    assert "% of the gaps are even shares" in shown
    assert ("a uniform sample" if keep == "sample" else "from a histogram") in shown


def test_what_needs_the_gaps_of_all_is_null_or_refused(tmp_path):
    run = written(tmp_path / "a", "sample", requests(300), plan=PLANNED)
    assert run.summary["throughput"]["peak_output_tokens_per_s"] is None
    with pytest.raises(UsageError, match="keeps the gaps of some requests"):
        arrivals(run.recording)
    with pytest.raises(UsageError, match="writes the gaps of every request"):
        save(run, tmp_path, "r.json", detailed=True)


@pytest.mark.parametrize("keep", ["sample", "none"])
def test_the_verdict_and_the_sums_of_a_plain_run_do_not_change_with_what_is_kept(tmp_path, keep):
    many = requests(300)
    run, whole = written(tmp_path / "a", keep, many), written(tmp_path / "b", "all", many)
    names = [{one["name"] for one in each.summary["verdict"]["findings"]} for each in (run, whole)]
    assert names[0] == names[1]
    broken = [
        {one.name for one in vllmperf.check(each)[0].checks if one.status == "broken"}
        for each in (run, whole)
    ]
    assert broken[0] == broken[1]


def test_answers_that_began_with_a_burst_are_counted_among_those_whose_gaps_are_known(tmp_path):
    many = requests(300)
    for request in many:
        request.gaps = [0.0, 0.0, *request.gaps[2:]]
    run, whole = written(tmp_path / "a", "sample", many), written(tmp_path / "b", "all", many)
    a, b = (one.summary["answers"]["held_back"] for one in (run, whole))
    assert a["of"] == len(with_gaps(run))
    assert a["gap_share"] == pytest.approx(b["gap_share"])


def test_merged_samples_are_as_thin_as_the_thinnest(tmp_path):
    written(tmp_path / "a", "sample", requests(300))
    written(tmp_path / "b", "all", requests(40))
    merged = read(merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c"))
    halvings = read(tmp_path / "a").meta["gaps"]["halvings"]
    assert merged.meta["gaps"] == {"keep": "sample", "halvings": halvings}
    later = merged.requests[300:]
    assert [i for i in range(40) if later["n_gaps"][i]] == [
        i for i in range(40) if place(i) < gap_sample.PLACES >> halvings
    ]
    assert len(merged.gaps_ns) == merged.requests["n_gaps"].sum()


def test_files_with_and_without_gaps_are_not_merged(tmp_path):
    written(tmp_path / "a", "none", requests(10))
    written(tmp_path / "b", "all", requests(10))
    with pytest.raises(UsageError, match="keeps no gaps"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")


@pytest.mark.parametrize("keep", ["sample", "none"])
def test_a_resumed_run_keeps_on_as_it_began(tmp_path, keep):
    many, path = requests(400), tmp_path / "r"
    with RunWriter(path, PLAN, {}, facts={"keep_gaps": keep}) as writer:
        writer.append(batch(many[:200]))
        writer.finish("interrupted", {}, {})
    with ResumedWriter(unfinished(path)) as writer:
        writer.append(batch(many[200:]))
        writer.finish("finished", {}, {})
    run = vllmperf.open_run(path, trim=False)
    known = run.recording.meta["gaps"]
    assert known["keep"] == keep
    if keep == "sample":
        assert len(with_gaps(run)) <= MOST
        assert with_gaps(run) == [i for i in range(400) if place(i) < gap_sample.PLACES >> known["halvings"]]
    else:
        assert run.summary["metrics"]["itl_ms"]["n"] == 400 * 20


def test_the_command_takes_it_and_refuses_what_contradicts_it(tmp_path, capsys):
    words = "bench --sim ttft_ms=2,itl_ms=20 --num-prompts 20 --output-len 6 --no-progress --keep-gaps none"
    assert main([*words.split(), "--record", str(tmp_path / "r")]) in (0, 1)
    assert "are from a histogram" in " ".join(capsys.readouterr().out.split())
    assert read(tmp_path / "r").keep_gaps == "none"
    assert main([*words.split(), "--save-detailed"]) == 2
    assert "leave --keep-gaps out" in capsys.readouterr().err
