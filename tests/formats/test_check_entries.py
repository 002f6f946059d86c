"""`vllmperf check`: the figures of a vLLM result against the requests that --save-detailed lists beside them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vllmperf as vp

TTFTS_S = [0.05 / 3, 0.0612 / 3, 0.0431 / 3, 0.0, 0.0777 / 3]
GAPS = [[10, 12, 11.3], [9, 10.1], [10], [], [13, 9.4, 12.2, 10.8]]
ITLS_S = [[gap / 3000 for gap in gaps] for gaps in GAPS]
TOKENS = [4, 3, 2, 0, 5]
Change = Callable[[dict[str, Any]], object]


def statistics(name: str, values_s: Any) -> dict[str, float]:
    values = np.asarray(values_s) * 1000
    return {
        f"mean_{name}_ms": float(values.mean()),
        f"median_{name}_ms": float(np.median(values)),
        f"std_{name}_ms": float(values.std()),
        f"p99_{name}_ms": float(np.percentile(values, 99)),
    }


def result() -> dict[str, Any]:
    """Five requests; the fourth failed."""
    latencies = [ttft + sum(gaps) for ttft, gaps in zip(TTFTS_S, ITLS_S, strict=True)]
    done = [0, 1, 2, 4]
    prompt, output = 4 * 10, sum(TOKENS)
    return {
        "num_prompts": 5, "request_rate": "inf", "max_concurrency": None, "duration": 0.25, "completed": 4, "failed": 1,
        "total_input_tokens": prompt, "total_output_tokens": output, "request_throughput": 16.0,
        "output_throughput": output / 0.25, "total_token_throughput": (prompt + output) / 0.25,
        "input_lens": [10] * 5, "output_lens": list(TOKENS), "ttfts": list(TTFTS_S), "itls": copy.deepcopy(ITLS_S),
        "latencies": latencies, "start_times": [100.0, 100.1, 100.1, 100.1, 100.1], "queue_times": [0.0] * 5,
        "generated_texts": ["a"] * 5, "errors": ["", "", "", "Internal Server Error", ""],
        **statistics("ttft", [TTFTS_S[i] for i in done]),
        **statistics("tpot", [(latencies[i] - TTFTS_S[i]) / (TOKENS[i] - 1) for i in done]),
        **statistics("itl", [gap for i in done for gap in ITLS_S[i]]),
        **statistics("e2el", [latencies[i] for i in done]),
    }  # fmt: skip


def statuses(tmp_path: Path, data: dict[str, Any]) -> tuple[str, str]:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(data))
    found = {one.name: one.status for one in vp.check(path)[0].checks}
    return found["entries"], found["recounted"]


def test_figures_of_the_listed_requests_hold(tmp_path: Path) -> None:
    assert statuses(tmp_path, result()) == ("ok", "ok")


@pytest.mark.parametrize("statistic", ["mean", "median", "std", "p99"])
@pytest.mark.parametrize("metric", ["ttft", "tpot", "itl", "e2el"])
def test_a_changed_statistic_is_not_of_the_listed_requests(
    tmp_path: Path, metric: str, statistic: str
) -> None:
    data = result()
    data[f"{statistic}_{metric}_ms"] *= 1.001
    assert statuses(tmp_path, data) == ("ok", "broken")


@pytest.mark.parametrize("name", ["total_input_tokens", "total_output_tokens"])
def test_a_token_too_many_is_not_of_the_listed_requests(tmp_path: Path, name: str) -> None:
    assert statuses(tmp_path, {**result(), name: result()[name] + 1}) == ("ok", "broken")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["ttfts"].__setitem__(1, 0.07),
        lambda data: data["itls"][4].__setitem__(2, 0.02),
        lambda data: data["itls"][4].pop(),
        lambda data: data["latencies"].__setitem__(0, 0.09),
        lambda data: data["output_lens"].__setitem__(0, 5),
        lambda data: data["input_lens"].__setitem__(0, 11),
    ],
    ids=["ttft", "gap", "lost_gap", "latency", "output", "input"],
)
def test_a_changed_entry_does_not_give_the_figures(tmp_path: Path, change: Change) -> None:
    data = result()
    change(data)
    assert statuses(tmp_path, data) == ("ok", "broken")


@pytest.mark.parametrize("name", [name for name, value in result().items() if isinstance(value, list)])
def test_an_array_that_lost_an_entry_is_told(tmp_path: Path, name: str) -> None:
    assert statuses(tmp_path, {**result(), name: result()[name][:-1]})[0] == "broken"


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["errors"].__setitem__(0, "Bad Gateway"),
        lambda data: data["errors"].__setitem__(3, "") or data["ttfts"].__setitem__(3, 0.05),
        lambda data: data.update(failed=2),
        lambda data: data["ttfts"].__setitem__(0, None),
        lambda data: data["itls"].__setitem__(0, 0.01),
    ],
    ids=["one_more_error", "one_error_less", "failed", "no_number", "no_list"],
)
def test_arrays_of_other_requests_are_told(tmp_path: Path, change: Change) -> None:
    data = result()
    change(data)
    assert statuses(tmp_path, data)[0] == "broken"


def test_a_failure_without_words_is_one_all_the_same(tmp_path: Path) -> None:
    """A status line may have no reason, which vLLM keeps as the error."""
    assert statuses(tmp_path, {**result(), "errors": [""] * 5}) == ("ok", "ok")


def test_rounded_figures_and_entries_hold(tmp_path: Path) -> None:
    data = result()
    for name, value in data.items():
        if name.endswith("_ms"):
            data[name] = round(value, 2)
    data["latencies"] = [round(value, 4) for value in data["latencies"]]
    assert statuses(tmp_path, data) == ("ok", "ok")


def test_a_result_without_the_arrays_leaves_them_unknown(tmp_path: Path) -> None:
    brief = {name: value for name, value in result().items() if not isinstance(value, list)}
    assert statuses(tmp_path, brief) == ("unknown", "unknown")


def test_a_result_of_vllm_0_8_has_no_latencies_and_no_count_of_failures(tmp_path: Path) -> None:
    old = {
        n: v for n, v in result().items() if n not in ("latencies", "start_times", "queue_times", "failed")
    }
    assert statuses(tmp_path, old) == ("ok", "ok")


@pytest.mark.parametrize(
    "settings", [{}, {"extra_body": {"n": 2}}, {"stream": False}], ids=["stream", "n = 2", "no stream"]
)
@pytest.mark.parametrize("itl_ms", [1, 0], ids=["spread", "in one read"])
def test_our_own_detailed_result_holds(tmp_path: Path, settings: dict[str, Any], itl_ms: int) -> None:
    with vp.sim.Server(ttft_ms=5, itl_ms=itl_ms) as server:
        run = vp.bench(server, max_concurrency=4, num_prompts=30, output_len=6, keep_gaps="all", **settings)
    from vllmperf.formats.vllm_result import save

    path = save(run, tmp_path, "own.json", detailed=True)
    found = {one.name: one for one in vp.check(path)[0].checks}
    assert found["entries"].status == "ok", found["entries"]
    assert found["recounted"].status == "ok", found["recounted"]
