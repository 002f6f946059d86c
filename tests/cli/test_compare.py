"""vllmperf compare: two runs side by side."""

import json

import pytest

from vllmperf.cli import main
from vllmperf.comparison.comparison import Comparison
from vllmperf.comparison.figures import Figures, figures_of_summary, figures_of_vllm, short_names

FIRST = {
    "duration": 10.0,
    "completed": 100,
    "request_goodput:": None,
    "mean_ttft_ms": 40.0,
    "p99_ttft_ms": 90.0,
}
SECOND = {"duration": 8.0, "completed": 100, "failed": 2, "mean_ttft_ms": 50.0, "p99.9_ttft_ms": 95.0}


def written(path, *objects):
    path.write_text("\n".join(json.dumps(found) for found in objects))
    return str(path)


def test_figures_that_both_have_stand_side_by_side_with_the_change(tmp_path, capsys):
    code = main(["compare", written(tmp_path / "a.json", FIRST), written(tmp_path / "b.json", SECOND)])
    out = capsys.readouterr().out.splitlines()
    assert code == 0
    assert out[0].split() == ["a.json", "b.json", "change"]
    assert ["Duration", "(s)", "10.00", "8.00", "-20.0%"] in [line.split() for line in out]
    assert ["Mean", "TTFT", "(ms)", "40.00", "50.00", "+25.0%"] in [line.split() for line in out]
    assert not any("P99" in line for line in out), "only one side has each of them"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_result_with_a_byte_order_mark_is_read(tmp_path, capsys, encoding):
    (tmp_path / "a.json").write_text(json.dumps(FIRST), encoding=encoding)
    assert main(["compare", str(tmp_path / "a.json"), written(tmp_path / "b.json", SECOND), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["figures"]["duration"]["b"] == 8.0


def test_of_an_appended_file_the_last_result_counts(tmp_path, capsys):
    appended = written(tmp_path / "all.json", FIRST, SECOND)
    assert main(["compare", appended, written(tmp_path / "b.json", SECOND), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["figures"]
    assert found["duration"] == {"a": 8.0, "b": 8.0, "change": 0.0}


def test_a_run_file_is_compared_with_a_result_of_another_rule_and_that_is_said(tmp_path, capsys):
    run = str(tmp_path / "r.vllmperf")
    words = [
        "bench",
        "--sim",
        "ttft_ms=2,itl_ms=0.5",
        "--num-prompts",
        "5",
        "--output-len",
        "4",
        "--no-progress",
    ]
    assert main([*words, "--record", run]) in (0, 1)
    capsys.readouterr()
    assert main(["compare", run, written(tmp_path / "a.json", FIRST)]) == 0
    out = capsys.readouterr().out
    assert "Successful requests" in out
    assert "what differs may be the rule" in out


@pytest.mark.parametrize("text", ["", "[]", "{}", "no json", '{"duration": 1}'])
def test_what_is_neither_is_one_line(tmp_path, capsys, text):
    (tmp_path / "a.json").write_text(text)
    assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_change_from_nothing_is_none():
    first = figures_of_vllm({"completed": 0, "duration": 1.0}, "a")
    found = Comparison(first, Figures("b", first.rule, {"completed": 5}))
    (_, completed, *_) = found.rows
    assert completed.change is None
    assert any(line.endswith("-") for line in repr(found).splitlines())


def test_names_of_columns_tell_the_paths_apart():
    assert short_names(["x/one/r.json", "x/two/r.json"]) == ["one/r.json", "two/r.json"]
    assert short_names(["a", "a"]) == ["a", "a"]
    assert max(map(len, short_names(["x" * 60, "y" * 60]))) == 24


def test_itl_by_tokens_stands_beside_itl_where_one_side_has_it():
    first = Figures("a", "x", {"mean_itl_ms": 8.0})
    second = Figures("b", "x", {"mean_itl_ms": 8.0, "mean_itl_token_ms": 2.0, "p90_itl_token_ms": 3.0})
    assert [row.key for row in Comparison(first, second).rows] == ["mean_itl_ms", "mean_itl_token_ms"]


def summary_of(sources, itl_ms, tpot_ms, itl_token_ms=None):
    metrics = {"itl_ms": {"mean": itl_ms}, "tpot_ms": {"mean": tpot_ms}}
    if itl_token_ms is not None:
        metrics["itl_token_ms"] = {"mean": itl_token_ms}
    return {
        "profile": "vllmperf",
        "plan": {},
        "environment": {},
        "duration_s": 1.0,
        "requests": {"completed": 4, "outcomes": {"completed": 4}},
        "tokens": {"prompt": None, "output": 40, "sources": sources},
        "throughput": {"requests_per_s": 4.0, "output_tokens_per_s": 40.0, "total_tokens_per_s": None},
        "in_flight": {"max": 2},
        "metrics": metrics,
    }


def test_tokens_that_are_counted_by_chunks_are_said_to_be():
    ours = figures_of_summary(summary_of({"chunks": 3, "usage": 1}, 10.0, 10.0), "ours")
    said = repr(Comparison(Figures("a", "vllmperf", {}), ours)).splitlines()[-2]
    assert said.startswith("ours: 3 of 4 answers came without usage")
    assert Comparison(ours, ours).to_dict()["a"]["notes"] == list(ours.notes)


def test_itl_of_chunks_with_several_tokens_is_said_to_be_unless_there_is_one_by_tokens():
    chunked = figures_of_summary(summary_of({"usage": 4}, 40.0, 10.0), "ours")
    assert len(chunked.notes) == 1
    assert "ITL is the time between chunks" in chunked.notes[0]
    assert figures_of_summary(summary_of({"usage": 4}, 40.0, 10.0, 10.0), "ours").notes == ()
    assert figures_of_summary(summary_of({"usage": 4}, 10.0, 10.0), "ours").notes == ()
