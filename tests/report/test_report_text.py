"""The printed report: golden files, widths, and nothing from outside that a terminal or rich would obey."""

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from sample_runs import closed_loop, golden, open_loop, summary_of
from synthetic import Request, failed, steady

from vllmperf import numbers
from vllmperf.errors import UsageError
from vllmperf.metrics import statistics
from vllmperf.report import console, html
from vllmperf.report.content import report
from vllmperf.report.layout import cut
from vllmperf.report.words import token_words

GOLDEN = Path(__file__).parent / "golden"


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("name", ["closed_loop", "open_loop", "nothing"])
def test_the_table_is_as_it_was(tmp_path: Path, name: str) -> None:
    """Set UPDATE_GOLDEN=1 to write the files anew, then read their diff."""
    text = console.table(golden(tmp_path, name))
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("width", [40, 60, 80, 100])
@pytest.mark.parametrize("make", [closed_loop, open_loop, list])
def test_no_line_is_wider_than_the_screen(tmp_path: Path, width: int, make: Any) -> None:
    plan = {"model": "组织/" + "模型" * 40, "goodput": {"ttft": 100, "e2el": 2000}}
    summary = summary_of(tmp_path, [*make(), failed(999, "stalled", "没有回答" * 30)], plan)
    text = console.table(summary, metric_percentiles=[5, 25, 50, 75, 90, 95, 99, 99.9], width=width)
    assert max(cell_len(line) for line in text.splitlines()) <= width


def test_all_columns_are_there_even_when_they_go_on_below(tmp_path: Path) -> None:
    text = console.table(
        summary_of(tmp_path, closed_loop()), metric_percentiles=[50, 90, 95, 99, 99.9], width=50
    )
    for head in ("mean", "p50", "p90", "p95", "p99", "p99.9", "count"):
        assert head in text
    assert text.count("TTFT") >= 2


def test_rows_and_columns_can_be_chosen(tmp_path: Path) -> None:
    text = console.table(summary_of(tmp_path, closed_loop()), ["e2el", "connect"], [95])
    assert "E2EL" in text
    assert "Connect" in text
    assert "TTFT" not in text
    assert "p95" in text
    assert "p90" not in text


def test_an_unknown_row_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no metric 'speed'.*ttft"):
        console.table(summary_of(tmp_path, closed_loop()), ["speed"])


def test_itl_per_token_appears_where_chunks_bring_several(tmp_path: Path) -> None:
    requests = [Request(i, tokens=[2, 2, 2], fields={"output_tokens": 7}) for i in range(4)]
    assert "ITL per token" in console.table(summary_of(tmp_path, requests))
    (tmp_path / "a.run").unlink()
    assert "ITL per token" not in console.table(summary_of(tmp_path, steady(4)))


def test_percentiles_of_unknown_split_are_marked(tmp_path: Path) -> None:
    text = console.table(golden(tmp_path, "open_loop"))
    assert "ITL *" in text
    assert "* 66.7 % of the gaps are even shares: several chunks came in one read" in text


def test_percentiles_from_a_histogram_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "EXACT_UP_TO", 5)
    text = console.table(summary_of(tmp_path, closed_loop()))
    assert "percentiles of the 594 gaps are from a histogram, ±0.049 %" in text


def test_a_limit_shows_the_wait_for_a_slot(tmp_path: Path) -> None:
    requests = steady(200, scheduled_ns=0, slot_wait_ns=7_000_000)
    assert "slot wait" in console.table(summary_of(tmp_path, requests, {"request_rate": 50}))


def test_a_killed_run_says_so(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, steady(3))
    summary["state"] = "killed"
    from vllmperf.metrics.verdict import verdict

    summary["verdict"] = verdict(summary)
    text = console.table(summary, width=100)
    assert "this run was killed: 3 requests were recorded; those in flight are lost" in text


def test_brackets_and_colons_are_never_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    requests = [*steady(4), failed(4, "reset", "[bold red]boom[/] :smile: [link=x]")]
    summary = summary_of(tmp_path, requests, {"model": "[red]model[/red]"})
    for file in (io.StringIO(), Terminal()):
        console.print_report(summary, file=file)
        assert "[red]model[/red]" in file.getvalue()
        assert "[bold red]boom[/] :smile: [link=x]" in file.getvalue()


def test_control_characters_from_a_server_do_not_reach_the_terminal(tmp_path: Path) -> None:
    requests = [*steady(4), failed(4, "reset", "a\x1b[2Jb\r\n\tc\x07\u202e")]
    text = console.table(summary_of(tmp_path, requests, {"model": "m\x1b]0;x\x07"}))
    assert not set("\x1b\x07\r\t\u202e") & set(text)
    assert "a�[2Jb c��" in text


