"""Several targets: requests go to them in turn, and each has its own figures."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter

import numpy as np
import pytest

import vllmperf
from vllmperf.cli import main
from vllmperf.errors import SettingError
from vllmperf.loadgen.engine_group import shares
from vllmperf.metrics.commands import commands
from vllmperf.plan import Plan
from vllmperf.plan.spread import cycle
from vllmperf.report.console import table
from vllmperf.sim import Server

LOAD = {"num_prompts": 60, "input_len": 4, "output_len": 5, "request_id_prefix": "q-"}


@pytest.fixture
def servers(tmp_path):
    with (
        Server(ttft_ms=5, itl_ms=1, truth=str(tmp_path / "a")) as a,
        Server(ttft_ms=40, itl_ms=2, truth=str(tmp_path / "b")) as b,
    ):
        a.truth, b.truth = tmp_path / "a", tmp_path / "b"
        yield a, b


def numbers(server) -> Counter[int]:
    """Of the requests that the server answered, by its truth file."""
    server.stop()
    rows = [json.loads(line) for line in server.truth.read_text().splitlines()]
    return Counter(
        int(row["request_id"].removeprefix("q-")) for row in rows if row["path"].endswith("completions")
    )


def test_requests_go_to_the_targets_in_turn_and_none_twice(servers):
    a, b = servers
    run = vllmperf.bench([a, b], **LOAD, max_concurrency=4)
    assert run.summary["requests"]["outcomes"] == {"completed": 60}
    assert numbers(a) == Counter(range(0, 60, 2))
    assert numbers(b) == Counter(range(1, 60, 2))


def test_weights_spread_an_open_loop_evenly(servers):
    a, b = servers
    run = vllmperf.bench([f"{a.url}=2", b.url], **LOAD, request_rate=200, arrival="constant")
    assert run.summary["plan"]["weights"] == [2, 1]
    turns = cycle([2, 1])
    assert numbers(a) == Counter(i for i in range(60) if turns[i % 3] == 0)
    assert sum(numbers(b).values()) == 20
    scheduled = run.requests["scheduled_ns"]
    assert np.ptp(scheduled - np.arange(60) * 5_000_000) < 5e8  # of two clocks that began at one time
    assert (run.requests["sent_ns"] >= scheduled).all()


def test_each_target_has_its_own_figures(servers):
    a, b = servers
    run = vllmperf.bench([a, b], **LOAD, max_concurrency=4)
    fast, slow = run.untrimmed.summary["targets"]
    assert (fast["base_url"], slow["base_url"]) == (a.url, b.url)
    assert fast["requests"] == slow["completed"] == 30
    assert fast["metrics"]["ttft_ms"]["p50"] >= 5
    assert slow["metrics"]["ttft_ms"]["min"] >= 40
    gaps = run.untrimmed.summary["metrics"]["itl_ms"]["n"]  # none of answers that came in one read
    assert fast["metrics"]["itl_ms"]["n"] + slow["metrics"]["itl_ms"]["n"] == gaps > 0
    assert slow["errors"] == 0
    shown = table(run.summary)
    assert "Targets, ms" in shown
    assert a.url.removeprefix("http://") in shown
    whole = run.untrimmed.summary["throughput"]["output_tokens_per_s"]
    assert whole > 0


def test_a_target_that_fails_is_told_from_the_other(port):
    with Server(ttft_ms=5, itl_ms=1) as good:
        run = vllmperf.bench([good, f"http://127.0.0.1:{port}"], **LOAD, max_concurrency=4)
    up, down = run.summary["targets"]
    assert (up["completed"], up["errors"]) == (30, 0)
    assert (down["completed"], down["errors"]) == (0, 30)
    assert down["metrics"]["ttft_ms"] is None


def test_a_run_of_several_targets_is_resumed_at_the_same_ones(servers, tmp_path):
    a, b = servers
    path = tmp_path / "r"
    first = vllmperf.bench([a, b], **LOAD, max_concurrency=4, record=path)
    with sqlite3.connect(path) as db:  # as if it had been cut off in its middle
        db.execute('DELETE FROM requests WHERE "index" >= 20')
        db.execute("""UPDATE meta SET value = '"interrupted"' WHERE key = 'state'""")
    run = vllmperf.bench(resume=path)
    assert [one["completed"] for one in run.summary["targets"]] == [30, 30]
    assert run.requests["index"].tolist() == list(range(60))
    assert numbers(a) == Counter({i: 2 if i >= 20 else 1 for i in range(0, 60, 2)})
    assert first.summary["requests"]["completed"] == 60


def test_too_many_errors_of_one_target_end_the_whole_run(port):
    with Server(ttft_ms=50, itl_ms=1) as good:
        address = f"http://127.0.0.1:{port}"
        run = vllmperf.bench(
            [good, address], **{**LOAD, "num_prompts": 4000}, max_concurrency=4, max_errors=10
        )
    assert run.summary["ending"]["reason"] == "max_errors"
    assert run.summary["requests"]["completed"] < 1000


def test_the_command_takes_several_urls(servers, tmp_path):
    a, b = servers
    words = [
        "bench",
        "--base-url",
        a.url,
        "--base-url",
        f"{b.url}=2",
        "--num-prompts",
        "30",
        "--max-concurrency",
        "3",
    ]
    code = main([*words, "--output-len", "3", "--no-progress", "--json", str(tmp_path / "j")])
    assert code in (0, 1)
    targets = json.loads((tmp_path / "j").read_text())["targets"]
    assert [(one["weight"], one["requests"]) for one in targets] == [(1, 10), (2, 20)]


def test_a_plan_with_several_targets_survives_json_and_one_new_url_replaces_them_all():
    plan = Plan.of(base_url=["http://a:1", "http://b:2=3"], max_concurrency=4)
    assert Plan.from_json(plan.to_json()) == plan
    assert plan.target.all_weights == (1, 3)
    assert [one.base_url for one in plan.target.each] == ["http://a:1", "http://b:2"]
    assert plan.replace(base_url="http://c:3").target.other_urls == ()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"base_url": ["http://a:1", "ftp://b"]}, "base_url must be http"),
        ({"base_url": ["http://a:1", "http://b:1=0"]}, "from 1 to 1000"),
        ({"base_url": ["http://a:1", "http://b:1=0"]}, "base_url must be a URL or, of several, URL=WEIGHT"),
        ({"base_url": ["http://a:1", "http://b:1=1.5"]}, "URL=WEIGHT"),
        ({"base_url": "http://a:1=x"}, "URL=WEIGHT"),
        ({"base_url": []}, "a URL or a list of URLs"),
    ],
)
def test_targets_that_make_no_sense_are_one_clear_line(given, words):
    with pytest.raises(SettingError, match=words):
        Plan.of(**given)


def test_fewer_places_than_targets_are_refused(servers):
    with pytest.raises(SettingError, match="at least 1 for each of the 2 targets"):
        vllmperf.bench(list(servers), **LOAD, max_concurrency=1)


def test_a_fit_takes_one_target():
    pytest.importorskip("scipy", reason="the extra model is not installed")
    with pytest.raises(SettingError, match="a fit is of one replica: give base_url once"):
        vllmperf.fit(Plan.of(base_url=["http://127.0.0.1:9", "http://127.0.0.1:10"], max_concurrency=4))


def test_the_next_commands_of_explain_name_all_targets():
    plan = Plan.of(base_url=["http://a:1=2", "http://b:2"], max_concurrency=4).flat()
    summary = {"plan": plan, "state": "finished", "in_flight": {"max": 4}, "requests": {"completed": 8}}
    (command,) = commands(["{bench} {load}"], summary, "run.vllmperf", {})
    assert command.startswith("vllmperf bench --base-url http://a:1=2 --base-url http://b:2=1 ")


def test_turns_are_spread_and_shares_add_up():
    assert cycle([1, 1, 1]) == [0, 1, 2]
    assert cycle([3, 1]) == [0, 0, 1, 0]
    assert shares(10, [1, 1, 1]) == [4, 3, 3]
    assert shares(0, [1, 2]) == [0, 0]
    assert sum(shares(17, [5, 3, 1])) == 17
