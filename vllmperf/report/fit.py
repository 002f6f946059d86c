"""A fit as people read it: parameters with intervals, the runs behind them, what speaks against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vllmperf.model.parameters import MEANINGS, THREE, Fit, Parameter
from vllmperf.numbers import NOTHING, estimate, number, plural
from vllmperf.report.sheet import Sheet
from vllmperf.report.table import Row, Span, Table


def sheet(result: Fit) -> Sheet:
    """Parameters, the runs behind them, and what speaks against them."""
    return Sheet([*_tables(result), *([remark] for remark in _remarks(result))], is_aligned=False)


def _tables(result: Fit) -> Iterator[Table]:
    yield _parameters("One replica", result.parameters, MEANINGS)
    if result.three_parameter:
        yield _parameters("With three", result.three_parameter, THREE)
    yield _points(result)


def _remarks(result: Fit) -> list[Span]:
    return [(_quality(result), ""), *((f"! {text}", "warning") for text in result.warnings)]


def _parameters(title: str, found: Mapping[str, Parameter], meanings: Mapping[str, tuple[str, str]]) -> Table:
    rows = []
    for name, one in found.items():
        unit, meaning = meanings[name]
        rows.append(Row(f"{name}, {unit}", tuple(cell or NOTHING for cell in estimated(one)), meaning))
    return Table(title, ("value", "95 % from", "to"), tuple(rows), keeps_notes=True)


def _points(result: Fit) -> Table:
    rows = []
    for point in result.points:
        law, itl = point.predicted_itl_ms, point.itl_ms
        cells = (
            NOTHING if point.batch is None else f"{point.batch:.2f}",
            NOTHING if itl is None else f"{itl:.3f}",
            NOTHING if law is None else f"{law:.3f}",
            NOTHING if not law or not itl else f"{100 * (itl / law - 1):+.1f} %",
            number(point.ttft_ms),
            f"{point.steps:,}" if point.method == "steps" else f"({point.method})",
        )
        rows.append(Row(point.label + (" (held out)" if point.held_out else ""), cells))
    return Table("Runs", ("batch", "ITL, ms", "by the law", "off", "TTFT, ms", "steps"), tuple(rows))


def _quality(result: Fit) -> str:
    quality = result.quality
    parts = [f"Rests on {rests_on(result)}"]
    if quality.r2 is not None:
        parts.append(f"R² {quality.r2:.4f}")
    if quality.lack_of_fit_p is not None:
        parts.append(f"lack of fit p = {quality.lack_of_fit_p:.2g}")
    if quality.condition is not None:
        parts.append(f"condition number {quality.condition:.1f}")
    if quality.hold_out_error is not None:
        parts.append(f"ITL of the run held out {quality.hold_out_error:+.1%} of the law")
    return "; ".join(parts)


def rests_on(result: Fit) -> str:
    """14 runs: 1,234 measurements of 5,678 steps, batches of 1 to 64, prompts of 103 to 2,457 tokens"""
    runs = sum(not point.held_out for point in result.points)
    if not runs and not result.quality.n:
        return "numbers that were given, without intervals"
    low, high = result.valid_batch
    told = f"{plural(runs, 'run')}: {counted(result)}, batches of {low:g} to {high:g}"
    if result.valid_input_tokens:
        low, high = result.valid_input_tokens
        told += f", prompts of {low:,.0f} to {high:,.0f} tokens"
    return told


def counted(result: Fit) -> str:
    """1,234 measurements of 5,678 steps"""
    quality = result.quality
    return (
        f"{quality.n:,} measurements of {quality.steps:,} steps" if quality.steps else f"{quality.n:,} means"
    )


def estimated(one: Parameter) -> tuple[str, str | None, str | None]:
    """Value and ends of the interval, with the digits that it leaves."""
    if one.value is None or one.low is None or one.high is None:
        return number(one.value), None, None
    value, low, high = estimate(one.value, (one.high - one.low) / 2, one.low, one.high)
    return value, low, high


def interval(low: str | None, high: str | None) -> str:
    return NOTHING if low is None else f"{low} … {high}"
