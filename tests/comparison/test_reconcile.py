"""vllmperf reconcile: the parts of a difference between two tools."""

import json

import pytest
from loaded_runs import PLAN, loaded_run
from synthetic import steady, write_run

import vllmperf as vp
from vllmperf.cli import main
from vllmperf.formats import runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("tools")
    loaded_run(made / "ours.vllmperf", 0)
    loaded_run(made / "other.vllmperf", 1)
    for name, suffix in (("guidellm", "json"), ("vllm", "json")):
        for side in ("ours", "other"):
            runs.write(
                vp.open_run(made / f"{side}.vllmperf", trim=False), made / f"{side}_{name}.{suffix}", name
            )
    for side in ("ours", "other"):  # as vLLM's client writes it: without our profile
        path = made / f"{side}_vllm.json"
        found = json.loads(path.read_text())
        path.write_text(
            json.dumps({key: value for key, value in found.items() if key not in ("profile", "tool")})
        )
    return made


@pytest.mark.parametrize("tool", ["guidellm", "vllm"])
def test_of_one_run_by_two_rules_all_of_the_difference_is_the_definition(folder, tool):
    found = vp.reconcile(folder / "ours.vllmperf", folder / f"ours_{tool}.json")
    assert {"ttft_mean", "requests_per_s", "e2el_mean"} <= {one.name for one in found.figures}
    for one in found.figures:
        assert one.definition == pytest.approx(one.second - one.first)
        assert one.rest == pytest.approx(0.0, abs=1e-9)


def test_the_other_order_gives_the_other_sign(folder):
    a = vp.reconcile(folder / "ours.vllmperf", folder / "other_guidellm.json")
    b = vp.reconcile(folder / "other_guidellm.json", folder / "ours.vllmperf")
    for one, other in zip(a.figures, b.figures, strict=True):
        assert one.definition == pytest.approx(-other.definition, abs=1e-9)
        assert one.rest == pytest.approx(-other.rest, abs=1e-9)


def test_what_remains_of_two_equal_loads_is_within_chance(folder):
    found = vp.reconcile(folder / "ours.vllmperf", folder / "other_guidellm.json")
    (one,) = (one for one in found.figures if one.name == "ttft_mean")
    assert one.is_chance
    assert any(reason.kind == "definition" and "guidellm" in reason.words for reason in found.reasons)


def test_another_load_is_named_with_its_size(folder, tmp_path):
    path = tmp_path / "v.json"
    path.write_text(
        json.dumps({"duration": 10.0, "completed": 300, "request_throughput": 30.0, "mean_ttft_ms": 99.0})
    )
    found = vp.reconcile(folder / "ours.vllmperf", path)
    (load,) = (reason for reason in found.reasons if reason.words.startswith("requests completed"))
    assert (load.kind, load.size) == ("load", -0.5)


def words_of(found, kind):
    return [reason.words for reason in found.reasons if reason.kind == kind]


def test_the_rate_of_two_closed_loops_is_a_result_and_no_load(tmp_path):
    for name, rate, mean in (("a", 8.0, 500.0), ("b", 4.0, 750.0)):
        loop = {"duration": 10.0, "completed": 80, "max_concurrency": 4, "request_rate": "inf"}
        figures = {"request_throughput": rate, "mean_e2el_ms": mean, "mean_ttft_ms": 9.0}
        (tmp_path / f"{name}.json").write_text(json.dumps(loop | figures))
    found = vp.reconcile(tmp_path / "a.json", tmp_path / "b.json")
    assert words_of(found, "load") == ["mean requests at once 4 → 3"]


def test_when_each_side_stamps_a_chunk_is_told(folder):
    found = vp.reconcile(folder / "ours.vllmperf", folder / "other_vllm.json")
    ours, theirs = (words for words in words_of(found, "path") if "stamps a chunk" in words)
    assert "when it arrives" in ours
    assert "when its program comes to it" in theirs


def test_what_speaks_against_the_figures_of_either_side_is_told(folder, tmp_path):
    path = tmp_path / "v.json"
    times = {"mean_ttft_ms": 9.0, "median_itl_ms": 0.003, "median_tpot_ms": 3.2, "mean_itl_ms": 8.0}
    path.write_text(json.dumps({"duration": 10.0, "completed": 300, **times, "mean_tpot_ms": 6.8}))
    found = vp.reconcile(folder / "ours.vllmperf", path)
    assert any("most chunks came in one read" in words for words in words_of(found, "doubt"))
    verdict = vp.open_run(folder / "ours.vllmperf").summary["verdict"]
    named = [words for words in words_of(found, "doubt") if "its verdict is" in words]
    assert bool(named) == bool(verdict["findings"])


