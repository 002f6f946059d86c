"""Hints fit the cause: what the server said, and what was sent, decide what to do."""

import json

import pytest

from vllmperf import hints
from vllmperf.loadgen.task import Task
from vllmperf.server_words import said

CHAT = {"backend": "openai-chat"}


def hint(outcome, status, text, base_url="http://h:1", others_completed=False, was_kept=False, **settings):
    plan = Task.of({"base_url": base_url, **settings}).described()
    return hints.of_failure(
        plan, outcome, status, said(text), was_kept=was_kept, others_completed=others_completed
    ) or ""  # fmt: skip


def http(status, text="", **settings):
    return hint("http_error", status, text, **settings)


# ---- addresses ----


@pytest.mark.parametrize("base", ["http://h:1/v1/chat/completions", "http://h:1/v1/chat/completions/"])
def test_an_address_with_v1_twice_is_told_with_the_right_one(base):
    settings = CHAT
    assert "has /v1 twice: give --base-url http://h:1" in http(
        404, '{"detail": "Not Found"}', base_url=base, **settings
    )
    assert http(404, base_url=base, **settings).endswith("http://h:1")


def test_a_prefix_before_v1_stays():
    assert http(404, base_url="http://h:1/api/v1/completions").endswith("give --base-url http://h:1/api")


def test_a_missing_path_and_a_missing_model_are_told_apart():
    assert "--endpoint" in http(404, "Not Found")
    assert "--model" in http(404, '{"error": {"message": "The model `x` does not exist."}}')


@pytest.mark.parametrize(
    ("place", "base", "says"),
    [
        ("/v1/completions/", "http://h:1", "--endpoint /v1/completions/"),
        ("http://h:1/v1/completions/", "http://h:1", "--endpoint /v1/completions/"),
        ("http://h:1/x/v1/completions/", "http://h:1/x", "--endpoint /v1/completions/"),
        ("https://h:1/v1/completions", "http://h:1", "--base-url https://h:1"),
        ("http://other/y/v1/completions", "http://h:1", "--base-url http://other/y"),
        ("http://other/login", "http://h:1", "the address that they lead to"),
    ],
)
def test_a_redirect_is_told_with_the_flag_that_leads_there(place, base, says):
    assert http(307, f"redirected to {place}", base_url=base).endswith(says)


# ---- keys, certificates ----


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_is_asked_for_not_a_model(status):
    wanted = http(status, "Unauthorized")
    assert "OPENAI_API_KEY" in wanted
    assert "--api-key" in wanted
    assert "--model" not in wanted
    assert "rejects the key" in http(status, "Unauthorized", api_key="x")
    assert "rejects the key" in http(status, "Unauthorized", headers={"authorization": "Bearer x"})


@pytest.mark.parametrize(
    "text",
    [
        "SSL peer certificate or SSH remote key was not OK",
        "SSL certificate problem: self-signed certificate",
        "certificate verify failed: unable to get local issuer certificate",
        "SSL: no alternative certificate subject name matches target host name 'h'",
    ],
)
def test_a_certificate_that_nobody_signed_is_told_with_both_ways_out(text):
    told = hint("tls_failed", 0, text)
    assert "--cacert" in told
    assert "--insecure" in told


def test_a_port_of_the_other_protocol_is_told():
    assert "http://" in hint("tls_failed", 0, "SSL_ERROR_SYSCALL in connection", base_url="https://h:1")
    assert "https://" in hint("reset", 0, "the server closed the connection without an answer")
    assert "http://" in hint(
        "tls_failed", 0, "error:0A00010B:SSL routines::wrong version number", base_url="https://h:1"
    )
    assert "--base-url https://h:1" in http(400, "Client sent an HTTP request to an HTTPS server.")
    assert "https://" in http(
        400, "<html><title>400 The plain HTTP request was sent to HTTPS port</title></html>"
    )


# ---- bodies ----


@pytest.mark.parametrize(
    ("text", "settings", "patch"),
    [
        ("extra fields not permitted: ignore_eos, stream_options", {"ignore_eos": True},
         {"stream_options": None, "ignore_eos": None}),
        ('{"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]}', {},
         {"stream_options": None}),
        ("Unsupported parameter: 'logprobs'", {"backend": "vllm"}, {"logprobs": None}),
        ("top_k is not supported", {"top_k": 1}, {"top_k": None}),
        ("Unknown field foo", {"extra_body": {"foo": 1}}, {"foo": None}),
    ],
)  # fmt: skip
def test_a_field_that_is_refused_is_left_out(text, settings, patch):
    for status in (400, 422):
        told = http(status, text, **settings)
        assert json.loads(told[told.index("{") : told.index("}") + 1]) == patch


def test_a_field_that_is_not_sent_is_not_left_out():
    assert http(400, "ignore_eos is not permitted", ignore_eos=False, others_completed=True) == ""
    assert http(400, "no stream_options", extra_body={"stream_options": None}, others_completed=True) == ""


def test_the_limit_of_a_chat_has_a_flag_of_its_own():
    assert "--chat-max-tokens" in http(400, "unknown field max_completion_tokens", **CHAT)


@pytest.mark.parametrize(
    "text",
    [
        "json: cannot unmarshal array into Go struct field CompletionRequest.prompt of type string",
        '{"detail": [{"loc": ["body", "prompt"], "msg": "Input should be a valid string", "type": "string_type"}]}',
        "'list' object has no attribute 'encode'",
        "expected string or bytes-like object, got 'list'",
        "TextInputSequence must be str",
        "argument 'text': 'list' object cannot be converted to 'PyString'",
        "prompt must be a string",
    ],
)
@pytest.mark.parametrize("status", [400, 422, 500])
def test_a_server_that_takes_only_strings_is_offered_text(status, text):
    told = http(status, text)
    assert "--tokenizer" in told
    assert "--text-prompts" in told
    assert "--text-prompts" not in http(status, text, text_prompts=True)


