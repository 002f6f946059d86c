"""Schedules against NumPy and against vLLM's rule."""

import numpy as np
import pytest

from vllmperf.errors import UsageError
from vllmperf.loadgen.arrival_file import read_trace
from vllmperf.loadgen.schedule import PIECE, constant_ns, gamma_ns, schedule
from vllmperf.plan import Plan

URL = "http://127.0.0.1:8000"


def whole(pieces):
    return np.concatenate(list(pieces))


def times(**settings):
    return whole(schedule(Plan.of(base_url=URL, **settings)).times)


def vllm_times_s(rate, n, shape, seed):
    """The rule as vLLM states it, all at once."""
    np.random.seed(seed)
    total = np.cumsum(np.random.gamma(shape=shape, scale=1.0 / (rate * shape), size=n))
    return total * (n / rate / total[-1])


@pytest.mark.parametrize("shape", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("n", [1, 50, 2 * PIECE + 7])
def test_gamma_times_are_those_of_vllm_to_the_nanosecond(shape, n):
    ours = whole(gamma_ns(20.0, n, shape, 7))
    np.testing.assert_allclose(ours, vllm_times_s(20.0, n, shape, 7) * 1e9, atol=1.0, rtol=1e-15)


def test_the_last_of_n_requests_leaves_at_n_over_rate():
    assert whole(gamma_ns(50.0, 300, 1.0, 0))[-1] == 6_000_000_000


def test_constant_times_do_not_drift():
    ns = whole(constant_ns(3.0, PIECE + 4))
    assert ns[0] == 0
    assert ns[3] == 1_000_000_000
    assert ns[PIECE + 2] == round((PIECE + 2) * 1e9 / 3)
    assert len(ns) == PIECE + 4


def test_poisson_is_gamma_of_shape_one_whatever_the_burstiness():
    assert (
        times(request_rate=9, arrival="poisson", burstiness=5.0) == whole(gamma_ns(9, 1000, 1.0, 0))
    ).all()


def test_endless_burstiness_is_an_even_spread():
    assert (times(request_rate=10, burstiness=float("inf")) == whole(constant_ns(10, 1000))).all()


def test_a_closed_loop_has_no_times():
    assert schedule(Plan.of(base_url=URL)).times is None
    assert schedule(Plan.of(base_url=URL)).n == 1000
    endless = schedule(Plan.of(base_url=URL, num_prompts=None, duration=9, max_concurrency=2))
    assert (endless.n, endless.times) == (None, None)


@pytest.mark.parametrize(("num_prompts", "n"), [(None, 20), (7, 7), (500, 20)])
def test_a_duration_limits_the_requests_of_a_rate(num_prompts, n):
    assert schedule(Plan.of(base_url=URL, request_rate=10, duration=2, num_prompts=num_prompts)).n == n


def trace(tmp_path, text, **settings):
    path = tmp_path / "arrivals"
    path.write_text(text)
    settings = {"num_prompts": None, **settings}
    return schedule(Plan.of(base_url=URL, arrival="trace", arrival_file=str(path), **settings))


@pytest.mark.parametrize(
    "text",
    [
        "10\n10.5\n\n12\n",
        "12\n10\n10.5",
        "id,timestamp\n1,10\n2,10.5\n3,12\n",
        '"a,b", arrival_s\n"x,y",10\nz,10.5\nz,12\n',
        '{"timestamp": 10}\n{"timestamp": 10.5}\n{"timestamp": "12"}\n',
    ],
)
def test_arrival_files_of_every_form_give_times_from_the_earliest_on(tmp_path, text):
    when = trace(tmp_path, text)
    assert when.n == 3
    assert whole(when.times).tolist() == [0, 500_000_000, 2_000_000_000]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_an_arrival_file_may_have_a_byte_order_mark(tmp_path, encoding):
    path = tmp_path / "times"
    path.write_bytes("10\r\n10.5\r\n".encode(encoding))
    assert read_trace(path) == [10.0, 10.5]


def test_number_and_duration_cut_an_arrival_file(tmp_path):
    assert trace(tmp_path, "0\n1\n2\n3", num_prompts=2).n == 2
    assert trace(tmp_path, "0\n1\n2\n3", duration=2.5).n == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("0\nsoon\n", "line 2"),
        ("0\nnan\n", "line 2"),
        ("a,b\n1,2\n", "line 1"),
        ("x,timestamp\n1,2\n1\n", "line 3"),
        ('{"when": 1}\n', "line 1"),
        ('{"timestamp": 1}\n{"timestamp"\n', "line 2"),
    ],
)
def test_a_bad_arrival_file_is_refused_with_file_and_line(tmp_path, text, says):
    with pytest.raises(UsageError, match=says) as refused:
        trace(tmp_path, text)
    assert str(tmp_path) in str(refused.value)


def test_an_arrival_file_that_is_missing_or_too_short_is_refused(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_trace(tmp_path / "none")
    with pytest.raises(UsageError, match="num_prompts is 3"):
        trace(tmp_path, "0\n1\n", num_prompts=3)
