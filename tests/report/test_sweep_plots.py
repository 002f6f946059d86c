"""Pictures of sweeps: data in, axes with the right bars, lines and words out."""

import re
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="matplotlib (the extra `plots`) is not installed")

from matplotlib.figure import Figure

import vllmperf as vp
from vllmperf.errors import UsageError
from vllmperf.metrics.replicas import Servers
from vllmperf.report.plots import bars, over_time, overhead, sweep
from vllmperf.scrape.page import parse
from vllmperf.scrape.window import ScrapedPage
from vllmperf.sweeps.result import Measured


def axes():
    return Figure().subplots()


def heights(ax):
    return [bar.get_height() for bar in ax.patches]


def said(ax):
    return [text.get_text() for text in ax.texts]


def ticks(ax):
    return [text.get_text() for text in ax.get_xticklabels()]


# ---- bars ----


def test_a_bar_is_as_high_as_the_mean_of_the_runs_and_says_it_with_the_unit_on_the_axis():
    ax = axes()
    assert bars.bars({"": {"pow2": [30.0, 40.0], "prefix_aware": [10.0]}}, "TTFT p50, ms", ax) is ax
    assert heights(ax) == [35.0, 10.0]
    assert said(ax) == ["35.0", "10.0"]
    assert ticks(ax) == ["pow2", "prefix_aware"]
    assert ax.get_ylabel() == "TTFT p50, ms"
    assert ax.get_ylim()[0] == 0


def whiskers(ax):
    """Lower and upper end of each."""
    return [tuple(line.get_segments()[0][:, 1]) for line in ax.collections if hasattr(line, "get_segments")]


def test_a_whisker_is_the_95_percent_interval_of_the_mean_and_needs_three_runs():
    ax = axes()
    bars.bars({"": {"two": [10.0, 12.0], "three": [9.0, 10.0, 11.0]}}, "ms", ax)
    ((low, high),) = whiskers(ax)
    assert (low, high) == pytest.approx((10 - 4.303 / 3**0.5, 10 + 4.303 / 3**0.5), abs=1e-3)
    assert ax.get_ylim()[1] > high


def test_each_of_several_runs_is_a_dot():
    ax = axes()
    bars.bars({"": {"a": [10.0, 12.0], "b": [5.0]}}, "ms", ax)
    (dots,) = [one for one in ax.collections if not hasattr(one, "get_segments")]
    assert dots.get_offsets()[:, 1].tolist() == [10.0, 12.0]


def test_what_was_not_measured_is_a_dash_and_no_bar():
    ax = axes()
    bars.bars({"": {"a": [3.0], "b": []}}, "ms", ax)
    assert heights(ax) == [3.0]
    assert said(ax) == ["3.00", "–"]


