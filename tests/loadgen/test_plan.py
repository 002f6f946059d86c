"""Plans: what is accepted, how refusals read, what is equal, what JSON holds."""

import contextlib
import json
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllmperf.errors import SettingError, UsageError
from vllmperf.loadgen.bodies import bodies
from vllmperf.loadgen.run import engine_config
from vllmperf.loadgen.schedule import schedule
from vllmperf.loadgen.task import Task
from vllmperf.parser import flag
from vllmperf.plan import (
    BACKENDS,
    PART_OF,
    SAMPLING,
    Credentials,
    Limits,
    Load,
    Plan,
    Target,
    Workload,
    settings,
)
from vllmperf.record.plans import described, plan_of

URL = "http://127.0.0.1:8000"

REFUSED = [
    ({"base_url": "127.0.0.1:8000"}, 'base_url must be http://HOST:PORT or https://HOST (got "127.0.0.1:8000")'),
    ({"base_url": "ftp://h"}, "base_url must be http://HOST:PORT"),
    ({"base_url": "http://h:port"}, "base_url is no URL"),
    ({"base_url": "http://me:hush@h"}, "user name or password"),
    ({"base_url": 8000}, "base_url must be a text (got 8000)"),
    ({"simulator": {}}, "give either base_url or simulator"),
    ({"base_url": None}, "give either base_url or simulator"),
    ({"backend": "tgi"}, "backend must be one of openai, vllm, openai-chat (got \"tgi\")"),
    ({"endpoint": "v1/completions"}, "endpoint must be a path"),
    ({"endpoint": "/v1/chat/completions"}, "endpoint /v1/chat/completions is not one of backend openai"),
    ({"backend": "openai-chat", "endpoint": "/v1/completions"}, "endpoint"),
    ({"headers": {"a": "b\r\nc: d"}}, "headers"),
    ({"headers": {"a:b": "c"}}, "headers"),
    ({"headers": {"Cookie": "hush"}}, "headers must not hold a secret (Cookie)"),
    ({"request_rate": 0}, "request_rate must be above 0 (got 0)"),
    ({"request_rate": math.nan}, "request_rate must be a number (got NaN)"),
    ({"request_rate": 1e300}, "request_rate must be at most 1e+09, or inf"),
    ({"request_rate": "10"}, 'request_rate must be a number (got "10")'),
    ({"burstiness": 0, "request_rate": 1}, "burstiness must be above 0"),
    ({"burstiness": 2}, "burstiness needs request_rate"),
    ({"max_concurrency": 0}, "max_concurrency must be at least 1 (got 0)"),
    ({"max_concurrency": 1.5}, "max_concurrency must be a whole number (got 1.5)"),
    ({"num_prompts": -1}, "num_prompts must be at least 1 (got -1)"),
    ({"num_prompts": True}, "num_prompts must be a whole number (got true)"),
    ({"duration": 0}, "duration must be above 0"),
    ({"duration": "soon"}, 'duration must be a duration like 500ms, 30s, 10m or 1h30m (got "soon")'),
    ({"seed": -1}, "seed must be at least 0"),
    ({"seed": 2**32}, "seed must be at most"),
    ({"arrival": "sometimes"}, "arrival must be one of"),
    ({"arrival": "trace"}, "arrival_file"),
    ({"arrival_file": "x"}, "arrival trace and arrival_file go together"),
    ({"arrival": "poisson"}, "arrival poisson needs request_rate"),
    ({"arrival": "trace", "arrival_file": "x", "request_rate": 1}, "request_rate"),
    ({"num_prompts": None, "duration": 1}, "duration alone would send without limit"),
    ({"dataset_name": "pile"}, "dataset_name must be one of"),
    ({"dataset_name": "sharegpt"}, "dataset_name sharegpt needs dataset_path"),
    ({"dataset_path": "x"}, "dataset_path does not go with dataset_name random"),
    ({"input_len": 0}, "input_len must be at least 1"),
    ({"output_len": 2.5}, "output_len must be a whole number"),
    ({"random_range_ratio": 1.0}, "random_range_ratio must be below 1"),
    ({"stall_timeout": 0}, "stall_timeout must be above 0"),
    ({"grace_period": -1}, "grace_period must be at least 0"),
    ({"stream": 1}, "stream must be true or false (got 1)"),
    ({"extra_body": []}, "extra_body must be an object (got [])"),
    ({"extra_body": {"a": math.nan}}, "extra_body must hold JSON only"),
    ({"extra_body": {1: 2}}, "extra_body must hold JSON only"),
    ({"string_content": True}, "string_content is of chats: add backend openai-chat"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "says"), REFUSED)
