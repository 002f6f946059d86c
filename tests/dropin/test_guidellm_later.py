"""The spelling of guidellm 0.7 and of 0.4 to 0.6 means what it means there, or is refused with what to do."""

import json
from pathlib import Path

import pytest

from vllmperf.dropin.guidellm.arguments import parse
from vllmperf.errors import UsageError

BACKEND = "kind=openai_http,target=http://h:1"
NEEDED = {
    "--backend": BACKEND,
    "--profile": "kind=synchronous",
    "--data": "kind=synthetic_text,prompt_tokens=4,output_tokens=5",
}


def options(*more, environment=None, **changed):
    given = {**NEEDED, **{"--" + name.replace("_", "-"): text for name, text in changed.items()}}
    words = [word for flag, text in given.items() if text is not None for word in (flag, text)]
    return parse([*words, *more], environment or {})


def test_a_whole_command_of_0_7_is_taken():
    found = parse(
        [
            "--backend", "kind=openai_http,target=http://h:8000,model=m,api_key=sk-1,request_format=/v1/completions",
            "--profile", "kind=concurrent,streams=4", "--constraint", "kind=max_duration,seconds=60",
            "--data", "kind=synthetic_text,prompt_tokens=256,output_tokens=128", "--seed", "kind=static,value=7",
            "--tokenizer", "kind=huggingface_auto,model=/some/folder", "--output", "kind=json,path=/tmp/a.json",
            "--output", "kind=csv,path=/tmp/a.csv", "--metrics", "kind=generative,sample_size=20",
            "--label", "gpu=a", "--label", "who=b=c", "--data-loader", "kind=pytorch,samples=10,shuffle=true,num_workers=3",
        ],
        {},
    )  # fmt: skip
    assert (found.target, found.model, found.rate_type, found.rate) == (
        "http://h:8000",
        "m",
        "concurrent",
        (4.0,),
    )
    assert found.backend_args == {"api_key": "sk-1"}
    assert json.loads(found.data) == {"prompt_tokens": "256", "output_tokens": "128"}
    assert (found.random_seed, found.processor, found.max_seconds, found.output_sampling) == (
        7,
        "/some/folder",
        60,
        20,
    )
    assert found.output_paths == (Path("/tmp/a.json"), Path("/tmp/a.csv"))
    assert found.output_extras == {"labels": {"gpu": "a", "who": "b=c"}}
    assert (found.data_samples, found.data_sampler) == (10, "random")
    assert not found.is_chat


def test_a_backend_asks_for_chats_unless_it_says_otherwise_as_in_0_7():
    assert options().is_chat
    assert not options(backend=BACKEND + ",request_format=/v1/completions").is_chat
    assert not options(backend=BACKEND + ",request_format=text_completions").is_chat
    assert not options(environment={"GUIDELLM__PREFERRED_ROUTE": "text_completions"}).is_chat
    assert not options("--target", "http://h", backend=None).is_chat


def test_what_a_backend_holds_reaches_requests_and_headers():
    text = json.dumps(
        {
            "kind": "openai_http",
            "target": "http://h",
            "timeout": 9,
            "verify": False,
            "max_tokens": 77,
            "validate_backend": False,
            "extras": {"body": {"temperature": 0.6}, "headers": {"x-a": "b"}},
        }
    )
    found = options(backend=text)
    assert found.backend_args == {
        "timeout": 9,
        "verify": False,
        "max_output_tokens": 77,
        "extra_body": {"temperature": 0.6},
        "headers": {"x-a": "b"},
    }
    assert not found.is_probed
    dotted = options(backend=BACKEND + ",extras.body.temperature=0.6,extras.body.stop=x,timeout=9")
    assert dotted.backend_args == {"timeout": 9, "extra_body": {"temperature": 0.6, "stop": "x"}}
    assert dotted.is_probed


def test_the_kind_may_be_left_out_of_the_backend_and_stand_last_in_the_data():
    assert options(backend="target=http://h:2").target == "http://h:2"
    found = options(data="prompt_tokens=4,output_tokens=5,kind=synthetic_text")
    assert json.loads(found.data) == {"prompt_tokens": "4", "output_tokens": "5"}


def test_an_api_key_of_digits_stays_a_text():
    assert options(backend=BACKEND + ",api_key=0123").backend_args == {"api_key": "0123"}


@pytest.mark.parametrize(
    ("more", "rates"),
    [
        (["--override", "profile.streams", "1,4,16"], (1.0, 4.0, 16.0)),
        (["--override", "profile.rate", "[1,2]"], (1.0, 2.0)),
    ],
)
def test_an_override_runs_one_benchmark_a_value(more, rates):
    assert options(*more, profile="kind=concurrent").rate == rates