@pytest.mark.parametrize(
    "text",
    [
        "content: not a string",
        "json: cannot unmarshal array into Go struct field Message.messages.content of type string",
        '{"detail": [{"loc": ["body", "messages", 0, "content"], "msg": "str type expected"}]}',
        "'list' object has no attribute 'strip'",
    ],
)
def test_a_chat_server_that_takes_only_strings_is_offered_them(text):
    assert "--string-content" in http(400, text, **CHAT)
    assert "--string-content" not in http(400, text, string_content=True, **CHAT)


@pytest.mark.parametrize(
    "text", ["", "the body is empty", "Internal Server Error", '{"error": "Bad Request"}', "400 Bad Request"]
)
def test_a_server_that_says_nothing_gets_a_guess_unless_others_completed(text):
    assert "--text-prompts" in http(500, text)
    assert "--string-content" in http(400, text, **CHAT)
    assert http(500, text, others_completed=True) == ""
    assert http(500, text, text_prompts=True) == ""


def test_an_error_of_its_own_gets_no_guess():
    assert http(500, "CUDA out of memory") == ""


def test_a_prompt_beyond_the_context_is_told_as_such():
    text = "max_tokens is too large: 1000. This model's maximum context length is 512 tokens."
    assert "--input-len" in http(400, text)
    assert "--extra-body" not in http(400, text)


# ---- the connection ----


def test_a_kept_connection_that_was_closed_is_told_with_the_switch():
    assert "--fresh-connections" in hint("reset", 0, "Connection reset by peer", was_kept=True)
    assert hint("reset", 0, "Connection reset by peer", others_completed=True) == ""
    assert hint("reset", 0, "Connection reset by peer", was_kept=True, fresh_connections=True) == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Too many open files", "ulimit -n"),
        ("Cannot assign requested address", "net.ipv4.ip_local_port_range"),
        ("Cannot allocate memory", "memory"),
        ("No buffer space available", "memory"),
        ("something else", "this machine"),
    ],
)
def test_a_fault_on_this_side_is_told_with_what_to_raise(text, says):
    assert says in hint("local_fault", 0, text)


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        ("refused", "--base-url"),
        ("dns_failed", "--base-url"),
        ("connect_timeout", "--connect-timeout"),
        ("first_token_timeout", "--first-token-timeout"),
        ("stalled", "--stall-timeout"),
        ("total_timeout", "--total-timeout"),
    ],
)
def test_what_did_not_come_is_told_with_its_limit(outcome, says):
    assert says in hint(outcome, 0, "")


def test_token_ids_that_were_never_answered_may_hang_in_a_prefix_router():
    says = "Ray Serve's prefix router"
    assert says in hint("first_token_timeout", 0, "")
    assert says not in hint("first_token_timeout", 0, "", text_prompts=True)
    assert says not in hint("first_token_timeout", 0, "", others_completed=True)


@pytest.mark.parametrize("outcome", ["first_token_timeout", "stalled"])
def test_a_chat_that_never_ends_may_know_no_limit(outcome):
    assert "--chat-max-tokens" in hint(outcome, 0, "", **CHAT)
    assert "--chat-max-tokens" not in hint(outcome, 0, "", chat_max_tokens=True, **CHAT)
    assert "--chat-max-tokens" not in hint(outcome, 0, "", others_completed=True, **CHAT)
    assert "--chat-max-tokens" not in hint(outcome, 0, "")


# ---- what a server said ----


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"error": {"message": "Rate limit", "type": "x", "param": null, "code": 429}}', "Rate limit"),
        ('{"error": {"message": "bad value", "param": "stream_options", "code": "x"}}', "bad value (stream_options)"),
        ('{"object": "error", "message": {"detail": [{"loc": ["body", "n"], "msg": "too big"}]}}', "body.n: too big"),
        ('{"detail": [{"loc": ["body", 0], "msg": "a"}, {"loc": ["b"], "msg": "c"}]}', "body.0: a; b: c"),
        ('{"status": 500, "error": "Internal Server Error", "message": "the cause"}', "Internal Server Error: the cause"),
        ('[{"error": {"code": 400, "message": "Invalid"}}]', "Invalid"),
        ('{"code": "Throttling.RateQuota", "message": "limit exceeded"}', "limit exceeded (Throttling.RateQuota)"),
        ('{"error": {"message": "a \\"cut\\" mess', 'a "cut" mess'),
        ("\ufeff" + '{"error": "with a mark"}', "with a mark"),
        ("<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n<body>\r\n"
         "<center><h1>400 Bad Request</h1></center>\r\n<center>The plain HTTP request was sent to HTTPS port</center>\r\n"
         "<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n",
         "400 The plain HTTP request was sent to HTTPS port: 400 Bad Request nginx/1.22.1"),
        ("<html><head><title>403 Forbidden</title></head><body><h1>403 Forbidden</h1></body></html>", "403 Forbidden"),
        ("<html><head><title>502 Bad Gateway</title></head><body><hr>nginx &amp; co</body></html>",
         "502 Bad Gateway: nginx & co"),
        ('{"status": "failed"}', '{"status": "failed"}'),
        ("upstream\n connect   error", "upstream connect error"),
        ("", ""),
    ],
)  # fmt: skip
def test_of_a_body_the_words_are_taken_whole(body, words):
    assert said(body) == words


def test_a_service_that_does_not_resolve_is_told_to_be_of_its_cluster():
    assert "in a pod" in hint("dns_failed", 0, "", base_url="http://vllm.prod.svc:8000")
    assert hint("dns_failed", 0, "", base_url="http://llm.example.org") == "check the host of --base-url"