def test_what_lies_outside_the_engine_is_told_where_the_answers_have_its_times(tmp_path):
    times = {"server_queue_ns": 4 * 10**6, "server_prefill_ns": 40 * 10**6, "server_decode_ns": 30 * 10**6}
    write_run(tmp_path / "a.vllmperf", steady(200, **times), PLAN)
    (tmp_path / "b.json").write_text(json.dumps({"duration": 10.0, "completed": 200, "mean_e2el_ms": 60.0}))
    found = vp.reconcile(tmp_path / "a.vllmperf", tmp_path / "b.json")
    (words,) = (one for one in words_of(found, "path") if "engine's own times" in one)
    assert "74 of 80 ms of mean E2EL" in words
    assert "at most 6 ms of a difference" in words


def test_two_files_of_figures_alone_claim_nothing_of_definition_or_chance(folder):
    found = vp.reconcile(folder / "ours_vllm.json", folder / "ours_guidellm.json")
    assert found.figures
    assert all(one.definition is None and one.rest is None and one.chance is None for one in found.figures)


def test_a_summary_of_aiperf_is_read_by_its_units(tmp_path):
    path = tmp_path / "profile_export_aiperf.json"
    latency = {"unit": "ms", "avg": 100.0, "p50": 90.0, "p99": 200.0, "std": 5.0, "count": 20, "sum": 2000.0}
    path.write_text(
        json.dumps(
            {
                "schema_version": "1.5",
                "request_latency": latency,
                "time_to_first_token": {"unit": "s", "avg": 0.05, "p99": 0.1, "count": 20},
                "request_throughput": {"unit": "requests/sec", "avg": 1.5},
                "request_count": {"unit": "requests", "avg": 20.0},
                "output_sequence_length": {"unit": "tokens", "avg": 8.0},
            }
        )
    )
    run = runs.read(path)
    assert run.tool == "aiperf"
    assert (run.e2el.p99, run.ttft.mean, run.ttft.p99, run.tpot.mean) == (200.0, 50.0, 100.0, None)
    assert run.summary["requests"]["completed"] == 20
    assert run.summary["tokens"]["output"] == 160
    assert run.summary["throughput"]["requests_per_s"] == 1.5


def test_of_aiperf_load_and_two_counts_of_tokens_are_read_and_its_rates_break_no_sum(tmp_path):
    path = tmp_path / "profile_export_aiperf.json"
    phase = {
        "name": "profiling",
        "kind": "profiling",
        "type": "concurrency",
        "requests": 200,
        "concurrency": 4,
    }
    figures = {
        "request_throughput": 4.70541, "benchmark_duration": 42.46941, "request_count": 200.0,
        "output_token_throughput": 335.18995, "output_sequence_length": 71.235, "effective_concurrency": 3.4422,
        "total_usage_completion_tokens": 12800.0,
    }  # fmt: skip
    latency = {"unit": "ms", "avg": 730.08, "p50": 434.2, "p99": 2541.1, "count": 200}
    data = {name: {"unit": "", "avg": value} for name, value in figures.items()}
    path.write_text(json.dumps(data | {"request_latency": latency, "input_config": {"phases": [phase]}}))
    (checked,) = vp.check(path)
    assert checked.holds
    (doubt,) = (one for one in checked.checks if one.status == "doubt")
    assert "14,247 in all; the server's usage says 12,800" in doubt.statement
    assert "11.3 % off" in doubt.statement
    summary = runs.read(path).summary
    assert summary["in_flight"]["asked"] == 4
    assert repr(summary["requests"]["completed"]) == "200"


def test_the_command_prints_parts_and_json(folder, capsys):
    words = ["reconcile", str(folder / "ours.vllmperf"), str(folder / "other_guidellm.json")]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "definition" in out
    assert "Mean TTFT (ms)" in out
    assert main([*words, "--json"]) == 0
    figure = json.loads(capsys.readouterr().out)["figures"]["ttft_mean"]
    assert figure["definition"] + figure["rest"] == pytest.approx(figure["second"] - figure["first"])
