"""`bench` against servers that answer oddly: the verdict, the outcomes and the files say what they did."""

import http.server
import json
import threading
import time
from contextlib import contextmanager

import pytest

from vllmperf.cli import main

TOKENS = 12


def chunk(text, finish=None):
    return {"choices": [{"index": 0, "text": text, "finish_reason": finish}]}


def usage(n, prompt=8, **more):
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": n, **more}}


def events(n=TOKENS, first=1, **counts):
    """Pieces of a stream: the first so many tokens together, then one by one."""
    lines = [f"data: {json.dumps(chunk(f' w{i}', 'length' if i == n - 1 else None))}\n\n" for i in range(n)]
    end = f"data: {json.dumps(usage(n, **counts))}\n\ndata: [DONE]\n\n"
    return (
        ["".join(lines[:first]), *lines[first:-1], lines[-1] + end] if first < n else ["".join(lines) + end]
    )


def stream(handler, pieces, gap_s=0.004, first_s=0.02):
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    time.sleep(first_s)
    for piece in pieces:
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece.encode()))
        time.sleep(gap_s)
    handler.wfile.write(b"0\r\n\r\n")


def whole(handler, status, body, kind="application/json", **headers):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    for name, value in {"Content-Type": kind, "Content-Length": len(body), **headers}.items():
        handler.send_header(name, str(value))
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def server(answer):
    """Calls answer(handler, body, number of the request) for each POST."""
    count = iter(range(10**9))

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer(self, body, next(count))

        def log_message(self, *_):
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.server_port}"
    finally:
        made.shutdown()
        thread.join()
        made.server_close()


def summary_of(answer, capsys, *words):
    with server(answer) as url:
        base = ["bench", "--base-url", url, "--model", "m", "--num-prompts", "12", "--max-concurrency", "4",
                "--input-len", "8", "--output-len", str(TOKENS), "--no-progress", "--json"]  # fmt: skip
        main([*base, *words])
    return json.loads(capsys.readouterr().out)


def reason(summary, name):
    return next(
        (one for one in summary["verdict"]["findings"] if one["name"] == name), {"reason": "", "value": 0}
    )


# ---- answers ----


def test_a_proxy_that_keeps_the_stream_to_its_end_is_not_trusted(capsys):
    summary = summary_of(lambda h, _b, _n: stream(h, events(first=TOKENS)), capsys)
    assert summary["verdict"]["level"] == "untrusted"
    assert reason(summary, "one_piece")["value"] == 1.0


def test_a_proxy_that_fills_a_buffer_first_is_not_trusted(capsys):
    summary = summary_of(lambda h, _b, _n: stream(h, events(first=6)), capsys)
    assert summary["verdict"]["level"] == "untrusted"
    assert summary["answers"]["held_back"]["burst_chunks"] >= 6


def test_an_ignored_stream_is_doubted(capsys):
    def plain(handler, _body, _number):
        whole(handler, 200, {**chunk(" hello", "length"), "usage": usage(TOKENS)["usage"]})

    assert reason(summary_of(plain, capsys), "not_streamed")["value"] == 1.0
    assert reason(summary_of(plain, capsys, "--no-stream"), "not_streamed")["value"] == 0


def test_short_answers_and_cut_prompts_are_doubted(capsys):
    def shorter(handler, _body, _number):
        stream(handler, events(5, prompt=3))

    summary = summary_of(shorter, capsys)
    assert "5 tokens where 12 were asked" in reason(summary, "length")["reason"]
    assert "3 tokens by its usage, 8 sent" in reason(summary, "prompt")["reason"]


def test_a_cached_prompt_is_doubted(capsys):
    def cached(handler, _body, _number):
        stream(handler, events(prompt_tokens_details={"cached_tokens": 6}))

    assert reason(summary_of(cached, capsys), "cached")["value"] == 0.75


def test_a_usage_of_zeros_is_doubted_and_not_used(capsys):
    zeros = f"data: {json.dumps(usage(0, prompt=0))}\n\ndata: [DONE]\n\n"
    pieces = [*events()[:-1], f"data: {json.dumps(chunk(' end', 'length'))}\n\n{zeros}"]
    summary = summary_of(lambda h, _b, _n: stream(h, pieces), capsys)
    assert reason(summary, "usage")["value"] == 1.0
    assert summary["tokens"]["output"] == 12 * TOKENS
    assert summary["tokens"]["prompt"] is None