def test_bars_of_several_loads_stand_in_groups_with_a_legend_that_hides_none():
    ax = axes()
    bars.bars({"4/s": {"a": [1.0], "b": [2.0]}, "8/s": {"a": [3.0], "b": [4.0]}}, "ms", ax)
    assert ticks(ax) == ["4/s", "8/s"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    first, second, third, fourth = (bar.get_x() for bar in ax.patches)
    assert first < second < third < fourth
    assert third - second > second - first
    colours = [bar.get_facecolor() for bar in ax.patches]
    assert colours[0] == colours[2] != colours[1] == colours[3]


def test_more_set_ups_than_colours_differ_by_their_pattern():
    ax = axes()
    bars.bars({"": {str(number): [1.0] for number in range(14)}}, "ms", ax)
    assert len({(bar.get_facecolor(), bar.get_hatch()) for bar in ax.patches}) == 14


def test_panels_are_one_figure_that_a_notebook_shows_and_say_once_what_the_marks_are():
    groups = {"": {"a": [1.0, 2.0, 3.0], "b": [2.0, 3.0, 4.0]}}
    whole = bars.panels({"TTFT p50, ms": groups, "requests/s": groups})
    assert [ax.get_ylabel() for ax in whole.axes] == ["TTFT p50, ms", "requests/s"]
    assert whole.get_supxlabel() == "bar: mean of 3 runs; dot: a run; whisker: 95 % interval of the mean"
    assert whole._repr_png_().startswith(b"\x89PNG")
    assert bars.panels({"ms": {"": {"a": [1.0]}}}).get_supxlabel() == "one run each"


def test_long_names_stand_once_in_a_legend_over_all_panels():
    names = [f"prefix_aware_with_eviction_loop_{number}" for number in range(8)]
    groups = {"": {name: [1.0] for name in names}}
    whole = bars.panels({"ms": groups, "requests/s": groups})
    assert [ticks(ax) for ax in whole.axes] == [[], []]
    assert [text.get_text() for text in whole.legends[0].get_texts()] == names


# ---- over time and overhead ----


def test_a_line_holds_its_value_until_the_next_look_and_has_a_hole_where_nobody_knows():
    ax = axes()
    over_time.over_time({"replica 0": ([0.0, 1.0, 2.0], [3.0, None, 5.0])}, "requests running", ax)
    (line,) = ax.get_lines()
    assert line.get_drawstyle() == "steps-post"
    assert line.get_ydata()[1] != line.get_ydata()[1]
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("requests running", "time since the start of the run, s")
    assert ax.get_ylim()[0] == 0
    assert ax.get_ylim()[1] > 5


def test_many_replicas_have_no_names_of_their_own():
    ax = axes()
    over_time.over_time({f"replica {k}": ([0.0, 1.0], [k, k]) for k in range(40)}, "requests running", ax)
    assert ax.get_legend_handles_labels()[1] == ["each of 40 replicas"]


def test_the_overhead_is_the_clients_ttft_less_the_servers():
    ax = axes()
    overhead.overhead({"pow2": [(41.0, 40.0, 40.0), (53.0, 50.0, 50.0)], "late": [(4.0, 5.0, 5.0)]}, ax)
    widths = [bar.get_width() for bar in ax.patches]
    assert widths == [45.0, 0.0, 2.0, 4.0, 0.0, 0.0]
    assert said(ax) == ["45.0 + 2.0 ms (1.0 … 3.0), 4.3 %", "5.00 − 1.0 ms"]
    assert ax.get_xlabel() == "mean TTFT, ms"


def test_a_server_whose_ttft_is_known_to_a_bucket_leaves_open_what_is_the_rest():
    ax = axes()
    overhead.overhead({"ray": [(24.6, 20.0, 40.0)], "far": [(50.0, 20.0, 40.0)]}, ax)
    widths = [bar.get_width() for bar in ax.patches]
    assert widths == pytest.approx([20.0, 4.6, 0.0, 20.0, 20.0, 10.0])
    assert said(ax) == ["24.6 ms, the server's 20.0 … 40.0", "50.0 ms, the server's 20.0 … 40.0"]
    assert [text.get_text() for text in ax.get_legend().get_texts()][1].startswith("either: ")


# ---- of a sweep ----


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    sim = {"replicas": 3, "alpha_ms": 1, "delta_ms": 0, "router": "pow2"}
    given = {
        "setups": [
            {"name": "slow", "simulator": {**sim, "front_ms": 30, "replicas": 1}},
            {"name": "fast", "simulator": sim},
        ],
        "plan": {"num_prompts": 24, "input_len": 32, "output_len": 8, "max_concurrency": 6},
        "repeat": 3,
    }
    return vp.sweep(given, output=tmp_path_factory.mktemp("plots") / "s")


def test_a_sweep_draws_a_number_of_each_set_up_and_what_is_beyond_chance(found):
    ax = axes()
    assert found.plot("ttft_p50", ax) is ax
    rows = found.rows()
    for name, height in zip(("slow", "fast"), heights(ax), strict=True):
        values = [row["ttft_p50_ms"] for row in rows if row["setup"] == name]
        assert height == pytest.approx(sum(values) / 3)
    assert ax.get_ylabel() == "TTFT p50, ms"
    (effect,) = (one for one in found.effects if one.quantity.name == "ttft_p50")
    assert any(text.endswith(" %") for text in said(ax)) is effect.is_beyond_chance
    assert found.plot()._repr_png_().startswith(b"\x89PNG")


def test_a_sweep_draws_what_its_servers_counted(found):
    ax = axes()
    found.plot("server_prefix_hit_rate", ax)
    assert ax.get_ylabel() == "prefix hits, % of prompt tokens"
    rates = [100 * row["server_prefix_hit_rate"] for row in found.rows() if row["setup"] == "slow"]
    assert heights(ax)[0] == pytest.approx(sum(rates) / 3)
    assert len(sweep.servers(found).axes) == 6
    assert [ax.get_ylabel() for ax in sweep.summary(found, "itl_mean", "requests_per_s").axes] == [
        "ITL mean, ms",
        "requests/s",
    ]


def test_a_sweep_draws_the_servers_ttft_and_the_clients(found):
    ax = axes()
    found.plot("overhead", ax)
    slow, _, rest = (bar.get_width() for bar in ax.patches[:3])
    (ours,) = {len(values) for values in sweep.first_tokens(found).values()}
    assert ours == 3
    means = [one.run().untrimmed.ttft.mean for one in found.of("slow")]
    assert slow + rest == pytest.approx(sum(means) / 3)
    assert rest > 0


def test_replicas_have_a_line_each_and_set_ups_one_scale(found):
    whole = sweep.replicas(found, "prefix_hits", "output_tokens")
    assert [ax.get_title(loc="left") for ax in whole.axes] == ["slow", "fast", "", ""]
    hits, output = whole.axes[0], whole.axes[2]
    assert [line.get_label() for line in hits.get_lines()] == ["replica 0"]
    assert len(whole.axes[1].get_lines()) == 3
    assert sum(line.get_ydata()[-1] for line in output.get_lines()) == 24 * 8
    assert output.get_ylim() == whole.axes[3].get_ylim()
    assert output.get_ylim()[1] >= max(
        line.get_ydata()[-1] for ax in whole.axes[2:] for line in ax.get_lines()
    )
    assert whole._repr_png_().startswith(b"\x89PNG")


def watched(*running):
    """A point whose two replicas told this many running requests, a second apart, between two whole pages."""

    def page(number):
        gauges = (
            f'vllm:num_requests_running{{engine="0"}} {number}\nvllm:num_requests_running{{engine="1"}} 1'
        )
        return parse(f'{gauges}\nvllm:kv_cache_usage_perc{{engine="0"}} 0.25')

    pages = [ScrapedPage(k * 10**9, "u", page(number), True) for k, number in enumerate(running, 1)]
    ends = [ScrapedPage(0, "u", page(0)), ScrapedPage((len(running) + 1) * 10**9, "u", page(0))]
    servers = Servers([ends[0], *pages, ends[1]], 0, 4, [1.0] * 4)
    return Measured(None, Path("point.vllmperf"), None, servers=servers)


def test_a_point_draws_what_each_replica_said_during_the_run():
    ax, point = axes(), watched(3, 5)
    assert point.plot("running", ax) is ax
    first, second = ax.get_lines()
    assert (first.get_label(), second.get_label()) == ("replica 0", "replica 1")
    assert first.get_xdata().tolist() == [0, 1, 2, 3]
    assert first.get_ydata()[1:3].tolist() == [3, 5]
    assert second.get_ydata()[1:3].tolist() == [1, 1]
    point.plot("kv_cache", other := axes())
    assert other.get_ylabel() == "KV cache, %"
    assert other.get_lines()[0].get_ydata()[1:3].tolist() == [25, 25]


def test_a_run_that_was_over_before_the_first_look_is_one_clear_line():
    why = "no look at the servers of point.vllmperf says running: take longer runs, or a smaller metrics_interval"
    with pytest.raises(UsageError, match=re.escape(why)):
        watched().plot("running")


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        (lambda found: found.plot("ttft_p42"), "a sweep has no ttft_p42: it has requests_per_s, "),
        (lambda found: found.plot("tttf_p50"), "there is no metric 'tttf_p50'"),
        (lambda found: found.plot("goodput_share"), "has goodput_share"),
        (lambda found: found.points[0].plot("heat"), "a replica has no heat over time: it has running, "),
        (lambda found: sweep.replicas(found, load="x"), "no point of load 'x' and repeat 1"),
    ],
)
def test_what_a_sweep_does_not_have_is_one_clear_line(found, ask, why):
    with pytest.raises(UsageError, match=why) as error:
        ask(found)
    assert "\n" not in str(error.value)


def test_servers_without_metrics_are_one_clear_line():
    given = {
        "setups": [{"name": "mute", "simulator": {"ttft_ms": 1}, "metrics": []}],
        "plan": {"num_prompts": 2, "output_len": 2},
    }
    found = vp.sweep(given)
    with pytest.raises(UsageError, match="no server of this sweep told its counts"):
        sweep.servers(found)
    with pytest.raises(UsageError, match="has no metrics of its servers"):
        found.points[0].plot()
    with pytest.raises(UsageError, match="nothing to draw"):
        found.plot("overhead")
