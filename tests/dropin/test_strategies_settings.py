"""DEFAULT_CONFIG, its flags, and the Serve configuration of a strategy."""

import json

import pytest

from vllmperf.dropin.strategies import serve_config as configuration
from vllmperf.dropin.strategies.settings import parse
from vllmperf.errors import UsageError
from vllmperf.sweeps.setups.ray_config import yaml_text
from vllmperf.sweeps.setups.ray_routers import router

POW2 = "ray.serve._private.request_router:PowerOfTwoChoicesRequestRouter"
PREFIX = "ray.serve.llm.request_router.PrefixCacheAffinityRouter"
OLD = "ray.serve._private.replica_scheduler.prefix_aware_scheduler.PrefixAwareReplicaScheduler"


def test_a_flag_overrides_its_entry_and_an_entry_what_is_usual():
    args = parse({"num_servers": 2, "host": "h", "gen-prefix-len": 7}, ["--num-servers", "3"])
    assert (args.num_servers, args.host, args.gen_prefix_len, args.max_concurrency) == (3, "h", 7, 40)


def test_every_entry_of_the_script_is_a_flag():
    import runpy
    from pathlib import Path

    script = Path(__file__).parents[2] / "scripts" / "sweep_strategies.py"
    config = runpy.run_path(str(script))["DEFAULT_CONFIG"]
    words = [f"--{name.replace('_', '-')}=x" for name, value in config.items() if isinstance(value, str)]
    words = [word for word in words if "dataset-" not in word]
    args = parse(config, [*words, "--scheduler-strategies-dict", "pow2", "mine=a.b.C"])
    assert args.scheduler_strategies_dict == {"pow2": "pow2", "mine": "a.b.C"}
    assert all(getattr(args, word[2:-2].replace("-", "_")) == "x" for word in words)


def test_booleans_are_texts_too():
    assert parse({"with_warmup": "True"}, ["--enable-prefix-caching", "false"]).with_warmup is True
    assert parse({}, ["--enable-prefix-caching", "false"]).enable_prefix_caching is False


@pytest.mark.parametrize(
    ("config", "words", "what"),
    [
        ({"no_such": 1}, [], "DEFAULT_CONFIG has no entry no_such"),
        ({}, ["--no-such"], "--no-such is no flag"),
        ({"scheduler_strategies_dict": {}}, [], "give NAME=ROUTER"),
        ({}, ["--scheduler-strategies-dict", "a=b", "a=c"], "each name once"),
        ({}, ["--scheduler-strategies-dict", "../a=b"], "must not contain /"),
        ({}, ["--num-servers", "0"], "--num-servers must be at least 1"),
        ({}, ["--router-port", "99999"], "--router-port must be from 0 to 65535"),
        ({}, ["--dataset-link", "none.json,"], "--dataset-link none.json: there is no such file"),
        ({}, ["--output-dir", "/proc/none"], "--output-dir /proc/none: "),
        ({}, ["--data-path", "nginx"], "--data-path nginx: choose one of"),
    ],
)
def test_a_wrong_setting_is_one_line(config, words, what):
    with pytest.raises(UsageError, match=what):
        parse(config, words)


@pytest.mark.parametrize(
    ("given", "ray", "sim"),
    [
        ("pow2", POW2, "pow2"),
        ("prefix_aware", PREFIX, "prefix_aware"),
        ("ray.serve...PowerOfTwoChoicesReplicaScheduler", POW2, "pow2"),
        (OLD, PREFIX, "prefix_aware"),
        ("some.where:PrefixCacheAffinityRouter", "some.where:PrefixCacheAffinityRouter", "prefix_aware"),
        ("my.own.Router", "my.own.Router", "my.own.Router"),
    ],
)
def test_old_names_become_todays_and_own_classes_stay(given, ray, sim):
    found = router(given)
    assert (found.ray, found.sim) == (ray, sim)


def of_strategy(value, **config):
    args = parse({"scheduler_strategies_dict": {"one": value}, "num_servers": 2, **config}, [])
    return configuration.serve_config(args, "one", 8123)


def test_the_configuration_is_todays_with_the_threshold_written():
    found = of_strategy(OLD, model_name="m", gpu_type="L4")
    (application,) = found["applications"]
    (llm,) = application["args"]["llm_configs"]
    assert application["import_path"] == "ray.serve.llm:build_openai_app"
    assert found["http_options"] == {"host": "127.0.0.1", "port": 8123}
    assert llm["accelerator_type"] == "L4"
    assert llm["deployment_config"] == {
        "num_replicas": 2,
        "request_router_config": {
            "request_router_class": PREFIX,
            "request_router_kwargs": {"imbalanced_threshold": 10.0, "match_rate_threshold": 0.1},
        },
    }


def test_power_of_two_has_no_thresholds_and_a_cpu_no_accelerator_type():
    (llm,) = of_strategy("pow2", gpu_type="cpu")["applications"][0]["args"]["llm_configs"]
    assert llm["deployment_config"]["request_router_config"] == {"request_router_class": POW2}
    assert llm["accelerator_config"] == {"kind": "cpu"}
    assert "accelerator_type" not in llm


def test_a_configuration_of_ones_own_gets_the_router_where_it_has_one(tmp_path):
    path = tmp_path / "own.yaml"
    own = {
        "deployments": [
            {"name": "Model", "request_router_config": {"request_router_class": "x"}},
            {"name": "In"},
        ]
    }
    path.write_text(json.dumps({"applications": [{"import_path": "app:build", **own}]}))
    found = of_strategy("prefix_aware", serve_config=str(path))
    model, ingress = found["applications"][0]["deployments"]
    assert model["request_router_config"]["request_router_class"] == PREFIX
    assert model["request_router_config"]["request_router_kwargs"]["imbalanced_threshold"] == 10.0
    assert ingress == {"name": "In"}
    assert found["http_options"]["port"] == 8123


def test_a_configuration_without_a_place_for_the_router_is_refused(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("applications: [{name: a}]\n")
    with pytest.raises(UsageError, match=r"no deployment of .* has a request_router_config"):
        of_strategy("pow2", serve_config=str(path))


def test_an_infinite_threshold_is_written_as_yaml_has_it():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    text = yaml_text(of_strategy("prefix_aware", imbalanced_threshold=float("inf")))
    (llm,) = yaml.safe_load(text)["applications"][0]["args"]["llm_configs"]
    kwargs = llm["deployment_config"]["request_router_config"]["request_router_kwargs"]
    assert kwargs["imbalanced_threshold"] == float("inf")


def test_a_router_that_ray_has_not_is_refused():
    with pytest.raises(UsageError, match="Ray Serve has no router least_loaded"):
        of_strategy("least_loaded")