def test_a_terminal_gets_colour_and_the_same_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    import re

    file = Terminal()
    summary = golden(tmp_path, "closed_loop")
    console.print_report(summary, file=file)
    assert "\x1b[1;33m! caution" in file.getvalue() or "\x1b[1;32m✔ trusted" in file.getvalue()
    bare = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())
    assert [line.rstrip() for line in bare.splitlines()] == console.table(summary).splitlines()


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_who_wants_no_colour_gets_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    file = Terminal()
    console.print_report(golden(tmp_path, "closed_loop"), file=file)
    assert "\x1b" not in file.getvalue()


def test_an_ascii_terminal_gets_ascii(tmp_path: Path) -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    console.print_report(golden(tmp_path, "open_loop"), file=file)
    file.flush()
    assert b"x not trusted" in raw.getvalue()


def test_facts_in_words(tmp_path: Path) -> None:
    plan = {
        "request_rate": 12.5,
        "burstiness": 0.5,
        "max_concurrency": 64,
        "num_prompts": None,
        "duration": 90,
        "stream": False,
    }
    plan |= {
        "dataset_name": "sharegpt",
        "dataset_path": "/data/share.json",
        "input_len": None,
        "simulator": {},
    }
    facts = dict(report(summary_of(tmp_path, steady(4), plan)).facts)
    assert facts["load"] == "12.50 requests/s, gamma with burstiness 0.5, at most 64 at a time, for 90 s"
    assert facts["data"] == "sharegpt, share.json, 4 out, not streamed"
    assert facts["target"] == "http://127.0.0.1:8000/v1/completions (simulated)"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ('HTTP 400: {"error": {"message": "too\\nlong", "type": "x"}}', "HTTP 400: too long"),
        ('{"detail": "no such route"}', "no such route"),
        ('{"object": "error", "message": "bad"}', "bad"),
        ('{"error": "plain"}', "plain"),
        ('{"cut off', '{"cut off'),
        ("Connection refused", "Connection refused"),
        ('{"detail": [{"loc": 1}]}', '{"detail": [{"loc": 1}]}'),
    ],
)
def test_of_an_error_body_the_message_is_shown(tmp_path: Path, body: str, shown: str) -> None:
    summary = summary_of(tmp_path, [failed(0, "http_error", body)])
    assert report(summary).outcomes[0].sample == shown


# ---- numbers ----


@pytest.mark.parametrize(
    ("value", "half", "others", "texts"),
    [
        (6.97347, 0.0015, (6.972, 6.97497), ["6.9735", "6.9720", "6.9750"]),
        (0.0269952, 0.000021, (0.026974,), ["0.026995", "0.026974"]),
        (1.54e-5, 0.39e-5, (1.15e-5, 1.93e-5), ["1.54e-5", "1.15e-5", "1.93e-5"]),
        (1234.5, 210.0, (1024.5,), ["1,234", "1,024"]),
        (6.97, 0.0, (), ["6.97"]),
        (0.0, 0.5, (-0.5,), ["0.00", "-0.50"]),
    ],
)
def test_an_estimate_has_the_digits_that_its_interval_leaves(value, half, others, texts):
    assert numbers.estimate(value, half, *others) == texts


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (0.0123, "0.012"),
        (1.23456, "1.235"),
        (52.125, "52.12"),
        (1234.5, "1,234"),
        (7, "7"),
        (12345, "12,345"),
    ],
)
def test_a_number_has_four_digits(value: float | None, text: str) -> None:
    assert numbers.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0 %"), (0.0001, "< 0.1 %"), (0.0123, "1.2 %"), (0.9999, "> 99.9 %"), (1.0, "100 %")],
)
def test_a_share_never_rounds_to_none_or_all(value: float | None, text: str) -> None:
    assert numbers.share(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (12.0, "12"),
        (66.67, "66.7"),
        (1340.0, "1,340"),
        (0.0123, "0.0123"),
        (2e7, "20,000,000"),
    ],
)
def test_a_number_within_a_sentence_never_has_an_exponent(value: float | None, text: str) -> None:
    assert numbers.brief(value) == text
    assert value is None or numbers.percent(value / 100) == f"{text} %"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.25, "0.25 s"), (12.34, "12.3 s"), (125, "2 min 05 s"), (3600 * 3, "3 h 00 min")],
)
def test_durations_in_words(seconds: float | None, text: str) -> None:
    assert numbers.duration(seconds) == text


