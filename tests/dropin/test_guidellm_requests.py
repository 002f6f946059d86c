"""What our guidellm sends."""

import json
import uuid

from guidellm_commands import ONCE, only, words

from vllmperf.cli import main as vllmperf
from vllmperf.formats import guidellm_file


def test_completions_carry_guidellms_fields(tmp_path, recorder):
    url, asked, _ = recorder
    assert vllmperf(words(url + "/v1/", ONCE, tmp_path / "a.json")) == 0
    assert [path for path, _, _ in asked] == ["/v1/models", "/v1/completions", "/v1/completions"]
    body = asked[-1][2]
    prompt = body.pop("prompt")
    assert len(prompt) == 16
    assert body == {
        "model": "first",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 6,
        "stop": None,
        "ignore_eos": True,
    }
    assert asked[1][2]["max_tokens"] == 1  # the question before the run


def test_chat_and_headers_and_more_of_the_body(tmp_path, recorder, monkeypatch):
    url, asked, _ = recorder
    monkeypatch.setenv("GUIDELLM__PREFERRED_ROUTE", "chat_completions")
    monkeypatch.setenv("GUIDELLM__OPENAI__API_KEY", "sk-secret")
    arguments = {"headers": {"x-team": "a"}, "extra_body": {"temperature": 0}, "remove_from_body": ["stop"]}
    command = [
        *words(url, ONCE + " --model second", tmp_path / "a.json"),
        "--backend-args",
        json.dumps(arguments),
    ]
    assert vllmperf(command) == 0
    path, headers, body = asked[-1]
    assert path == "/v1/chat/completions"
    assert (headers["Authorization"], headers["x-team"]) == ("Bearer sk-secret", "a")
    assert (body["model"], body["temperature"], body["max_completion_tokens"]) == ("second", 0, 6)
    assert "stop" not in body
    assert body["messages"][0]["role"] == "user"
    text = (tmp_path / "a.json").read_text()
    assert "sk-secret" not in text
    assert '"chat_completions"' in text


def test_the_field_of_the_longest_answer_is_the_environments(tmp_path, recorder, monkeypatch):
    url, asked, _ = recorder
    monkeypatch.setenv("GUIDELLM__OPENAI__MAX_OUTPUT_KEY", '{"text_completions": "most"}')
    assert vllmperf(words(url, ONCE, tmp_path / "a.json")) == 0
    assert [body["most"] for _, _, body in asked[1:]] == [1, 6]
    assert all("max_tokens" not in body for _, _, body in asked[1:])
    ids = [headers["x-request-id"] for _, headers, _ in asked[1:]]
    assert {str(uuid.UUID(text, version=4)) for text in ids} == set(ids)
    assert len(set(ids)) == 2


def test_a_backend_that_is_not_to_be_validated_gets_no_question_of_one_token(tmp_path, recorder):
    url, asked, _ = recorder
    backend = f"kind=openai_http,target={url},validate_backend=false,extras.body.temperature=0.5"
    more = ["--profile", "kind=synchronous", "--constraint", "kind=max_requests,count=1", "--disable-console"]
    data = [
        "--data",
        "kind=synthetic_text,prompt_tokens=4,output_tokens=5",
        "--output",
        f"kind=json,path={tmp_path}/a.json",
    ]
    assert vllmperf(["guidellm", "run", "--backend", backend, *more, *data]) == 0
    assert [path for path, _, _ in asked] == ["/v1/models", "/v1/chat/completions"]
    assert (asked[-1][2]["temperature"], asked[-1][2]["max_completion_tokens"]) == (0.5, 5)


def test_without_a_length_the_most_is_the_environments_and_the_answer_may_end(
    tmp_path, recorder, monkeypatch
):
    url, asked, _ = recorder
    monkeypatch.setenv("GUIDELLM__OPENAI__MAX_OUTPUT_TOKENS", "77")
    (tmp_path / "p.txt").write_text("hello\n")
    assert vllmperf(words(url, ONCE, tmp_path / "a.json", str(tmp_path / "p.txt"))) == 0
    body = asked[-1][2]
    assert body["max_tokens"] == 77
    assert "ignore_eos" not in body
    found = only(guidellm_file.load(tmp_path / "a.json"))
    assert found["metrics"]["prompt_token_count"]["successful"]["mean"] == 3  # as the server counted
