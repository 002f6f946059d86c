"""The CSV files of sweep_strategies.py, read: numbers by label and strategy, and what is wrong in one line."""

import pytest

from vllmperf.errors import UsageError
from vllmperf.formats import strategies_csv
from vllmperf.formats.strategies_csv import CLIENT, COUNTERS, SHARED, TIMES, read

# The run that the prefix-aware guide shows (its author's, 2025).
SETTINGS = (
    "L4,Qwen/Qwen2.5-1.5B-Instruct,4,True,True,{label},{strategy},10,200,40,100,False,False,False,10000,1000"
)
CLIENT_FIGURES = (
    "56.4809,1000,17.7051,31506.2116,1805.4434,{mean},113.4312,110.973,715.0978,20.3178,19.8729,3.0302,30.5048,"
    "20.4028,0.0142,28.7998,101.4521,2194.5704,2106.8943"
)
SERVER_FIGURES = "1779523,101975,1000,{ttft},0.0203,2.19,0.004,2.18,0.12,2.06"
HEADER = ",".join((*SHARED, "max_conversations", "num_prompts"))


def file(path, names, figures, *runs):
    """runs: label, strategy, what stands in the braces of the figures."""
    rows = [
        f"{SETTINGS.format(label=label, strategy=strategy)},{figures.format(**values)}"
        for label, strategy, values in runs
    ]
    path.write_text("\n".join([f"{HEADER},{','.join(names)}", *rows]) + "\n")
    return path


def client(tmp_path, *runs):
    return file(tmp_path / "serve_chosen_sweep_results.csv", CLIENT, CLIENT_FIGURES, *runs)


def server(tmp_path, *runs):
    return file(tmp_path / "vllm_chosen_sweep_results.csv", (*COUNTERS, *TIMES), SERVER_FIGURES, *runs)


def test_rows_of_one_label_and_strategy_are_runs_of_it(tmp_path):
    runs = [("v1", "pow_of_2", {"mean": 136.1831}), ("v1", "prefix_aware", {"mean": 90})] * 2
    found = read(client(tmp_path, *runs, ("v2", "prefix_aware", {"mean": 80})))
    assert found.groups("mean_ttft_ms") == {
        "v1": {"pow_of_2": [136.1831, 136.1831], "prefix_aware": [90, 90]},
        "v2": {"prefix_aware": [80]},
    }
    assert list(found.numbers("median_ttft_ms", "output_throughput")) == ["TTFT p50, ms", "output tokens/s"]


def test_every_column_has_words_with_its_unit():
    assert all(strategies_csv.words(column) != column for column in (*CLIENT, *COUNTERS, *TIMES))
    assert strategies_csv.words("mean_e2e_latency_ms") == "E2EL mean, ms"


def test_times_of_the_server_are_in_ms_in_pictures(tmp_path):
    found = read(server(tmp_path, ("v1", "pow_of_2", {"ttft": 0.125})))
    assert found.numbers("time_to_first_token_seconds") == {"server's TTFT, ms": {"v1": {"pow_of_2": [125]}}}


def test_the_first_tokens_are_those_of_both_files_run_by_run(tmp_path):
    ours = [("v1", "pow_of_2", {"mean": mean}) for mean in (136, 138)]
    theirs = [("v1", "pow_of_2", {"ttft": ttft}) for ttft in (0.125, 0.128)]
    extra = ("v1", "prefix_aware", {"mean": 90})
    tables = read(client(tmp_path, *ours, extra)), read(server(tmp_path, *theirs))
    assert strategies_csv.first_tokens(*tables) == {"pow_of_2": [(136, 125, 125), (138, 128, 128)]}


def test_headers_that_were_copied_along_blank_lines_and_empty_cells_do_no_harm(tmp_path):
    path = server(tmp_path, ("v1", "pow_of_2", {"ttft": ""}), ("v1", "prefix_aware", {"ttft": 0.1}))
    header, first, second = path.read_text().splitlines()
    path.write_bytes("\r\n".join([header, first, "", header, second]).encode("utf-8-sig"))
    assert read(path).groups("time_to_first_token_seconds") == {"v1": {"pow_of_2": [], "prefix_aware": [0.1]}}


def without(path, column):
    lines = [line.split(",") for line in path.read_text().splitlines()]
    place = lines[0].index(column)
    path.write_text("\n".join(",".join(line[:place] + line[place + 1 :]) for line in lines))
    return path


def refused(path, column=""):
    """The line that reading it, and this column of it, ends with."""
    with pytest.raises(UsageError) as error:
        read(path).groups(column)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("column", ["p99_ttft_ms", "scheduler_strategy"])
def test_a_column_that_is_not_there_is_one_clear_line(tmp_path, column):
    path = without(client(tmp_path, ("v1", "pow_of_2", {"mean": 136})), column)
    assert refused(path, column) == (
        f"{path} has no column {column}: copy the header and whole rows of sweep_strategies.py"
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no rows: copy"),
        (HEADER, "has no rows: copy"),
        (f"{HEADER}\nL4,4\n", "a row has 2 cells and the header 16"),
        ("scheduler_strategy,duration\npow2,long\n", "duration of pow2 is 'long', no number"),
    ],
)
def test_a_file_that_is_no_such_table_is_one_clear_line(tmp_path, text, why):
    path = tmp_path / "serve.csv"
    path.write_text(text)
    assert why in refused(path, "duration")


def test_a_file_that_is_not_there_is_one_clear_line(tmp_path):
    assert refused(tmp_path / "no.csv").endswith("no.csv cannot be read: No such file or directory")


def test_a_server_that_tells_no_means_is_named(tmp_path):
    found = read(server(tmp_path, ("v1", "pow_of_2", {"ttft": ""})))
    with pytest.raises(UsageError, match=r"is empty in every row \(Ray since 2\.51 tells no means"):
        found.groups("time_to_first_token_seconds")


def test_rows_of_different_runs_are_not_held_against_each_other(tmp_path):
    tables = (
        read(client(tmp_path, ("v1", "pow_of_2", {"mean": 136}))),
        read(server(tmp_path, ("v2", "pow_of_2", {"ttft": 0.1}))),
    )
    with pytest.raises(UsageError, match="copy both rows of a run"):
        strategies_csv.first_tokens(*tables)