def test_what_makes_no_sense_is_refused_in_one_line_that_names_the_setting(asked, says):
    with pytest.raises(SettingError) as refused:
        Plan.of(**{"base_url": URL, **asked})
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "--" not in str(refused.value)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"max_concurrency": 0}, "--max-concurrency must be at least 1 (got 0)"),
        ({"burstiness": 2}, "--burstiness needs --request-rate"),
        ({"stream": 1}, "--no-stream must be true or false (got 1)"),
        ({"prefix_len": -1}, "--random-prefix-len must be at least 0 (got -1)"),
        ({"simulator": {}}, "give either --base-url or --sim: a run has one server"),
        ({"endpoint": "{seed}"}, '--endpoint must be a path that begins with / (got "{seed}")'),
    ],
)
def test_the_command_line_calls_settings_by_their_flags(asked, says):
    with pytest.raises(SettingError) as refused:
        Plan.of(**{"base_url": URL, **asked})
    assert refused.value.told(flag) == says


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"percentile_metrics": ("speed",)}, "percentile_metrics must be one of"),
        ({"metric_percentiles": (101.0,)}, "metric_percentiles must be at most 100 (got 101)"),
        ({"goodput": {"itl": 1.0}}, "goodput must be one of"),
        ({"goodput": {"ttft": -1.0}}, "goodput must be above 0"),
        ({"goodput": "ttft"}, 'goodput must be METRIC:MS, like ttft:200 (got "ttft")'),
        ({"spin_us": -1}, "spin_us must be at least 0"),
        ({"threads": 1.5}, "threads must be a whole number"),
        ({"metadata": {"a": 1}}, "metadata must hold texts"),
        ({"max_concurency": 1}, "no such setting max_concurency: did you mean max_concurrency?"),
        ({"keep_texts": True}, "no such setting keep_texts: did you mean keep_text?"),
        ({"zzz": 1}, "no such setting zzz"),
        ({"rate": 1, "request_rate": 2}, "request_rate is given twice under different names"),
        ({"api_key_file": "/nowhere"}, "/nowhere cannot be read"),
    ],
)
def test_what_goes_beside_the_plan_is_checked_alike(asked, says):
    with pytest.raises(UsageError) as refused:
        Task.of({"base_url": URL, **asked})
    assert says in str(refused.value)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"num_prompts": None, "duration": 1, "max_concurrency": 4},
        {"num_prompts": None, "duration": 1, "request_rate": 2},
        {"num_prompts": None, "arrival": "trace", "arrival_file": "x"},
        {"request_rate": 5, "burstiness": 0.3, "max_concurrency": 2},
        {"endpoint": "/proxy/v1/completions"},
        {"grace_period": 0},
    ],
)
def test_what_makes_sense_is_accepted(asked):
    Plan.of(**{"base_url": URL, **asked})


# ---- names ----


def test_no_two_parts_have_a_setting_of_the_same_name():
    parts = (Target, Workload, Load, Limits)
    assert len(PART_OF) == sum(len(part.__dataclass_fields__) for part in parts)


@pytest.mark.parametrize(
    ("given", "plan"),
    [
        ({"url": URL, "rate": 4}, {"base_url": URL, "request_rate": 4}),
        ({"base_url": URL, "concurrency": 8}, {"base_url": URL, "max_concurrency": 8}),
        ({"url": URL, "random_input_len": 7, "sonnet_input_len": 9}, {"base_url": URL, "input_len": 7}),
        ({"url": URL, "random_input_len": 7, "input_len": 9}, {"base_url": URL, "input_len": 9}),
        ({"url": URL, "rate": 1, "duration": "1m30s"}, {"base_url": URL, "request_rate": 1, "duration": 90}),
        ({"sim": True}, {"simulator": {}}),
        ({"sim": {"ttft_ms": 5}}, {"simulator": {"ttft_ms": 5}}),
        ({"url": URL, "sim": False}, {"base_url": URL}),
        ({"url": URL, "dataset": "custom", "dataset_path": "x", "custom_output_len": -1},
         {"base_url": URL, "dataset_name": "custom", "dataset_path": "x"}),
    ],
)  # fmt: skip
def test_short_names_and_those_of_flags_mean_the_same(given, plan):
    assert Plan.of(**given) == Plan.of(**plan)


