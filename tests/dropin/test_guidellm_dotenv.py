"""GUIDELLM__… variables of a file .env, read as python-dotenv and pydantic-settings read them."""

import pytest

from vllmperf.cli import main as vllmperf
from vllmperf.dropin.guidellm import dotenv
from vllmperf.dropin.guidellm.settings import settings, variables
from vllmperf.errors import UsageError


def entries(tmp_path, text, **environment):
    (tmp_path / ".env").write_text(text)
    return dotenv.read(tmp_path / ".env", environment)


def test_plain_quoted_exported_and_commented_entries(tmp_path):
    text = "# first\nexport A=1   # one\n\n B = 'it''s' \nC='x # y'\nD=\"a\\\"b\\n\"\nE\nF=\nG=a#b\n"
    assert entries(tmp_path, text) == {"A": "1", "B": "it", "C": "x # y", "D": 'a"b\n', "F": "", "G": "a#b"}


def test_a_quoted_value_may_run_over_lines(tmp_path):
    assert entries(tmp_path, "A='one\ntwo'\nB=\"three\nfour\"\nC=5\n") == {
        "A": "one\ntwo",
        "B": "three\nfour",
        "C": "5",
    }


def test_names_in_braces_are_filled_in(tmp_path):
    text = "A=1\nB=${A}${HERE}-${GONE:-usual}${GONE}\nC='${A}'\n"
    assert entries(tmp_path, text, HERE="h", A="outside") == {"A": "1", "B": "1h-usual", "C": "1"}


def test_no_file_is_no_entry_and_a_bad_one_is_named(tmp_path):
    assert dotenv.read(tmp_path / ".env", {}) == {}
    (tmp_path / ".env").write_bytes(b"A=\xff\n")
    with pytest.raises(UsageError, match=r"\.env cannot be read"):
        dotenv.read(tmp_path / ".env", {})


def test_the_environment_goes_before_the_file_in_any_letters(tmp_path):
    (tmp_path / ".env").write_text(
        "guidellm__max_concurrency=7\nGUIDELLM__REQUEST_TIMEOUT=11\nGUIDELLM_TARGET=http://x\n"
    )
    found = variables({"GUIDELLM__MAX_CONCURRENCY": "64"}, tmp_path)
    assert "GUIDELLM_TARGET" not in found  # guidellm's flags are not read from it
    assert (settings(found).max_concurrency, settings(found).request_timeout) == (64, 11)
    assert settings(variables({}, tmp_path)).max_concurrency == 7


def test_config_shows_what_the_file_says(tmp_path, monkeypatch, capsys):
    (tmp_path / ".env").write_text("GUIDELLM__DEFAULT_SWEEP_NUMBER=4\n")
    monkeypatch.chdir(tmp_path)
    for command in ("config", "env"):
        assert vllmperf(["guidellm", command]) == 0
        assert 'GUIDELLM__DEFAULT_SWEEP_NUMBER="4"' in capsys.readouterr().out


def test_what_config_prints_may_be_kept_as_the_file(tmp_path):
    given = {
        "GUIDELLM__MAX_CONCURRENCY": "9",
        "GUIDELLM__OPENAI__VERIFY": "false",
        "GUIDELLM__OPENAI__PROJECT": "a b",
    }
    found = settings(given)
    (tmp_path / ".env").write_text("\n".join(found.lines()))
    assert "GUIDELLM__OPENAI__API_KEY=" in found.lines()
    assert settings(variables({}, tmp_path)) == found


def test_nested_variables_mean_the_same_as_objects():
    found = settings(
        {"GUIDELLM__OPENAI": '{"organization": "o", "headers": {"x-a": "b"}, "max_output_tokens": 5}'}
    )
    assert (found.openai__organization, found.openai__headers, found.openai__max_output_tokens) == (
        "o",
        {"x-a": "b"},
        5,
    )
    found = settings({"GUIDELLM__OPENAI__HEADERS": '{"x-a": "b"}', "GUIDELLM__OPENAI__HEADERS__Team": "z"})
    assert found.openai__headers == {"x-a": "b", "team": "z"}


def test_the_field_of_the_longest_answer_may_have_another_name():
    found = settings({"GUIDELLM__OPENAI__MAX_OUTPUT_KEY": '{"chat_completions": "max_tokens"}'})
    assert found.openai__max_output_key == {
        "text_completions": "max_tokens",
        "chat_completions": "max_tokens",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [("GUIDELLM__OPENAI", "[1]"), ("GUIDELLM__OPENAI__MAX_OUTPUT_KEY", '{"audio": "x"}'), ("GUIDELLM__OPENAI__HEADERS", "{oh")],
)  # fmt: skip
def test_an_object_that_is_none_is_refused_by_its_variable(name, value):
    with pytest.raises(UsageError, match=name) as refusal:
        settings({name: value})
    assert "\n" not in str(refusal.value)
