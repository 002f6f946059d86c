"""vllmperf reconcile: the parts of a difference between two tools."""

import json

import pytest
from loaded_runs import loaded_run

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
    assert {"ttft_mean", "requests_per_s"} <= {one.name for one in found.figures}
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


def test_the_command_prints_parts_and_json(folder, capsys):
    words = ["reconcile", str(folder / "ours.vllmperf"), str(folder / "other_guidellm.json")]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "definition" in out
    assert "Mean TTFT (ms)" in out
    assert main([*words, "--json"]) == 0
    figure = json.loads(capsys.readouterr().out)["figures"]["ttft_mean"]
    assert figure["definition"] + figure["rest"] == pytest.approx(figure["second"] - figure["first"])