@pytest.mark.parametrize(
    ("goodput", "means"),
    [
        ("ttft:55", {"ttft": 55.0}),
        ("ttft:55 tpot:9.5", {"ttft": 55.0, "tpot": 9.5}),
        (["ttft:55", "tpot:9.5"], {"ttft": 55.0, "tpot": 9.5}),
        ({"ttft": 55}, {"ttft": 55.0}),
    ],
)
def test_objectives_are_given_as_on_the_command_line_or_by_name(goodput, means):
    assert Task.of({"url": URL, "goodput": goodput}).notes.goodput == means


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("max_concurency", "max_concurrency"),
        ("rate", "request_rate"),
        ("no_stream", "stream"),
        ("qqqq", None),
    ],
)
def test_the_name_that_was_probably_meant_is_found(name, meant):
    assert settings.nearest(name, PART_OF) == meant


def test_what_goes_without_saying():
    assert Plan.of(url=URL).load.num_prompts == 1000
    assert Plan.of(url=URL, rate=1, duration=5).load.num_prompts is None
    assert Plan.of(url=URL).workload.ignore_eos
    assert not Plan.of(url=URL, dataset_name="custom", dataset_path="x").workload.ignore_eos
    assert Plan.of(sim=True).load.max_concurrency == 32
    assert Plan.of(sim=True, rate=5).load.max_concurrency is None
    assert Plan.of(sim=True, rate=math.inf).load.max_concurrency is None
    assert Plan.of(url=URL).load.max_concurrency is None


def test_any_setting_can_be_replaced_by_its_name():
    plan = Plan.of(url=URL, rate=4)
    other = plan.replace(request_rate=8, input_len=5, stall_timeout="2s", model="m")
    assert (other.load.request_rate, other.workload.input_len, other.limits.stall_timeout) == (8, 5, 2)
    assert other.replace(request_rate=4, input_len=None, stall_timeout=30, model=None) == plan
    assert plan.replace(simulator={}).target == Target(simulator={})
    with pytest.raises(SettingError, match="did you mean request_rate"):
        plan.replace(request_rat=1)


# ---- addresses ----


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_path_follows_the_backend_unless_it_is_given(backend):
    assert Plan.of(base_url=URL + "/", backend=backend).url == URL + BACKENDS[backend]
    path = "/other" + BACKENDS[backend]
    assert Plan.of(base_url=URL, backend=backend, endpoint=path).url == URL + path


@pytest.mark.parametrize(
    ("base", "endpoint", "url", "root"),
    [
        (URL + "/v1", None, URL + "/v1/completions", URL),
        (URL + "/v1/", None, URL + "/v1/completions", URL),
        (URL + "/api/v1", None, URL + "/api/v1/completions", URL + "/api"),
        (URL + "/v1", "/completions", URL + "/v1/completions", URL),
        (URL + "/v1", "/v1/completions", URL + "/v1/completions", URL),
        (URL + "/v2", None, URL + "/v2/v1/completions", URL + "/v2"),
    ],
)
def test_a_version_at_the_end_of_the_address_is_not_doubled(base, endpoint, url, root):
    target = Target(base_url=base, endpoint=endpoint)
    assert (target.url, target.root) == (url, root)


# ---- equal plans ----


def test_plans_that_send_something_else_are_not_equal():
    plan = Plan.of(url=URL, extra_body={"a": 1, "b": 2})
    assert plan == Plan.of(url=URL, extra_body={"a": 1, "b": 2})
    for other in ({"a": 1.0, "b": 2}, {"a": True, "b": 2}, {"b": 2, "a": 1}, {"a": 1}):
        assert plan != plan.replace(extra_body=other)


def test_a_plan_does_not_change_with_what_it_was_made_of():
    body = {"a": {"b": [1]}}
    plan = Plan.of(url=URL, extra_body=body)
    before = hash(plan)
    body["a"]["b"].append(2)
    plan.workload.extra_body["a"]["b"].append(3)
    assert plan.workload.extra_body == {"a": {"b": [1]}}
    assert hash(plan) == before


def test_equal_plans_send_equal_requests_at_equal_times():
    one = Plan.of(url=URL, rate=50, num_prompts=20, temperature=0, seed=3)
    two = Plan.from_json(one.to_json())
    assert [body.data for body in bodies(one, "m")] == [body.data for body in bodies(two, "m")]
    times = [[piece.tolist() for piece in schedule(plan).times or ()] for plan in (one, two)]
    assert times[0] == times[1]