def test_shares_of_warm_up_and_cool_down_stand_in_the_profile():
    found = options(profile="kind=synchronous,warmup=0.1,cooldown=0")
    assert (found.warmup_percent, found.cooldown_percent) == (0.1, None)
    found = options(profile='{"kind": "synchronous", "cooldown": {"percent": 0.2}}')
    assert found.cooldown_percent == 0.2
    assert options(profile="kind=constant,rate=3,rampup_duration=0").rate == (3.0,)


@pytest.mark.parametrize("text", ["kind=huggingface,source=org/set", "kind=hf,source=org/set"])
def test_a_data_set_of_the_hub_is_named_with_what_loads_it(text):
    assert options(data=text + ",load_kwargs.split=test").data == "org/set"
    assert options(data=text + ",load_kwargs.split=test").data_args == {"split": "test"}


def test_a_file_and_its_columns_are_named():
    found = options(
        data="kind=json_file,path=a.json",
        data_column_mapper='{"kind":"generative_column_mapper","column_mappings":{"text_column":"q"}}',
    )
    assert (found.data, found.data_args) == ("a.json", {"text_column": "q"})
    assert options(data_column_mapper="column_mappings.text_column=q").data_args == {"text_column": "q"}


@pytest.mark.parametrize(
    ("texts", "paths"),
    [
        (["kind=json"], ("benchmarks.json",)),
        (["html"], ("benchmarks.html",)),
        (["kind=console"], ()),
        (["kind=yaml,path=a.yml", "kind=console", "kind=csv"], ("a.yml", "benchmarks.csv")),
    ],
)
def test_outputs_are_files_and_the_console_is_none(texts, paths):
    more = [word for text in texts for word in ("--output", text)]
    assert options(*more).output_paths == tuple(map(Path, paths))


def test_outputs_of_0_5_are_names_in_a_folder():
    found = options("--output-dir", "/d", "--outputs", "json,csv", "--outputs", "x.html")
    assert found.output_paths == (Path("/d/benchmarks.json"), Path("/d/benchmarks.csv"), Path("/d/x.html"))
    assert options("--output-dir", "/d").output_paths == (Path("/d/benchmarks.json"),)
    assert options("--outputs", "json").output_paths == (Path("benchmarks.json"),)


def test_names_of_0_4_to_0_6_are_taken():
    command = (
        "--target http://h --data prompt_tokens=4,output_tokens=5 --profile constant --rate 1 --rate 2 --warmup 0.1 "
        '--backend-kwargs {"timeout":3} --sample-requests 5 --disable-console --request-type chat_completions '
        "--data-samples 9 --data-sampler shuffle"
    )
    found = parse(command.split(), {})
    assert (found.rate_type, found.rate, found.warmup_percent) == ("constant", (1.0, 2.0), 0.1)
    assert (found.backend_args, found.output_sampling, found.data_samples) == ({"timeout": 3}, 5, 9)
    assert found.disable_progress
    assert found.disable_console_outputs
    assert found.is_chat
    assert found.data_sampler == "random"


SPEC = {
    "metadata": {"labels": {"gpu": "a"}},
    "spec": {
        "backend": {"kind": "openai_http", "target": "http://h", "request_format": "/v1/completions"},
        "profile": {"kind": "constant", "rate": [1, 2]},
        "constraints": [{"kind": "max_duration", "seconds": 30}, {"kind": "max_requests", "count": 5}],
        "data": [{"kind": "synthetic_text", "prompt_tokens": 4, "output_tokens": 5}],
        "seed": {"kind": "static", "value": 3},
        "outputs": [{"kind": "csv", "path": "a.csv"}],
    },
}


@pytest.mark.parametrize("flag", ["--scenario", "--config", "-c"])
def test_a_scenario_of_0_7_is_read_and_flags_go_before_it(tmp_path, flag):
    path = tmp_path / "s.json"
    path.write_text(json.dumps(SPEC))
    found = parse([flag, str(path), "--profile", "kind=constant,rate=9"], {})
    assert (found.target, found.rate, found.max_seconds, found.max_requests) == ("http://h", (9.0,), 30, 5)
    assert (found.random_seed, found.output_paths) == (3, (Path("a.csv"),))
    assert found.output_extras == {"labels": {"gpu": "a"}}
    assert json.loads(found.data) == {"prompt_tokens": 4, "output_tokens": 5}


