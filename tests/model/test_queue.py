"""The published queueing models: every published vector, and what must hold of any queue."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllmperf.errors import UsageError
from vllmperf.model.queue import (
    Answer,
    Chunked,
    FourParameter,
    Model,
    Shape,
    ThreeParameter,
    analyze,
    chain,
    four_parameter,
    largest_rate,
    max_rate,
    min_rate,
)

PUBLISHED = {"alpha": 12.0, "beta": 0.05, "gamma": 0.0005}
# TTFT 15.0 and 26.0, ITL 7.0 and 8.7 ms at batch 1 and 64, of 128 prompt tokens.
BETA, DELTA = 1.7 / 63, 11 / 63 / 128
DOCUMENT = FourParameter(alpha=7.0 - BETA, beta=BETA, gamma=15.0 - 128 * DELTA, delta=DELTA)
MODELS: list[Model] = [DOCUMENT, ThreeParameter(**PUBLISHED), Chunked(**PUBLISHED)]


def digits(value: float, text: str) -> bool:
    """Does the value round to the number as it was printed?"""
    return f"{value:.{len(text.partition('.')[2])}f}" == text


def flat(answer: Answer) -> dict[str, float]:
    return {**vars(answer.chain), **vars(answer.latencies), "max": answer.max_rate_per_s}


@pytest.mark.parametrize(
    ("model", "vector"),
    [
        (
            ThreeParameter(**PUBLISHED),
            {
                "throughput_per_s": "3.0000",
                "response_ms": "10568.45",
                "wait_ms": "28.275",
                "in_service": "31.6205",
                "ttft_ms": "75.317",
                "tpot_ms": "20.5345",
                "max": "3.82082",
            },
        ),
        (
            Chunked(**PUBLISHED),
            {
                "throughput_per_s": "3.0000",
                "response_ms": "10348.37",
                "wait_ms": "21.405",
                "in_service": "30.981",
                "ttft_ms": "67.615",
                "tpot_ms": "20.1189",
                "max": "3.86093",
            },
        ),
    ],
)
@pytest.mark.parametrize("queue", [128, 128 - 48])
def test_the_vectors_of_the_three_parameter_forms(model: Model, vector: dict[str, str], queue: int) -> None:
    found = flat(analyze(model, Shape(128, 512), 3.0, 48, queue))
    for name, text in vector.items():
        assert digits(found[name], text), (name, found[name], text)


@pytest.mark.parametrize(
    ("rate", "vector"),
    [
        (20, {"response_ms": "974.17", "batch": "20.483", "tpot_ms": "7.5257", "ttft_ms": "18.402"}),
        (
            40,
            {
                "response_ms": "1056.30",
                "wait_ms": "0.160",
                "batch": "43.243",
                "tpot_ms": "8.1399",
                "ttft_ms": "22.536",
            },
        ),
        (50, {"response_ms": "1132.93", "wait_ms": "31.286", "tpot_ms": "8.4808", "ttft_ms": "55.867"}),
        (55, {"response_ms": "1580.67", "wait_ms": "456.63", "tpot_ms": "8.6486", "ttft_ms": "482.30"}),
    ],
)
def test_the_vectors_of_the_documents_fit(rate: float, vector: dict[str, str]) -> None:
    found = flat(analyze(DOCUMENT, Shape(128, 128), rate, 64))
    for name, text in vector.items():
        assert digits(found[name], text), (name, found[name], text)


def test_the_documents_fit_passes_through_its_own_two_runs() -> None:
    shape = Shape(128, 128)
    assert 1000 / float(DOCUMENT.service_ms(np.array(1.0), shape)) == pytest.approx(1.10620, abs=1e-5)
    assert digits(64_000 / float(DOCUMENT.service_ms(np.array(64.0), shape)), "56.5921")
    assert digits(max_rate(DOCUMENT, shape, 64), "56.5355")
    assert min_rate(DOCUMENT, shape, 64) == pytest.approx(0.00110620, abs=1e-8)


def test_the_flat_form_says_the_same() -> None:
    found = four_parameter(20, **vars(DOCUMENT), input_tokens=128, output_tokens=128, max_batch=64)
    assert digits(found["ttft_ms"], "18.402")
    assert digits(found["tpot_ms"], "7.5257")
    assert found["throughput_per_s"] == pytest.approx(20)


# ---- the queue ----


def test_constant_service_of_one_place_is_the_textbook_queue() -> None:
    """M/M/1/K: p_i = (1 - r) r^i / (1 - r^(K+1))."""
    rate, service_ms, places = 8.0, 100.0, 5
    found = chain(rate, np.array([service_ms]), places)
    share = np.array([0.8**i for i in range(places + 1)])
    share /= share.sum()
    assert found.throughput_per_s == pytest.approx(rate * (1 - share[-1]))
    assert found.in_system == pytest.approx(share @ np.arange(places + 1))
    assert found.service_ms == pytest.approx(service_ms)


def test_places_enough_for_all_have_no_wait() -> None:
    """M/M/N/N: Erlang's loss formula."""
    found = chain(50.0, np.full(8, 100.0), 8)
    blocked = (5.0**8 / math.factorial(8)) / sum(5.0**k / math.factorial(k) for k in range(9))
    assert found.throughput_per_s == pytest.approx(50 * (1 - blocked))
    assert found.wait_ms == pytest.approx(0, abs=1e-9)