# ---- JSON ----

whole = st.integers(1, 10**6)
seconds = st.floats(0.001, 1e6)
words = st.text('abcXYZ0189-_.ä "\\{}', max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
targets = st.fixed_dictionaries(
    {"base_url": st.sampled_from([URL, "https://h/api/v1", "http://[::1]:8"])},
    optional={
        "model": words,
        "backend": st.sampled_from(sorted(BACKENDS)),
        "headers": st.dictionaries(
            st.text("abXY-", min_size=1, max_size=5), st.text("ab 1;", max_size=5), max_size=2
        ),
        "insecure": st.booleans(),
        "cacert": words,
    },
)
workloads = st.fixed_dictionaries(
    {},
    optional={
        "tokenizer": words,
        "input_len": whole,
        "output_len": whole,
        "prefix_len": st.integers(0, 99),
        "random_range_ratio": st.floats(0, 0.99),
        "seed": st.integers(0, 2**32 - 1),
        "stream": st.booleans(),
        "ignore_eos": st.booleans(),
        "n": whole,
        "logprobs": st.integers(0, 9),
        **{name: st.integers(0, 9) if name == "top_k" else st.floats(0, 9) for name in SAMPLING},
        "extra_body": st.dictionaries(words, values, max_size=3),
        "request_id_prefix": st.text("ab-1", max_size=4),
    },
)
loads = st.one_of(
    st.fixed_dictionaries({"request_rate": st.floats(0.001, 1e6)}, optional={
        "burstiness": st.floats(0.01, 100) | st.just(math.inf), "arrival": st.sampled_from(["constant", "poisson", "gamma"]),
        "max_concurrency": whole, "duration": seconds, "num_prompts": whole,
    }),
    st.fixed_dictionaries({"max_concurrency": whole}, optional={"duration": seconds, "num_prompts": whole}),
    st.just({"arrival": "trace", "arrival_file": "x"}),
    st.fixed_dictionaries({}, optional={"num_prompts": whole, "num_warmups": st.integers(0, 9),
                                        "warm_connections": st.integers(0, 9), "fresh_connections": st.booleans()}),
)  # fmt: skip
limits = st.fixed_dictionaries({}, optional={
    **dict.fromkeys(Limits.__dataclass_fields__, seconds), "max_errors": whole, "max_error_rate": st.floats(0.001, 1),
})  # fmt: skip
plans = st.builds(lambda *parts: Plan.of(**{k: v for part in parts for k, v in part.items()}),
                  targets, workloads, loads, limits)  # fmt: skip


@given(plans)
def test_json_brings_back_the_same_plan(plan):
    text = plan.to_json()
    again = Plan.from_json(text)
    assert again == plan
    assert hash(again) == hash(plan)
    assert again.to_json() == text
    assert pickle.loads(pickle.dumps(plan)) == plan
    assert json.loads(text)["version"] == 1


def test_a_plan_for_a_simulator_that_sends_all_at_once_stays_one():
    plan = Plan.of(sim=True).replace(max_concurrency=None)
    assert Plan.from_dict(plan.to_dict()) == plan


def test_a_plan_written_by_hand_says_only_what_it_wants():
    plan = Plan.from_json(
        '{"target": {"base_url": "http://h"}, "load": {"duration": "10s", "request_rate": 2}}'
    )
    assert plan == Plan.of(base_url="http://h", duration=10, request_rate=2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"load": {"max_concurrency": "x"}}', 'load.max_concurrency must be a whole number (got "x")'),
        ('{"load": {"max_concurrency": 0}}', "load.max_concurrency must be at least 1 (got 0)"),
        ('{"load": {"burstiness": 2}}', "load.burstiness needs load.request_rate"),
        ('{"load": {"max_concurency": 1}}', "no such setting load.max_concurency: did you mean load.max_concurrency?"),
        ('{"load": {"seed": 1}}', "no such setting load.seed: did you mean"),
        ('{"load": {"rate": 1}}', "no such setting load.rate"),
        ('{"laod": {}}', "the plan has no part laod: did you mean load?"),
        ('{"load": 3}', "load must be an object (got 3)"),
        ('{"target": {"api_key": "hush"}}', "no such setting target.api_key"),
        ('{"target": {"headers": {"Authorization": "hush"}}}', "target.headers must not hold a secret (Authorization)"),
        ('{"version": 2}', "upgrade vllmperf"),
        ('{"version": "x"}', "version must be a whole number"),
        ("[]", "a plan must be an object"),
        ("{", "the plan is no JSON"),
        ('{"load": {"\\n": 1}}', "no such setting"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_plan_is_refused_in_one_line_that_names_the_place(text, says):
    with contextlib.suppress(ValueError, TypeError):
        found = json.loads(text)
        text = json.dumps({**found, "target": {"base_url": URL, **dict(found).get("target", {})}})
    with pytest.raises(UsageError) as refused:
        Plan.from_json(text)
    assert says in str(refused.value)
    assert "hush" not in str(refused.value)


# ---- secrets ----


def test_no_secret_is_in_a_plan_a_run_file_or_a_repr(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sesame5")
    headers = {
        "Authorization": "Bearer sesame1",
        "X-Auth-Token": "sesame2",
        "Cookie": "sesame3",
        "X-Team": "blue",
    }
    asked = {"base_url": URL, "headers": headers, "goodput": "ttft:5"}
    task = Task.of({**asked, "api_key": "sesame4"})
    written = json.dumps({"plan": task.plan.to_dict(), "facts": task.facts()}) + task.plan.to_json()
    assert "sesame" not in written + repr(task) + repr(task.plan) + str(task.credentials)
    assert "X-Auth-Token" in written
    assert "blue" in written
    assert task.facts()["authorized"] is True
    assert {"sesame1", "Bearer sesame1", "sesame2", "sesame3", "sesame4"} <= set(task.credentials.secrets)
    assert Task.of(asked).credentials.api_key == "sesame5"


def test_a_key_that_no_header_can_carry_is_not_shown():
    with pytest.raises(SettingError, match="api_key holds what no header can carry") as refused:
        Credentials(api_key="hush\n")
    assert "hush" not in str(refused.value)


# ---- what the run file says ----


def test_lengths_for_readers_are_those_that_are_used():
    assert Task.of({"base_url": URL}).described()["input_len"] == 1024
    poem = Task.of(
        {"base_url": URL, "dataset_name": "sonnet", "dataset_path": "x", "output_len": 7}
    ).described()
    assert (poem["input_len"], poem["output_len"], poem["prefix_len"]) == (550, 7, 200)


def test_the_plan_of_a_run_file_is_the_one_that_was_asked_for():
    task = Task.of({"base_url": URL, "label": "l", "request_rate": 3})
    meta = {"plan": task.plan.to_dict(), "facts": {**task.facts(), "model": "m"}}
    assert plan_of(meta) == task.plan
    assert (described(meta)["label"], described(meta)["model"]) == ("l", "m")
    assert described(meta)["request_rate"] == 3


def test_plans_of_older_run_files_are_read_too():
    old = {"base_url": "http://127.0.0.1:1", "simulator": {"ttft_ms": 5}, "duration_s": 3.0, "stall_timeout_s": 7.0,
           "num_prompts": None, "max_concurrency": 2, "sampling": {"top_k": 3}, "headers": {"Cookie": "***", "X-A": "b"},
           "goodput": {"ttft": 5.0}, "threads": 0, "url": "http://127.0.0.1:1/v1/completions", "authorized": True,
           "request_rate": "inf", "ignore_eos": True}  # fmt: skip
    assert described({"plan": old})["duration"] == 3.0
    assert plan_of({"plan": old}) == Plan.of(
        simulator={"ttft_ms": 5},
        duration=3,
        stall_timeout=7,
        max_concurrency=2,
        top_k=3,
        headers={"X-A": "b"},
    )


def test_certificates_that_are_not_there_are_told_before_the_run():
    task = Task.of({"base_url": "https://h", "cacert": "/nowhere.pem"})
    with pytest.raises(SettingError, match=r"cacert: there is no file /nowhere\.pem"):
        engine_config(task, [], schedule(task.plan))


def test_a_simulator_whose_router_reads_texts_gets_texts():
    router = {"replicas": 2, "router": "prefix_aware"}
    assert Plan.of(simulator=router).workload.text_prompts
    assert not Plan.of(simulator={**router, "router": "pow2"}).workload.text_prompts
    assert not Plan.of(simulator=router, text_prompts=False).workload.text_prompts
    assert not Plan.of(simulator=router, dataset_name="sharegpt", dataset_path="x").workload.text_prompts
