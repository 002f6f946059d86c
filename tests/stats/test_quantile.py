"""_engine.quantile, moments and vllmperf.metrics.percentile: NumPy's own results, bit for bit."""

import math
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from twins import quantile as twin

from vllmperf import _engine
from vllmperf.metrics import percentile

PERCENTILES = [0, 1e-7, 1, 25, 33.3, 50, 66.6, 90, 99, 99.9, 99.999, 100]
SIZES = [0, 1, 2, 3, 10, 101, 4096, 70_001, 1_000_000]


def close_together(random: np.random.Generator, n: int) -> NDArray[np.float64]:
    return 1e9 + random.integers(0, 50, n).astype(float)


SHAPES: dict[str, Callable[[np.random.Generator, int], NDArray[np.float64]]] = {
    "even": lambda random, n: random.random(n),
    "both signs, many decades": lambda random, n: random.standard_cauchy(n) ** 5,
    "latencies": lambda random, n: random.lognormal(16, 0.5, n),
    "duplicates": lambda random, n: random.integers(-2, 3, n).astype(float),
    "all equal": lambda _, n: np.full(n, 0.1),
    "ascending": lambda _, n: np.arange(n) * 0.7,
    "descending": lambda _, n: np.arange(n, 0, -1) * 0.7,
    "close together": close_together,
    "outliers": lambda random, n: np.where(random.random(n) < 1e-3, 1e300, close_together(random, n)),
    "subnormal": lambda random, n: random.integers(-9, 9, n) * 5e-324,
}


def numpys(values: NDArray[Any], q: Any) -> Any:
    if values.size == 0:
        return np.full(np.shape(q), math.nan)
    with np.errstate(invalid="ignore"):
        return np.percentile(values.astype(np.float64), q)


def bits(values: Any) -> list[int]:
    """Equal for equal values; the sign of a zero and the kind of a NaN do not count."""
    array = np.atleast_1d(np.asarray(values, dtype=np.float64)) + 0.0
    array[np.isnan(array)] = np.nan
    return array.view(np.uint64).tolist()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_percentiles_are_numpys_to_the_last_bit(shape: str, dtype: type[np.floating[Any]]) -> None:
    random = np.random.default_rng(7)
    for n in SIZES:
        with np.errstate(over="ignore"):
            values = SHAPES[shape](random, n).astype(dtype)
        before = values.copy()
        assert bits(percentile(values, PERCENTILES)) == bits(numpys(values, PERCENTILES)), n
        assert (values == before).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_odd_values_are_treated_as_numpy_treats_them(dtype: type[np.floating[Any]]) -> None:
    random = np.random.default_rng(3)
    odd = [math.nan, math.inf, -math.inf, -0.0, 0.0]
    for trial in range(300):
        n = int(random.integers(1, 9)) if trial % 2 else 5000
        values = random.normal(size=n)
        values[random.integers(0, n, 3)] = random.choice(odd, 3)
        values = values.astype(dtype)
        assert bits(percentile(values, PERCENTILES)) == bits(numpys(values, PERCENTILES)), values


def test_one_nan_among_a_million_makes_every_percentile_nan() -> None:
    values = np.random.default_rng(0).random(1_000_000)
    values[123_456] = -math.nan
    assert np.isnan(percentile(values, [0, 50, 100])).all()


def test_the_twin_agrees() -> None:
    random = np.random.default_rng(5)
    for n in range(40):
        values = random.normal(size=n).round(1)
        expected = [twin.quantile(values.tolist(), q / 100) for q in PERCENTILES]
        assert bits(percentile(values, PERCENTILES)) == bits(expected)


def test_many_percentiles_at_once_are_each_of_them_alone() -> None:
    values = np.random.default_rng(1).exponential(size=50_000)
    asked = np.random.default_rng(2).random(500) * 100
    assert bits(percentile(values, asked)) == bits(numpys(values, asked))
    assert percentile(values, asked).tolist() == [percentile(values, q) for q in asked]


def test_the_kind_of_the_answer_follows_q() -> None:
    values = np.arange(5.0)
    assert type(percentile(values, 50)) is float
    assert percentile(values, [50]).shape == (1,)
    assert percentile(values, (0, 100)).tolist() == [0, 4]
    assert percentile(values, []).size == 0
    assert percentile(values, np.array([[0, 50], [75, 100]])).tolist() == [[0, 2], [3, 4]]