def test_a_chat_server_that_knows_only_max_tokens_is_found_and_helped(capsys):
    def answer(handler, body, _number):
        n = body.get("max_tokens", 20)
        lines = [json.dumps({"choices": [{"index": 0, "delta": {"content": f" w{i}"},
                             "finish_reason": "length" if i == n - 1 else None}]}) for i in range(n)]  # fmt: skip
        stream(handler, [f"data: {line}\n\n" for line in [*lines, json.dumps(usage(n)), "[DONE]"]])

    summary = summary_of(answer, capsys, "--backend", "openai-chat")
    assert "--chat-max-tokens" in reason(summary, "length")["reason"]
    summary = summary_of(answer, capsys, "--backend", "openai-chat", "--chat-max-tokens")
    assert reason(summary, "length")["value"] == 0


def test_a_sound_server_leaves_no_doubt_about_what_it_answered(capsys):
    """What a busy machine may do, such as two chunks in one read, is left aside."""
    summary = summary_of(lambda h, _b, _n: stream(h, events()), capsys)
    doubts = (
        "not_streamed",
        "first_chunk",
        "unknown_output",
        "length",
        "prompt",
        "cached",
        "usage",
    )
    assert not set(doubts) & {one["name"] for one in summary["verdict"]["findings"]}


# ---- errors ----


def test_statuses_have_counts_and_samples_of_their_own(capsys):
    said = {429: "slow down", 500: "CUDA out of memory", 503: "no upstream"}

    def answer(handler, _body, number):
        status = list(said)[number % 3]
        whole(handler, status, {"error": {"message": said[status]}})

    summary = summary_of(answer, capsys)
    assert {(one["status"], one["count"]) for one in summary["requests"]["failures"]} == {
        (status, 4) for status in said
    }
    assert all(said[one["status"]] in one["sample"] for one in summary["requests"]["failures"])


def picky(handler, body, _number):
    """Knows few fields, and content only as a string."""
    unknown = sorted(set(body) - {"model", "messages", "stream", "max_tokens"})
    if unknown:
        whole(handler, 422, {"error": {"message": f"extra fields not permitted: {', '.join(unknown)}"}})
    elif not all(isinstance(message["content"], str) for message in body["messages"]):
        whole(handler, 400, {"error": {"message": "content: not a string"}})
    else:
        stream(handler, events())


def test_hints_lead_through_a_picky_server(capsys):
    words = ["--backend", "openai-chat"]
    steps = [
        ("--chat-max-tokens", ["--chat-max-tokens"]),
        ('"stream_options": null', ["--extra-body", '{"stream_options": null, "ignore_eos": null}']),
        ("--string-content", ["--string-content"]),
    ]
    for hint, flags in steps:
        (failure,) = summary_of(picky, capsys, *words)["requests"]["failures"]
        assert hint in failure["hint"]
        words += flags
    assert summary_of(picky, capsys, *words)["requests"]["failures"] == []


def test_a_server_that_takes_only_strings_takes_text_prompts(capsys):
    def answer(handler, body, _number):
        if isinstance(body["prompt"], str):
            stream(handler, events())
        else:
            whole(handler, 500, b"Internal Server Error", "text/plain")

    (failure,) = summary_of(answer, capsys)["requests"]["failures"]
    assert "--text-prompts" in failure["hint"]
    assert summary_of(answer, capsys, "--text-prompts")["requests"]["completed"] == 12


@pytest.mark.parametrize("place", ["/v1/completions/", "{url}/v1/completions/"])
def test_a_redirect_names_its_status_its_place_and_the_flag(capsys, place):
    def answer(handler, _body, _number):
        if handler.path.endswith("/"):
            stream(handler, events())
        else:
            url = f"http://127.0.0.1:{handler.server.server_port}"
            whole(handler, 307, b"", Location=place.format(url=url))

    (failure,) = summary_of(answer, capsys)["requests"]["failures"]
    assert failure["status"] == 307
    assert "/v1/completions/" in failure["sample"]
    flag, path = failure["hint"].split()[-2:]
    assert summary_of(answer, capsys, flag, path)["requests"]["completed"] == 12


def test_a_long_error_is_printed_whole(capsys):
    words = " ".join(f"word{i}" for i in range(400))
    with server(lambda h, _b, _n: whole(h, 400, {"error": {"message": words}})) as url:
        assert main(["bench", "--base-url", url, "--model", "m", "--num-prompts", "2", "--no-progress"]) == 1
    assert words in " ".join(capsys.readouterr().out.split())