def test_an_image_of_0_7_is_told_by_variables():
    environment = {
        "GUIDELLM__SPEC__BACKEND__TARGET": "http://h",
        "GUIDELLM__SPEC__BACKEND__KIND": "openai_http",
        "GUIDELLM__SPEC__PROFILE": '{"kind": "throughput", "max_concurrency": 8}',
        "GUIDELLM__SPEC__DATA": '[{"kind": "synthetic_text", "prompt_tokens": 4, "output_tokens": 5}]',
        "GUIDELLM__SPEC__CONSTRAINTS": '[{"kind": "max_requests", "count": 5}]',
    }
    found = parse([], environment)
    assert (found.target, found.rate_type, found.max_concurrency, found.max_requests) == (
        "http://h",
        "throughput",
        8,
        5,
    )
    assert parse(["--profile", "kind=synchronous"], environment).rate_type == "synchronous"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--backend", "kind=vllm_python,model=m"], ["vllm_python", "vllm serve"]),
        (["--backend", BACKEND + ",server_history=true"], ["server_history"]),
        (["--backend", BACKEND + ",stream=false"], ["stream=false"]),
        (["--backend", BACKEND + ",request_format=/v1/responses"], ["/v1/responses", "/v1/completions"]),
        (["--backend", '{"kind":"openai_http","extras":{"params":{"a":1}}}'], ["params", "in extras"]),
        (["--backend", "{oh"], ["--backend is no JSON"]),
        (["--profile", "kind=replay"], ["replay"]),
        (["--profile", "kind=constant,rate=3,rampup_duration=3"], ["rampup_duration", "--warmup-percent"]),
        (["--profile", "kind=constant,rate=3,warmup=5"], ["--profile", "0.033"]),
        (["--constraint", "kind=over_saturation"], ["over_saturation", "vllmperf capacity"]),
        (["--constraint", "kind=max_errors,count=3"], ["max_errors", "1000 failed"]),
        (["--constraint", "kind=max_duration"], ["seconds=NUMBER"]),
        (["--data", "kind=mooncake,path=a"], ["mooncake"]),
        (["--data", "kind=json_file"], ["path is missing"]),
        (["--data", "a", "--data", "b"], ["--data", "more than once"]),
        (["--seed", "kind=random"], ["--seed", "kind=static"]),
        (["--seed", "many"], ["--seed"]),
        (["--tokenizer", "kind=mistral"], ["mistral"]),
        (["--output", "kind=plot"], ["plot"]),
        (["--output", "kind=csv,path=a.json"], ["a.json", ".csv"]),
        (["--metrics", "kind=generative,slo.ttft_ms=3"], ["slo", "vllmperf bench --goodput"]),
        (["--label", "x"], ["--label", "NAME=VALUE"]),
        (["--override", "constraint[0].seconds", "1,2"], ["constraint[0].seconds"]),
        (["--output-dir", "d", "--output-path", "a.json"], ["--output-dir"]),
        (["--data", "kind=hf,source=a/b,load_kwargs=3"], ["--data", "load_kwargs is no object"]),
        (["--profile", "kind=constant,rate=3,rampup_duration=x"], ["rampup_duration"]),
        (["--profile", "kind=constant,rate=abc"], ["--profile", "number above 0"]),
        (["--data-column-mapper", "column_mappings=x"], ["column_mappings is no object"]),
        (["--tokenizer", "kind=hf_auto,load_kwargs=1"], ["load_kwargs is no object"]),
        (["--backend", BACKEND + ",kind.x=1"], ["kind is no object"]),
        (["--backend", BACKEND + ",extras=1"], ["extras is no object"]),
        (["--backend", BACKEND + ",extras.body=1"], ["extras.body is no object"]),
        (["--rampup", "3"], ["--rampup", "--warmup-percent"]),
        (["--max-error-rate=3"], ["--max-error-rate", "1000 failed"]),
        (["--detect-saturation"], ["--detect-saturation", "vllmperf capacity"]),
        (["--data-preprocessor", "kind=encode_media"], ["--data-preprocessor", "leave it out"]),
    ],
)  # fmt: skip
def test_what_is_not_here_is_refused_with_what_to_do(more, words):
    kept = {name.lstrip("-"): None for name in NEEDED if name == more[0]}
    with pytest.raises(UsageError) as refusal:
        options(*more, **kept)
    said = str(refusal.value)
    assert all(word in said for word in words), said
    assert "\n" not in said


def test_an_unknown_part_of_a_scenario_is_named(tmp_path):
    path = tmp_path / "s.json"
    path.write_text(json.dumps({"spec": {**SPEC["spec"], "data_finalizer": {"kind": "generative"}}}))
    with pytest.raises(UsageError, match="data_finalizer is not here: data are sent as they stand"):
        parse(["--scenario", str(path)], {})


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (["--backend", '{"kind":"openai_http","api_key":"sk-1"'], {}),
        (["--backend", "sk-1,kind=openai_http"], {}),
        (["--backend-args", '{"api_key":"sk-1"'], {}),
        ([], {"GUIDELLM__OPENAI": '{"api_key": "sk-1"'}),
        ([], {"GUIDELLM__OPENAI__HEADERS": "Authorization: Bearer sk-1"}),
    ],
)
def test_a_key_in_a_text_that_cannot_be_read_is_not_repeated(words, environment):
    with pytest.raises(UsageError) as refusal:
        options(*words, backend=None, environment=environment)
    assert "sk-1" not in str(refusal.value)
