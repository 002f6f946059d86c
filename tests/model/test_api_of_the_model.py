"""fit, size and capacity from Python: sources, names of settings, what their results give."""

import json
import pickle
from pathlib import Path

import pytest

pytest.importorskip("scipy", reason="scipy (the extra `model`) is not installed")

import vllmperf
from vllmperf.cli import main
from vllmperf.errors import SettingError, UsageError
from vllmperf.model.latency_goals import latency_goal, limits
from vllmperf.model.parameters import Parameter, read_fit
from vllmperf.model.size_settings import SizeSettings


def benchmarks(path: Path, itl_ms: float, concurrency: float) -> str:
    means = {
        "request_concurrency": concurrency,
        "inter_token_latency_ms": itl_ms,
        "time_to_first_token_ms": 15.0,
        "prompt_token_count": 128.0,
        "output_token_count": 128.0,
    }
    metrics = {name: {"successful": {"mean": mean}} for name, mean in means.items()}
    path.write_text(json.dumps({"benchmarks": [{"metrics": metrics}]}))
    return str(path)


@pytest.fixture
def fit(tmp_path: Path) -> vllmperf.Fit:
    files = [benchmarks(tmp_path / "a.json", 7.0, 1.0), benchmarks(tmp_path / "b.json", 8.7, 64.0)]
    return vllmperf.fit(files, batch=[1, 64])


@pytest.mark.parametrize(
    ("spelled", "limit", "percentile"),
    [(500, 500, 99), ("500", 500, 99), ("p95:20.5", 20.5, 95), ("p99.9:7", 7, 99.9), ("mean:3", 3, None)],
)
def test_a_goal_is_of_99_percent_unless_it_says_something_else(
    spelled: float | str, limit: float, percentile: float | None
) -> None:
    assert latency_goal("ttft", spelled) == (limit, percentile)


@pytest.mark.parametrize(
    "spelled", ["fast", "p99:", "p0:5", "p100:5", "median:5", "-1", "mean:nan", "p95:inf"]
)
def test_a_goal_that_is_none_names_its_setting(spelled: str) -> None:
    with pytest.raises(SettingError, match=r"^tpot must"):
        latency_goal("tpot", spelled)


def test_a_capacity_takes_the_share_of_its_percentiles() -> None:
    assert limits("p95:500", "p95:20") == limits(500, 20, 0.95)
    assert limits(500, None).share == 0.99
    with pytest.raises(SettingError, match="one percentile"):
        limits("p95:500", 20)
    with pytest.raises(SettingError, match="counts requests"):
        limits("mean:500", None)


def test_a_fit_gives_its_parameters_by_name_and_travels(fit: vllmperf.Fit) -> None:
    assert fit.beta.value == pytest.approx(1.7 / 63)
    assert fit.gamma == Parameter(None, None, None)
    assert pickle.loads(pickle.dumps(fit)) == fit
    assert "alpha" in repr(fit)
    assert "<table>" in fit._repr_html_()
    with pytest.raises(AttributeError):
        _ = fit.epsilon


def test_a_fit_comes_back_from_its_file(fit: vllmperf.Fit, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps({**fit.to_dict(), "max_num_seqs": 8}))
    again = read_fit(path)
    assert again.to_dict() == {**fit.to_dict(), "max_num_seqs": 8}
    assert vllmperf.fit(path) == again


def test_a_limit_given_with_files_stands_in_the_fit(tmp_path: Path) -> None:
    files = [benchmarks(tmp_path / "a.json", 7.0, 1.0), benchmarks(tmp_path / "b.json", 8.7, 64.0)]
    assert vllmperf.fit(files, max_num_seqs=64).max_num_seqs == 64


def test_the_command_shows_a_fit_again_and_size_takes_its_limit(
    fit: vllmperf.Fit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps({**fit.to_dict(), "max_num_seqs": 8}))
    assert main(["fit", str(path)]) == 0
    assert "alpha" in capsys.readouterr().out
    assert SizeSettings(tpot=9).sequences(read_fit(path)) == 8
    assert SizeSettings(tpot=9, max_num_seqs=4).sequences(read_fit(path)) == 4


def test_size_shows_progress_and_its_result_looks_like_the_table() -> None:
    lines: list[str] = []
    found = vllmperf.size(
        {"alpha": 7, "beta": 0.1}, tpot=9, max_num_seqs=4, output_len=8, input_len=8, progress=lines.append
    )
    assert any("1 of 5" in line for line in lines)
    assert "One replica carries" in repr(found)
    assert "<b>One replica carries" in found._repr_html_()
    assert found.to_dict()["slo"]["tpot_percentile"] == 99


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"tpot": 9}, "give max_num_seqs"),
        ({"max_num_seqs": 4}, "give ttft, tpot or tps"),
        ({"tpot": -1, "max_num_seqs": 4}, "tpot must be above 0"),
        ({"tpot": 9, "max_num_seqs": 0}, "max_num_seqs must be at least 1"),
        (
            {"tpot": 9, "max_num_seqs": 4, "distribution": "even"},
            "distribution must be one of uniform, lognormal",
        ),
    ],
)
def test_errors_of_size_name_the_keyword(settings: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        vllmperf.size({"alpha": 7, "beta": 0.1}, **settings)  # type: ignore[arg-type]


def test_errors_of_fit_and_capacity_name_the_keyword(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="max_num_seqs must be at least 2"):
        vllmperf.fit("http://127.0.0.1:9", max_num_seqs=1)
    with pytest.raises(SettingError, match="give ttft, tpot, or both"):
        vllmperf.capacity("http://127.0.0.1:9")
    with pytest.raises(SettingError, match="batch names 1 batches for 2 files"):
        vllmperf.fit(
            [benchmarks(tmp_path / "a.json", 7, 1), benchmarks(tmp_path / "b.json", 8, 2)], batch=[1]
        )
