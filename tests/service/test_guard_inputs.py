"""Values that nobody means well: each is refused in one line that names its field, before a run is queued."""

from __future__ import annotations

import os
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra service is not installed")

from vllmperf.errors import VllmperfError
from vllmperf.formats.vllm_file import MOST_NAME, file_name, fitting
from vllmperf.reach import Reach
from vllmperf.service.errors import RefusedError, refusal
from vllmperf.service.guard.request import asked_for
from vllmperf.service.guard.settings import Guard
from vllmperf.service.request import request_of, start_load

URL = "http://127.0.0.1:8000"


@pytest.fixture
def guard(tmp_path: Any) -> Guard:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").mkdir()
    return Guard(tmp_path, reach=Reach.of(["127.0.0.0/8"]))


def answer(guard: Guard, body: Any) -> tuple[int, str | None, str]:
    """Status, field and words of what is answered; a kind makes it a body of POST /runs."""
    read = request_of if "kind" in body else start_load
    try:
        asked_for(body, read, guard)
    except RefusedError as error:
        found = error
    except VllmperfError as error:  # any other one would be a 500
        found = refusal(error)
    else:
        return 202, None, ""
    return found.status, found.body()["field"], str(found.body()["error"])


def bench(**plan: Any) -> dict[str, Any]:
    return {"kind": "bench", "plan": {"base_url": URL, "model": "m", **plan}}


def load(**payload: Any) -> dict[str, Any]:
    return {"base_url": URL, "model": "m", "dataset_name": "random", **payload}


HUGE = 10**400


@pytest.mark.parametrize("name", ["num_prompts", "request_rate", "seed", "max_concurrency", "burstiness"])
@pytest.mark.parametrize("value", [HUGE, -HUGE])
@pytest.mark.parametrize("body", [bench, load])
def test_a_number_of_hundreds_of_digits_is_refused_by_its_name(
    body: Any, value: int, name: str, guard: Guard
) -> None:
    status, field, words = answer(guard, body(**{name: value}))
    assert (status, field) == (400, name)
    assert "digits: that is too large" in words


@pytest.mark.parametrize("kind", [[], {}, ["bench"], None, 1, True, "BENCH", ""])
def test_a_kind_of_another_type_is_no_kind(kind: Any, guard: Guard) -> None:
    status, field, words = answer(guard, {"kind": kind, "plan": {}})
    assert (status, field) == (400, "kind")
    assert words.startswith("kind must be one of start-load, bench,")


@pytest.mark.parametrize(
    "url",
    [
        "", "http://", "javascript:alert(1)", "gopher://127.0.0.1", "unix:///run/x.sock", "  http://127.0.0.1",
        "http://127.0.0.1 :80", "http://127.0.0.1/\0", "http://127.0.0.1#@evil", "http://①②⑦.⓪.⓪.①", "http://127。0。0。1",
        "http://127.0.0.1:0", "http://127.0.0.1:65536", "http://127.0.0.1:１８０", "http://%31%32%37.0.0.1",
        "http://10.0.0.1%00.127.0.0.1", "http://[fe80::1%25eth0]", "http://127.0.0.1\\@10.0.0.1", "http://[::1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["payload", "metrics", "power"])
def test_a_url_that_two_readers_may_read_differently_is_refused(url: str, where: str, guard: Guard) -> None:
    bodies = {
        "payload": load(base_url=url),
        "metrics": {"kind": "sweep", "sweep": {"setups": [{"name": "a", "url": URL, "metrics": [url]}]}},
        "power": bench(power=f"dcgm={url}"),
    }
    if where == "metrics" and "://" not in url:
        return  # a path of the server
    assert answer(guard, bodies[where])[0] == 400


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("http://0.0.0.0:80", 403), ("http://[::]:80", 403), ("http://0", 403), ("http://0251.0376.0251.0376", 403),
        ("http://[64:ff9b::a9fe:a9fe]", 403), ("http://[2002:a9fe:a9fe::1]", 403), ("http://[::ffff:10.0.0.1]", 403),
        ("http://2130706433", 202), ("http://017700000001", 202), ("http://0x7f.1", 202), ("http://[::ffff:7f00:1]", 202),
    ],
)  # fmt: skip
def test_an_address_counts_however_it_is_written(url: str, status: int, guard: Guard) -> None:
    assert answer(guard, bench(base_url=url))[0] == status
    assert answer(guard, load(base_url=url, skip_tokenizer_init=True, profile="vllm-2026"))[0] == status


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"burstiness": -1}, "burstiness"),
        ({"burstiness": 0}, "burstiness"),
        ({"burstiness": "NaN"}, "burstiness"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"logprobs": -1}, "logprobs"),
        ({"num_prompts": 1, "num-prompts": 2}, "num_prompts"),
        ({"base_url": None, "host": "127.0.0.1/x?"}, "base_url"),
        ({"stress": True, "host": True}, "host"),
    ],
)
def test_what_the_client_would_refuse_an_hour_later_is_refused_now(
    given: Any, field: str, guard: Guard
) -> None:
    assert answer(guard, load(**given))[:2] == (400, field)


@pytest.mark.parametrize("name", ["dataset_path", "tokenizer", "cacert"])
def test_a_pipe_that_never_ends_is_no_file(name: str, guard: Guard) -> None:
    assert answer(guard, bench(**{name: "pipe"}))[:2] == (400, name)
    assert answer(guard, bench(tokenizer="empty"))[0] == 202


@pytest.mark.parametrize(
    "body",
    [
        bench(headers=["Authorization=Bearer sk-0123456789"]),
        bench(base_url=f"{URL}/?api_key=sk-0123456789"),
        bench(endpoint="/v1/completions?token=sk-0123456789"),
        load(endpoint="/v1/completions?api_key=sk-0123456789"),
        load(base_url=f"{URL}?x-signature=sk-0123456789"),
        {"kind": "sweep", "sweep": {"setups": [{"name": "a", "url": URL, "metrics": [f"{URL}/m?key=sk-0123456789"]}]}},
        bench(extra_body={"a": [{"password": "sk-0123456789"}]}),
    ],
)  # fmt: skip
def test_a_secret_in_the_wrong_place_is_refused_and_not_said_back(body: Any, guard: Guard) -> None:
    status, _, words = answer(guard, body)
    assert status == 400
    assert "sk-0123456789" not in words


def test_words_that_only_sound_like_a_secret_are_said_back() -> None:
    for words in ("max_tokens=5 is too many", "tokenizer: x", "send Authorization: Bearer", "no such key a"):
        assert RefusedError(400, words).body()["error"] == words


@pytest.mark.parametrize("start", ["é" * 300, "a\0b\nc", "\u202e"])
def test_a_result_has_a_name_that_a_file_system_takes(start: str) -> None:
    name = fitting(start, "-20261201-000000.json")
    assert len(name.encode()) <= MOST_NAME
    assert name.isprintable()
    assert name.endswith("-20261201-000000.json")
    assert file_name("vllm", 1.0, None, "org/m", "20261201-000000") == "vllm-1.0qps-m-20261201-000000.json"
