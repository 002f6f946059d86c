"""Exact percentiles of large arrays, by the C core."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import ArrayLike, NDArray


@overload
def percentile(values: ArrayLike, q: float) -> float: ...
@overload
def percentile(values: ArrayLike, q: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]: ...
def percentile(
    values: ArrayLike, q: float | Sequence[float] | NDArray[np.float64]
) -> float | NDArray[np.float64]:
    """Percentiles by NumPy's default rule (linear between the two neighbours), without sorting.

    values: any array-like, flattened, copied once. q: a number or several, within 0 and 100. Returns a float for a
    number, else a float64 array; NaN for no values or when one is NaN (as numpy.percentile does). Several q cost
    little more than one. Arithmetic is float64: the bits are those of numpy.percentile of the values in float64.
    Raises ValueError for a q outside 0 to 100.

    >>> percentile([1, 2, 3, 4], 50)
    2.5
    >>> percentile([1, 2, 3, 4], [0, 90])
    array([1. , 3.7])
    """
    import numpy as np

    import vllmperf._engine as _engine

    array = np.asarray(values)
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    asked = np.asarray(q, dtype=np.float64)
    if not ((asked >= 0) & (asked <= 100)).all():
        raise ValueError(f"percentiles must lie within 0 and 100, not {q!r}")
    flat = np.require(array, requirements=["C", "A"]).reshape(-1)
    found = _engine.quantile(flat, (asked / 100).reshape(-1).tolist())
    return found[0] if asked.ndim == 0 else np.asarray(found).reshape(asked.shape)
