"""_engine.Histogram: the stated bound, exact moments, merging, the packed image."""

import math
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from twins import hist as twin

from vllmperf._engine import Histogram

BOUND = 1 / 2048
LARGEST = 2**63 - 1
QUANTILES = [0, 1e-6, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1]


def histogram(*parts: object) -> Histogram:
    h = Histogram()
    for part in parts:
        h.add(part)
    return h


def latencies(n: int, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).lognormal(16, 1.5, n).astype(np.int64)


def wide(n: int, seed: int = 0) -> NDArray[np.int64]:
    random = np.random.default_rng(seed)
    return random.integers(0, LARGEST, n) >> random.integers(0, 63, n)


@pytest.mark.parametrize("draw", [latencies, wide])
@pytest.mark.parametrize("n", [1, 2, 3, 1000, 200_000])
def test_quantiles_are_within_the_bound_of_numpys(draw: object, n: int) -> None:
    values = draw(n)  # type: ignore[operator]
    h = histogram(values)
    for q in QUANTILES:
        assert h.quantile(q) == pytest.approx(float(np.quantile(values.astype(float), q)), rel=BOUND)


@pytest.mark.parametrize("n", [1, 2, 5, 3000])
def test_quantiles_are_those_of_the_twin(n: int) -> None:
    values = wide(n, seed=n)
    slow = twin.Histogram(values.tolist())
    h = histogram(values)
    for q in [*QUANTILES, *np.random.default_rng(n).random(20)]:
        assert h.quantile(q) == pytest.approx(slow.quantile(q), rel=1e-15)


def test_values_below_2048_are_exact() -> None:
    values = np.arange(2048)
    h = histogram(values)
    for q in np.linspace(0, 1, 77):
        assert h.quantile(q) == pytest.approx(np.quantile(values, q), rel=1e-14)


def test_every_power_of_two_and_its_neighbours_come_back_within_the_bound() -> None:
    for bit in range(63):
        for value in {max(0, 2**bit + off) for off in (-1, 0, 1)}:
            h = histogram(0, value, LARGEST)
            assert abs(h.quantile(0.5) - value) <= BOUND * value


def test_quantiles_ascend_from_min_to_max() -> None:
    h = histogram(latencies(5000))
    found = [h.quantile(q) for q in np.linspace(0, 1, 500)]
    assert found[0] == h.min
    assert found[-1] == h.max
    assert all(a <= b for a, b in pairwise(found))


@pytest.mark.parametrize("offset", [0, 10**9, 3600 * 10**9, 10**15])
def test_mean_and_deviation_are_exact_not_those_of_bins(offset: int) -> None:
    values = latencies(20_000) % 10**6 + offset
    h = histogram(values)
    centred = (values - offset).astype(float)
    assert h.mean == pytest.approx(offset + centred.mean(), rel=1e-15)
    assert h.std == pytest.approx(centred.std(), rel=1e-9)
    assert (h.count, h.min, h.max) == (20_000, values.min(), values.max())


def test_the_largest_values_do_not_overflow() -> None:
    h = histogram(*[LARGEST] * 1000, *[0] * 1000)
    assert h.mean == pytest.approx(2.0**62, rel=1e-15)
    assert h.std == pytest.approx(2.0**62, rel=1e-12)
    assert h.max == LARGEST


def test_merged_in_any_order_is_as_if_added_to_one() -> None:
    parts = [latencies(1000, seed) for seed in range(4)] + [wide(500)]
    whole = histogram(*parts)
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1]):
        merged = Histogram()
        for i in order:
            merged.merge(histogram(parts[i]))
        merged.merge(Histogram())
        assert merged.pack() == whole.pack()
        assert (merged.mean, merged.std, merged.count) == (whole.mean, whole.std, whole.count)


def test_merged_with_itself_counts_double() -> None:
    h = histogram(1, 5, 10**9)
    h.merge(h)
    assert h.count == 6
    assert h.mean == pytest.approx((6 + 10**9) / 3)


@pytest.mark.parametrize("values", [[], [0], [7, 7, 10**12], wide(3000).tolist()], ids=len)
def test_unpacked_is_what_was_packed(values: list[int]) -> None:
    h = histogram(*values)
    copy = Histogram.unpack(h.pack())
    assert copy.pack() == h.pack()
    assert (copy.count, copy.min, copy.max) == (h.count, h.min, h.max)
    assert [copy.quantile(q) for q in QUANTILES] == pytest.approx(
        [h.quantile(q) for q in QUANTILES], nan_ok=True
    )
    assert (copy.mean, copy.std) == pytest.approx((h.mean, h.std), nan_ok=True)
    copy.merge(h)
    assert copy.count == 2 * h.count


def test_what_is_no_image_is_refused() -> None:
    image = histogram(latencies(50)).pack()
    for broken in (
        b"",
        b"VPMHIST",
        image[:-1],
        image + b"\0",
        image[:-8],
        bytes(len(image)),
        b"x" + image[1:],
    ):
        with pytest.raises(ValueError, match="no packed histogram"):
            Histogram.unpack(broken)
    with pytest.raises(TypeError):
        Histogram.unpack("text")  # type: ignore[arg-type]


def test_a_damaged_image_is_refused_or_harmless() -> None:
    image = histogram(latencies(30)).pack()
    random = np.random.default_rng(1)
    for _ in range(2000):
        damaged = bytearray(image)
        damaged[random.integers(len(image))] ^= 1 << int(random.integers(8))
        try:
            h = Histogram.unpack(bytes(damaged))
        except ValueError:
            continue
        assert h.min <= h.quantile(0.5) <= h.max
        h.add(5)


def test_an_empty_one_has_no_figures() -> None:
    h = Histogram()
    assert (h.count, h.min, h.max) == (0, 0, 0)
    assert all(map(math.isnan, (h.mean, h.std, h.quantile(0.5))))


@pytest.mark.parametrize("q", [-0.01, 1.01, math.nan])
def test_a_quantile_out_of_range_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="within 0 and 1"):
        histogram(1).quantile(q)


def test_arrays_of_three_types_and_ints_are_added_alike() -> None:
    values = [0, 3, 2047, 2048, 123_456]
    expected = histogram(*values).pack()
    for dtype in (np.int64, np.float64, np.float32):
        assert histogram(np.array(values, dtype=dtype)).pack() == expected


def test_floats_are_rounded_negatives_count_as_0_and_what_is_too_large_as_the_largest() -> None:
    h = histogram(np.array([-5.0, -math.inf, 0.4, 1.6, 1e300, math.inf]), -7)
    assert (h.count, h.min, h.max) == (7, 0, LARGEST)
    assert h.quantile(4 / 6) == 2


def test_nan_is_refused_and_changes_nothing() -> None:
    h = histogram(5)
    before = h.pack()
    with pytest.raises(ValueError, match=r"(?i)nan"):
        h.add(np.array([1.0, math.nan]))
    assert h.pack() == before


def test_what_is_no_number_is_refused() -> None:
    h = Histogram()
    for wrong in ("7", 7.5, np.array(["a"]), np.ones(3, dtype=np.int32), None):
        with pytest.raises(TypeError):
            h.add(wrong)
    with pytest.raises(OverflowError):
        h.add(2**63)
    with pytest.raises(TypeError):
        h.merge(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Histogram(1)  # type: ignore[call-arg]
    assert h.count == 0