@pytest.mark.parametrize(
    "values",
    [
        [3, 1, 2, 4],
        (4.0, 3.0, 2.0, 1.0),
        np.array([1, 2, 3, 4], dtype=np.uint8),
        np.array([4, 3, 2, 1], dtype=">f8"),
        np.array([1, 2, 3, 4], dtype=np.float16),
        np.arange(1.0, 9)[:4],
        np.array([1.0, 9, 2, 9, 3, 9, 4, 9])[::2],
        np.array([[1.0, 3], [2, 4]]).T,
        np.frombuffer(b"x" + np.array([4.0, 2, 1, 3]).tobytes(), offset=1),
    ],
    ids=str,
)
def test_any_numbers_in_any_layout_will_do(values: Any) -> None:
    assert percentile(values, 50) == 2.5
    assert percentile(values, 90) == np.percentile(np.asarray(values, dtype=float), 90)


@pytest.mark.parametrize("q", [-1, 100.001, math.nan, math.inf, [50, 101], [math.nan]])
def test_a_percentile_out_of_range_is_refused(q: Any) -> None:
    with pytest.raises(ValueError, match="100"):
        percentile([1.0, 2.0], q)


def test_quantile_refuses_what_it_cannot_read() -> None:
    with pytest.raises(ValueError, match="within 0 and 1"):
        _engine.quantile(np.ones(3), [1.5])
    for values in (np.ones(3, dtype=np.int64), np.ones(3, dtype=complex), b"abc"):
        with pytest.raises(TypeError):
            _engine.quantile(values, [0.5])  # type: ignore[arg-type]
    with pytest.raises((TypeError, BufferError, ValueError)):
        _engine.quantile(np.ones(6)[::2], [0.5])
    with pytest.raises(ValueError, match="not aligned"):
        _engine.quantile(np.frombuffer(bytes(17), offset=1), [0.5])
    with pytest.raises(TypeError):
        _engine.quantile(np.ones(3), ["x"])  # type: ignore[list-item]


def test_an_array_that_another_thread_writes_gives_some_number_and_harms_nothing() -> None:
    code = """if True:
        import threading, numpy as np
        from vllmperf import _engine
        even = np.linspace(0, 1, 200_000)
        shared = {np.float64: even.copy(), np.float32: even.astype(np.float32)}
        over = False
        def write():
            while not over:
                for array in shared.values():
                    array.fill(0.5)
                    array[:] = even
        thread = threading.Thread(target=write); thread.start()
        for _ in range(40):
            for array in shared.values():
                found = _engine.quantile(array, [0.1, 0.5, 0.9, 0.99])
                assert all(0 <= value <= 1 for value in found), found
                _engine.moments(array)
                _engine.Histogram().add(array)
        over = True; thread.join(); print("survived")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.stdout.strip() == "survived", done.stderr


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_float32_is_taken_as_the_same_values_in_float64(dtype: type[np.floating[Any]]) -> None:
    random = np.random.default_rng(8)
    for n in (2, 7, 50, 3000):
        values = (random.normal(size=n) * 10.0 ** random.integers(-5, 6)).astype(dtype)
        for q in random.random(20):
            expected = np.quantile(values.astype(np.float64), float(q))
            assert bits(_engine.quantile(values, [float(q)])) == bits(expected)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_moments_are_those_of_exact_arithmetic(dtype: type[np.floating[Any]]) -> None:
    random = np.random.default_rng(4)
    for values in (random.normal(1e6, 1, 5000), random.normal(0, 1, 7), np.full(9000, 0.1), np.ones(1)):
        values = values.astype(dtype)
        mean, variance = _engine.moments(values)
        exact = [Fraction(float(value)) for value in values]
        exact_mean = sum(exact) / len(exact)
        exact_variance = sum((value - exact_mean) ** 2 for value in exact) / len(exact)
        assert mean == pytest.approx(float(exact_mean), rel=1e-15)
        assert variance == pytest.approx(float(exact_variance), rel=1e-12, abs=1e-30)


def test_moments_of_a_million_agree_with_numpy_and_of_none_are_nan() -> None:
    values = np.random.default_rng(6).lognormal(16, 1, 1_000_000)
    mean, variance = _engine.moments(values)
    assert mean == pytest.approx(values.mean(), rel=1e-12)
    assert variance == pytest.approx(values.var(), rel=1e-10)
    assert all(map(math.isnan, _engine.moments(np.array([]))))


def test_percentile_is_a_function_whatever_was_imported_before_and_brings_no_numpy_in() -> None:
    code = "import sys, vllmperf.metrics.percentiles as _; assert 'numpy' not in sys.modules; "
    code += "import vllmperf; vllmperf.metrics.percentile([1], 5)"
    subprocess.run([sys.executable, "-c", code], check=True)