def test_decimal_points_stand_under_each_other() -> None:
    assert numbers.align(["1,055", "50.48", "5.024", "–"]) == [
        "1,055    ",
        "   50.48 ",
        "    5.024",
        "    –    ",
    ]


# ---- how requests ended ----

LONG = (
    "json: cannot unmarshal array into Go struct field CompletionRequest.prompt of type string, and so on "
    * 5
)


@pytest.mark.parametrize("width", [40, 80, 100])
def test_a_long_error_is_shown_whole_below_its_row(tmp_path: Path, width: int) -> None:
    requests = [*steady(4), failed(4, "http_error", json.dumps({"error": {"message": LONG}}), status=400)]
    text = console.table(summary_of(tmp_path, requests), width=width)
    below = text[text.index("http error 400") :]
    assert LONG.split() == [word for word in below.split() if word in LONG.split()][: len(LONG.split())]
    assert "…" not in text
    assert max(map(cell_len, text.splitlines())) <= width


def test_each_status_has_its_own_row_with_its_own_words(tmp_path: Path) -> None:
    statuses = [429] * 3 + [500] * 2 + [503]
    requests = [
        *steady(4),
        *(failed(4 + i, "http_error", f"words of {s}", status=s) for i, s in enumerate(statuses)),
    ]
    summary = summary_of(tmp_path, requests)
    rows = [(row.name, row.count, row.sample) for row in report(summary).outcomes]
    assert rows == [
        ("completed", "4", ""),
        ("http error 429", "3", "words of 429"),
        ("http error 500", "2", "words of 500"),
        ("http error 503", "1", "words of 503"),
    ]
    text, page = console.table(summary), html.fragment(summary)
    for name, _, sample in rows[1:]:
        assert f"{name}  " in text
        assert f">{name}</td>" in page
        assert sample in text
        assert sample in page


def test_the_commonest_message_of_a_status_is_shown_and_the_others_are_counted(tmp_path: Path) -> None:
    texts = ["once", "a 1", "a 2", "a 2", "b 3f2a9c1e-55aa", "b 77777777-1234"]
    requests = [failed(i, "http_error", text, status=400) for i, text in enumerate(texts)]
    (row,) = report(summary_of(tmp_path, requests)).outcomes
    assert row.sample == "a 2 (and 2 other messages, in --csv)"


def test_an_error_without_words_shows_what_its_status_means(tmp_path: Path) -> None:
    rows = report(
        summary_of(tmp_path, [failed(i, "http_error", "", status=s) for i, s in enumerate((400, 599))])
    ).outcomes
    assert [row.sample for row in rows] == [
        "Bad Request (nothing else was said)",
        "HTTP 599 (nothing else was said)",
    ]


def test_what_to_do_stands_below_the_words_and_in_the_page(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, [failed(0, "http_error", "slow down", status=429)])
    hint = "lower --request-rate or --max-concurrency"
    lines = console.table(summary).splitlines()
    (at,) = (number for number, line in enumerate(lines) if "slow down" in line)
    assert lines[at + 1].strip().startswith("→ ")
    assert hint in lines[at + 1]
    assert hint in html.fragment(summary)


def test_what_to_do_is_said_once_for_several_outcomes(tmp_path: Path) -> None:
    statuses = [401, 403]
    requests = [failed(i, "http_error", f"no {s}", status=s) for i, s in enumerate(statuses)]
    text = console.table(summary_of(tmp_path, requests))
    assert "http error 401" in text
    assert "http error 403" in text
    assert text.count("→ ") == 1


def test_cutting_counts_wide_characters_twice() -> None:
    assert cut("abcdef", 4) == "abc…"
    assert cut("模型模型", 5) == "模型…"
    assert cut("abc", 0) == ""


@pytest.mark.parametrize(
    ("tokens", "drafts", "words"),
    [
        ({"cached": 45, "per_chunk": 1.0}, None, "45 % of the prompt tokens from the cache, by usage"),
        ({"cached": None, "per_chunk": 2.0}, None, "2 a chunk"),
        (
            {"cached": None, "per_chunk": None},
            {"acceptance": 0.5, "draft_tokens": 6, "tokens_per_step": 2.5},
            "50 % of 6 drafted tokens accepted, 2.5 a step",
        ),
        ({"cached": None, "per_chunk": 1.0}, {"acceptance": None}, ""),
    ],
)
def test_what_the_server_tells_of_tokens_stands_in_a_line(tokens, drafts, words) -> None:
    assert token_words({"tokens": {"prompt": 100, **tokens}, "speculative": drafts}) == words
