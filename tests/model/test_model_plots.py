"""What the pictures of a fit, a sizing and a search for the capacity show, and on which axes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="scipy (the extra `model`) is not installed")
pytest.importorskip("matplotlib", reason="matplotlib (the extra `plots`) is not installed")

from matplotlib.figure import Figure

import vllmperf as vp
from vllmperf.model.capacity import Capacity, Step
from vllmperf.model.parameters import UNKNOWN, Fit, Parameter, Quality
from vllmperf.model.slo import Answer, Limits
from vllmperf.report.plots.fit import draw

SPREAD_MS = 0.02


def result(stalls: int) -> Fit:
    rng = np.random.default_rng(1)
    batch = np.repeat(np.arange(1.0, 17.0), 20)
    off = rng.normal(0, SPREAD_MS, len(batch))
    off[:stalls] = 40.0
    rows = zip(
        batch.tolist(), (7 + 0.1 * batch + off).tolist(), off.tolist(), [5.0] * len(batch), strict=True
    )
    known = {"alpha": Parameter(7.0, 6.99, 7.01), "beta": Parameter(0.1, 0.099, 0.101)}
    return Fit(
        parameters={**known, "gamma": UNKNOWN, "delta": UNKNOWN},
        quality=Quality(len(batch), len(batch) - 2, 0.99, 0.5, 3.0, 1600),
        points=(),
        valid_batch=(1.0, 16.0),
        valid_input_tokens=None,
        covariance_alpha_beta=((2.6e-5, 0.0), (0.0, 2.6e-7)),
        residuals=tuple(rows),
    )


def axes_of(found: Fit):
    top, bottom = Figure().subplots(2, 1)
    draw(found, top, bottom)
    return top, bottom


def test_stalls_do_not_hide_the_law_and_are_counted():
    top, bottom = axes_of(result(stalls=3))
    assert top.get_ylim()[1] < 10
    assert bottom.get_ylim()[1] < 10 * SPREAD_MS
    assert [text.get_text() for text in bottom.texts] == ["3 of 320 beyond the axis"]


def test_nothing_is_said_to_lie_beyond_where_nothing_does():
    top, _ = axes_of(result(stalls=0))
    assert not any("beyond" in text.get_text() for text in top.texts)


def test_the_band_is_as_wide_as_the_interval_of_the_law():
    top, _ = axes_of(result(stalls=0))
    band = top.collections[-1].get_paths()[0].vertices
    first = band[np.isclose(band[:, 0], 1.0), 1]
    assert np.ptp(first) == pytest.approx(2 * 1.96 * np.sqrt(2.6e-5 + 2.6e-7), rel=1e-3)


def test_a_fit_shows_its_numbers_in_a_terminal_and_in_a_notebook():
    found = replace(result(stalls=0), warnings=("<the law> is no line",))
    assert "alpha, ms" in repr(found)
    assert "7.0000" in repr(found)
    assert "&lt;the law&gt; is no line" in found._repr_html_()
    assert found.plot()._repr_png_().startswith(b"\x89PNG")


def on_own_axes(found) -> object:
    """What plot() draws on axes of ours; it returns them, and lets their figure alone."""
    figure = Figure()
    ax = figure.subplots()
    assert found.plot(ax) is ax
    assert figure.axes == [ax]
    return ax


def test_a_fit_draws_its_steps_on_axes_that_it_is_given():
    ax = on_own_axes(result(stalls=0))
    assert ax.get_ylabel() == "step, ms"
    assert "batch" in ax.get_xlabel()


def test_a_sizing_draws_latency_against_rate_with_goal_and_interval():
    found = vp.size({"alpha": 7, "beta": 0.1}, tpot="mean:7.3", max_num_seqs=4, output_len=8)
    ax = on_own_axes(found)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["TTFT, mean", "TPOT, mean", "goal of TPOT", "largest rate, 95 %"]
    rates, tpot_ms = ax.get_lines()[1].get_data()
    assert rates[0] < found.max_rate_per_s < rates[-1]
    assert tpot_ms[0] < 7.3 < tpot_ms[-1]
    assert found.plot()._repr_png_().startswith(b"\x89PNG")


def test_a_search_shows_its_answer_in_a_terminal_and_in_a_notebook():
    step = Step(2.0, Answer("pass", 0.0, 0.0, 0.01, 120), False, 60.0, False, Path("x"), 55.3, 7.1, 90.0, 9.0)
    estimate = (30.9, 30.1, 31.6)
    found = Capacity(
        2.0, 0.95, None, *estimate, "law", Limits(500.0, 20.0), (step,), 243.0, warnings=("late",)
    )
    assert repr(found).startswith(
        "  The server carries at least 2.000 requests/s, seen with 95 % confidence."
    )
    assert "estimated at 30.90 requests/s (95 %: 30.10 … 31.60)." in repr(found)
    assert "TTFT ≤ 500 ms" in found._repr_html_()
    assert found.plot()._repr_png_().startswith(b"\x89PNG")
    assert on_own_axes(found).get_ylabel() == "requests that\nkeep the SLO"
    assert found.to_dict()["steps"][0]["verdict"] == "pass"
