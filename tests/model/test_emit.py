"""Constants for routers and autoscalers: right on a replica of known law, and in the formats of those who read them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("scipy", reason="scipy (the extra `model`) is not installed")
pytest.importorskip("jsonschema", reason="jsonschema (with nbclient) is not installed")

import jsonschema

import vllmperf
from tests.model import scaling_schemas as schemas
from vllmperf.cli import main
from vllmperf.cli.fit import EMIT
from vllmperf.errors import UsageError
from vllmperf.model.goal_rate import Goals
from vllmperf.model.parameters import Fit, Parameter, Point, Quality
from vllmperf.model.scaling import Scaling, peak_prefill, scaling
from vllmperf.model.simulate import Load, Replica, serve, simulate
from vllmperf.report.emit import TARGETS, inferred_targets

REPLICA = Replica(7.0, 0.5, 1.5, 0.02, 0.5, 8)
LOAD = Load(256, 16, 0.2, 0.2)


def known(value: float, half: float) -> Parameter:
    return Parameter(value, value - half, value + half)


FIT = Fit(
    {
        "alpha": known(7.0, 0.02),
        "beta": known(0.5, 0.002),
        "gamma": known(9.0, 0.3),
        "delta": known(0.02, 0.0005),
        "step_gamma": known(1.5, 0.1),
        "step_delta": known(0.02, 0.0005),
    },
    Quality(1000, 998, 0.99, None, 5.0, 20_000),
    (Point("1 at 256/16", 1, 256.0, 16.0, 1.0, 7.1, 7.1, 19.0, 100, "steps"),),
    (1.0, 8.0),
    (103.0, 8200.0),
    warnings=("the engine stalled\nnow and then",),
    model="org/model",
    max_num_seqs=8,
    kv_cache_tokens=3000,
)


@pytest.fixture(scope="module")
def found() -> Scaling:
    return scaling(FIT, REPLICA, {"alpha_ms": 0.01}, Goals(ttft_ms=300, tpot_ms=14, percentile=99), LOAD)


def parsed(target: str, **settings: object) -> dict:
    return yaml.safe_load(vllmperf.emit(FIT, target, **settings))


def emitted(target: str, constants: Scaling, fit: Fit = FIT) -> dict:
    return yaml.safe_load(TARGETS[target](fit, constants))


# ---- numbers ----


def test_the_peak_throughput_is_what_a_lone_prompt_of_a_whole_step_gets() -> None:
    alone = serve(REPLICA, np.array([8192]), np.array([2]), np.zeros(1))
    assert peak_prefill(FIT, 8192).value == pytest.approx(8192 / float(alone.ttft_ms[0]) * 1000, rel=1e-3)


def test_its_interval_is_that_of_gamma_and_delta_together() -> None:
    apart = replace(FIT, covariance_gamma_delta=((0.0234, 0.0), (0.0, 6.5e-8)))
    wide, narrow = (peak_prefill(one, 8192) for one in (FIT, apart))
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
    half = 1.96 * (0.0234 + 8192**2 * 6.5e-8) ** 0.5
    assert narrow.low == pytest.approx(8_192_000 / (9 + 0.02 * 8192 + half))


def test_a_chunk_longer_than_any_prompt_that_was_seen_is_called_extrapolated() -> None:
    assert "extrapolated" in vllmperf.emit(replace(FIT, valid_input_tokens=(100.0, 2457.0)), "llm-d-router")
    assert "extrapolated" not in vllmperf.emit(FIT, "llm-d-router")


def over_time(begin_ns: np.ndarray, end_ns: np.ndarray, size: np.ndarray) -> float:
    """The mean over the middle of the time of what is between begin and end, by adding up looks."""
    looks = np.linspace(0.2 * begin_ns.max(), 0.9 * begin_ns.max(), 2000)
    return float(np.mean([size[(begin_ns <= at) & (at < end_ns)].sum() for at in looks]))


def test_backlog_batch_and_cache_are_means_over_time_of_what_the_replica_holds() -> None:
    rng = np.random.default_rng(3)
    count, rate = 20_000, 25.0
    arrival = np.cumsum(rng.exponential(1.0, count)) / rate
    prompts, outputs = LOAD.draw(rng, count)
    done = serve(REPLICA, prompts, outputs, arrival).requests
    outcome = simulate(REPLICA, LOAD, rate, seed=3)
    backlog = over_time(done["arrival_ns"], done["first_token_ns"], prompts)
    decoding = over_time(done["first_token_ns"], done["last_token_ns"], np.ones(count))
    held = over_time(done["scheduled_ns"], done["last_token_ns"], prompts + outputs / 2)
    assert outcome.prefill_backlog_tokens == pytest.approx(backlog, rel=0.1)
    assert outcome.batch == pytest.approx(decoding, rel=0.05)
    assert outcome.kv_tokens == pytest.approx(held, rel=0.05)


def test_a_replica_whose_backlog_is_at_the_threshold_is_at_its_goal(found: Scaling) -> None:
    """Rates of other requests, by the signal that KEDA sees: the one at the threshold has p99 of TTFT at the goal."""
    rates = np.linspace(20, 34, 15)
    seen = [simulate(REPLICA, LOAD, rate, seed=99) for rate in rates]
    peak = found.peak_prefill_tokens_per_s.value
    signal = np.array([one.prefill_backlog_tokens / peak for one in seen])
    p99 = np.array([one.value("ttft", 99) for one in seen])
    rate = float(np.interp(found.prefill_threshold_s.value, signal, rates))
    assert np.interp(rate, rates, p99) == pytest.approx(300, rel=0.25)
    assert found.prefill_threshold_s.low < found.prefill_threshold_s.value < found.prefill_threshold_s.high


def test_the_cache_at_the_decode_threshold_is_that_of_the_goal_for_tpot(found: Scaling) -> None:
    rates = np.linspace(15, 33, 19)
    seen = [simulate(REPLICA, LOAD, rate, seed=77) for rate in rates]
    use = np.array([(one.kv_tokens + 8 * one.batch) / 3000 for one in seen])
    p99 = np.array([one.value("tpot", 99) for one in seen])
    assert np.interp(found.decode_kv_threshold.value, use, p99) == pytest.approx(14, rel=0.03)


def test_a_cache_that_is_full_first_gives_no_decode_threshold() -> None:
    tight = scaling(FIT, REPLICA, {}, Goals(tpot_ms=14, percentile=99), LOAD, kv_cache_tokens=500)
    assert tight.decode_kv_threshold.value is None
    assert any("full before TPOT" in note for note in tight.notes)
    trigger = emitted("keda", tight)["spec"]["triggers"][1]
    assert trigger["metadata"]["threshold"] == "0.8"
    assert "rule of thumb" in TARGETS["keda"](FIT, tight)


def test_targets_that_wva_infers_follow_its_formula() -> None:
    three = {
        name: Parameter(value, None, None)
        for name, value in (("alpha", 10.0), ("beta", 0.1), ("gamma", 0.001))
    }
    assert inferred_targets(three, 100, 99) == pytest.approx((30 + 10.1, 30 + 0.1 + 0.15))


# ---- formats ----


def test_the_router_reads_its_configuration() -> None:
    text = vllmperf.emit(FIT, "llm-d-router")
    config = yaml.safe_load(text)
    jsonschema.validate(config, schemas.ROUTER)
    parameters = {one["type"]: one.get("parameters", {}) for one in config["plugins"]}
    jsonschema.validate(parameters["prefix-cache-affinity-filter"], schemas.AFFINITY)
    assert parameters["prefix-cache-affinity-filter"]["peakPrefillThroughput"] == pytest.approx(
        47396, rel=0.01
    )
    assert {one["pluginRef"] for one in config["schedulingProfiles"][0]["plugins"]} <= set(parameters)
    assert re.search(r"peakPrefillThroughput: \d+ .*95 %: [\d,]+ … [\d,]+", text)


def test_the_commented_part_of_the_router_is_a_plugin_once_the_transfer_is_measured() -> None:
    lines = [
        line[2:]
        for line in vllmperf.emit(FIT, "llm-d-router").splitlines()
        if line.startswith(("# - ", "#   "))
    ]
    (plugin,) = yaml.safe_load("\n".join(lines).replace("MEASURE", "3.9"))
    assert plugin["type"] == "p2p-source-producer"
    jsonschema.validate(plugin["parameters"]["costModel"], schemas.COST_MODEL)
    assert plugin["parameters"]["costModel"]["prefillMicrosecondsPerToken"] == pytest.approx(20)


def test_keda_reads_its_scaled_object(found: Scaling) -> None:
    scaled = emitted("keda", found)
    jsonschema.validate(scaled, schemas.KEDA)
    prefill, decode = scaled["spec"]["triggers"]
    assert float(prefill["metadata"]["threshold"]) == pytest.approx(found.prefill_threshold_s.value, rel=0.05)
    assert float(decode["metadata"]["threshold"]) == pytest.approx(found.decode_kv_threshold.value, rel=0.05)
    divisor = re.search(r"\) / (\d+)\) or vector\(0\)", prefill["metadata"]["query"])
    assert float(divisor[1]) == pytest.approx(found.peak_prefill_tokens_per_s.value, rel=0.01)
    assert TARGETS["keda"](FIT, found).count("95 %: ") >= 3


@pytest.mark.parametrize("goals", [{}, {"ttft": 500, "tpot": "p95:20"}])
def test_wva_reads_its_config_map(goals: dict) -> None:
    config = parsed("wva-0.9", **goals)
    jsonschema.validate(config, schemas.CONFIG_MAP)
    assert config["metadata"]["name"] == "wva-queueing-model-config"
    entries = {name: yaml.safe_load(text) for name, text in config["data"].items()}
    for entry in entries.values():
        jsonschema.validate(entry, schemas.QUEUEING)
        assert ("model_id" in entry) == ("namespace" in entry)
    assert "default" in entries
    wanted = {"targetTTFT": 500, "targetITL": 20} if goals else {}
    assert {name: value for name, value in entries["measured"].items() if "target" in name} == wanted


def test_the_resource_of_2025_has_the_four_parameters_as_texts() -> None:
    variant = parsed("wva-crd-2025")
    jsonschema.validate(variant, schemas.VARIANT)
    (profile,) = variant["spec"]["modelProfile"]["accelerators"]
    assert profile["perfParms"]["decodeParms"] == {"alpha": "7", "beta": "0.5"}
    assert profile["perfParms"]["prefillParms"] == {"gamma": "9", "delta": "0.02"}
    assert profile["maxBatchSize"] == 8


def test_json_has_each_number_with_unit_and_interval() -> None:
    data = json.loads(vllmperf.emit(FIT, "json"))
    assert data["peak_prefill_throughput"]["unit"] == "tokens/s"
    low, high = data["prefill_time_per_token"]["ci95"]
    assert low < 20 < high
    assert data["prefill_threshold"]["value"] is None
    assert data["warnings"] == list(FIT.warnings)


@pytest.mark.parametrize("target", [name for name in TARGETS if name not in ("json", "keda")])
def test_what_speaks_against_a_fit_stands_above_in_one_line_each(target: str) -> None:
    assert "# ! the engine stalled now and then\n" in vllmperf.emit(FIT, target)
    assert "rests on 1 run: 1,000 measurements of 20,000 steps, batches of 1 to 8" in vllmperf.emit(
        FIT, target
    )


# ---- the command ----


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "fit.json"
    path.write_text(json.dumps(FIT.to_dict()))
    return str(path)


def test_the_command_prints_nothing_but_what_is_to_be_pasted(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", file, "--emit", "llm-d-router"]) == 0
    out = capsys.readouterr().out
    assert out == vllmperf.emit(FIT, "llm-d-router")
    assert tuple(TARGETS) == EMIT


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--emit", "keda"], "needs --ttft, --tpot or both"),
        (["--emit", "wva-0.9", "--ttft", "500"], "WVA refuses one alone"),
        (["--emit", "keda", "--ttft", "fast"], "--ttft must be ms"),
        (["--ttft", "500"], "--ttft is for --emit"),
        (["--emit", "json", "--json"], "both print"),
    ],
)
def test_words_that_do_not_go_together_are_said_in_one_line(
    words: list[str], told: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", file, *words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_fit_that_does_not_know_what_prompts_cost_says_so() -> None:
    with pytest.raises(UsageError, match="does not know gamma and delta"):
        vllmperf.emit(
            replace(FIT, parameters={name: FIT.parameters[name] for name in ("alpha", "beta")}),
            "llm-d-router",
        )
    with pytest.raises(UsageError, match="no target 'hpa'"):
        vllmperf.emit(FIT, "hpa")