def test_long_queues_overflow_no_number() -> None:
    found = chain(1000.0, np.full(512, 5000.0), 60_000)
    assert found.throughput_per_s == pytest.approx(512 / 5)
    assert found.in_service == pytest.approx(512)
    assert found.in_system > 59_000


@given(
    st.floats(0.01, 500),
    st.lists(st.floats(0.5, 1e5), min_size=1, max_size=40),
    st.integers(0, 300),
)
def test_little_holds_for_any_queue(rate: float, service_ms: list[float], queue: int) -> None:
    found = chain(rate, np.array(service_ms), len(service_ms) + queue)
    assert 0 < found.throughput_per_s <= rate * (1 + 1e-12)
    assert found.in_system == pytest.approx(found.throughput_per_s * found.response_ms / 1000)
    assert found.response_ms == pytest.approx(found.wait_ms + found.service_ms)
    assert min(service_ms) * (1 - 1e-9) <= found.service_ms <= max(service_ms) * (1 + 1e-9)


# ---- the models ----


@pytest.mark.parametrize("model", MODELS)
def test_latencies_rise_with_the_rate(model: Model) -> None:
    shape = Shape(128, 512)
    top = max_rate(model, shape, 48)
    seen = [analyze(model, shape, share * top, 48).latencies for share in (0.01, 0.3, 0.6, 0.9, 1)]
    for before, after in pairwise(seen):
        assert before.ttft_ms < after.ttft_ms
        assert before.tpot_ms < after.tpot_ms


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("goal", [{"tpot_ms": 20.2}, {"ttft_ms": 60.0}, {"tpot_ms": 20.2, "ttft_ms": 60.0}])
def test_the_largest_rate_meets_its_goals_and_a_larger_one_does_not(
    model: Model, goal: dict[str, Any]
) -> None:
    shape = Shape(128, 512)
    rate, limit = largest_rate(model, shape, 48, **goal)

    def missed(rate: float) -> list[str]:
        seen = analyze(model, shape, rate, 48).latencies
        return [name for name, most in goal.items() if getattr(seen, name) > most * (1 + 1e-9)]

    assert not missed(rate)
    assert limit == "capacity" or f"{limit}_ms" in missed(rate * 1.001)


def test_without_a_goal_capacity_limits_and_tokens_keep_a_tenth_unused() -> None:
    shape = Shape(128, 128)
    top = max_rate(DOCUMENT, shape, 64)
    assert largest_rate(DOCUMENT, shape, 64) == (top, "capacity")
    assert largest_rate(DOCUMENT, shape, 64, output_tokens_per_s=5000) == (pytest.approx(0.9 * top), "tps")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: largest_rate(DOCUMENT, Shape(128, 128), 64, tpot_ms=5), "even a request alone has 7"),
        (
            lambda: largest_rate(DOCUMENT, Shape(128, 128), 64, output_tokens_per_s=1e5),
            "tokens/s by this model",
        ),
        (lambda: analyze(DOCUMENT, Shape(128, 0), 1, 64), "must be positive"),
        (lambda: analyze(DOCUMENT, Shape(128, 8), 0, 64), "must be positive"),
        (lambda: analyze(Chunked(1, 1, 1, 10), Shape(128, 8), 1, 64), "do not fit into steps of 10 tokens"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(call: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        call()


def test_prompts_come_in_as_few_chunks_as_fit() -> None:
    assert Chunked(**PUBLISHED).fitted(Shape(128, 512), 48) == Chunked(**PUBLISHED, chunks=1)
    long = Chunked(**PUBLISHED, max_num_tokens=1000).fitted(Shape(2000, 100), 20)
    assert isinstance(long, Chunked)

    def room(chunks: int) -> float:
        return math.floor((chunks + 100) * (1000 - 2000 / chunks) / 2100)

    assert room(long.chunks) >= 20 > room(long.chunks - 1)


def test_no_cost_per_sequence_is_no_division_by_zero() -> None:
    found = analyze(FourParameter(10, 0, 5, 0), Shape(100, 11), 1.0, 8)
    assert found.latencies.tpot_ms == 10
    assert found.latencies.ttft_ms == pytest.approx(5, abs=0.01)
