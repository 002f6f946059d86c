"""Answers that are not what they seem, in each drop-in: read as its original reads them, and no success without an answer."""

import gzip
import json
import shutil
import ssl
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from vllmperf.cli import main as vllmperf
from vllmperf.dropin.benchmark_serving import command
from vllmperf.dropin.llm_bench.main import main as llm_bench
from vllmperf.errors import TargetError, UsageError
from vllmperf.formats import guidellm_file

sys.path.append(str(Path(__file__).parent))
from odd_server import Answer, OddServer, choice, event, stream

N = 4
OLD, NEW, RAW = ("0.6", "0.8"), ("2026",), ("guidellm", "llm_bench")
ALL = (*OLD, *NEW, *RAW)
BUT_06 = ALL[1:]
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


@pytest.fixture(autouse=True)
def without_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def profile(name, url, model, tmp_path, *more, chat=False):
    """The result of N requests; None where the test request failed."""
    backend = (
        ["--backend", "openai-chat", "--endpoint", "/v1/chat/completions"] if chat else ["--backend", "vllm"]
    )
    words = (
        f"--profile vllm-{name} --base-url {url} --model m --tokenizer {model} --dataset-name random --random-input-len 8 "
        f"--random-output-len 4 --num-prompts {N} --max-concurrency 2 --disable-tqdm --save-result --result-dir {tmp_path} "
        f"--result-filename {name}.json"
    )
    detailed = [] if name == "0.6" else ["--save-detailed"]
    try:
        command.main([*words.split(), *backend, *detailed, *more])
    except TargetError as error:
        print(error)
        return None
    return json.loads((tmp_path / f"{name}.json").read_text())


def guidellm(url, tmp_path, *more):
    """(exit code, the only benchmark, None when there is none)"""
    path = tmp_path / "g.json"
    words = f"guidellm benchmark --target {url} --rate-type concurrent --rate 2 --max-requests {N} --disable-progress"
    code = vllmperf(
        [*words.split(), "--data", "prompt_tokens=8,output_tokens=4", "--output-path", str(path), *more]
    )
    return code, guidellm_file.load(path)["benchmarks"][0] if path.exists() else None


def completed(name, url, model, tmp_path, capsys, chat=False, time="5s"):
    """How many requests a drop-in takes for successes. time: how long llm_bench goes on where none is one."""
    if name == "guidellm":
        kind = ["--backend-args", "{}"] if not chat else []
        _, found = guidellm(url, tmp_path, *kind)
        return found["request_totals"]["successful"] if found else 0
    if name == "llm_bench":
        words = f"-H {url} --provider vllm -m m --headless --profile 2026-06 --dataset @{tmp_path}/d.jsonl"
        (tmp_path / "d.jsonl").write_text(
            '{"messages": [{"role": "user", "content": "a"}]}\n' if chat else '{"prompt": "a"}\n'
        )
        kind = "--chat" if chat else "--no-chat"
        code = llm_bench(
            [*words.split(), "-u", "2", "-r", "2", "--max-requests", str(N), "-o", "4", "-t", time, kind]
        )
        said = capsys.readouterr()
        return N if code == 0 and "Num Requests" in said.out else 0
    found = profile(name, url, model, tmp_path, chat=chat)
    return found["completed"] if found else 0


def answers_in(ask, names, model, tmp_path, capsys, chat=False, **more):
    """The drop-ins of `names` for which every request is a success; any other number than all or none is an error."""
    good = []
    with OddServer(ask) as server:
        for name in names:
            n = completed(name, server.url, model, tmp_path, capsys, chat, **more)
            assert n in (0, N) or n >= N, (name, n)
            good += [name] if n else []
    return good


def deflated(pieces, wbits):
    packer = zlib.compressobj(6, zlib.DEFLATED, wbits)
    packed = [packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
    return [*packed, packer.flush()]


NAN = {"logprobs": {"token_logprobs": [float("nan"), float("inf"), float("-inf")]}}
TAKEN = {
    "plain": lambda path: Answer(stream(path)),
    "application/json": lambda path: Answer(stream(path), kind="application/json"),
    "application/json; charset": lambda path: Answer(stream(path), kind="application/json; charset=utf-8"),
    "text/plain": lambda path: Answer(stream(path), kind="text/plain"),
    "text/html": lambda path: Answer(stream(path), kind="text/html"),
    "no type": lambda path: Answer(stream(path), kind=None),
    "not a number": lambda path: Answer(stream(path, **NAN)),
    "one line feed": lambda path: Answer(stream(path, end="\n")),
    "one line feed in one read": lambda path: Answer([b"".join(stream(path, end="\n"))]),
    "CR LF": lambda path: Answer(stream(path, end="\r\n\r\n")),
    "one CR LF": lambda path: Answer(stream(path, end="\r\n")),
    "gzip": lambda path: Answer(deflated(stream(path), 31), headers={"Content-Encoding": "gzip"}),
    "gzip at once": lambda path: Answer(
        [gzip.compress(b"".join(stream(path)))], headers={"Content-Encoding": "gzip"}
    ),
    "deflate": lambda path: Answer(deflated(stream(path), 15), headers={"Content-Encoding": "deflate"}),
    "raw deflate": lambda path: Answer(deflated(stream(path), -15), headers={"Content-Encoding": "deflate"}),
    "to the end of the connection": lambda path: Answer(stream(path), end="close"),
    "closed in silence": lambda path: Answer(stream(path), end="silent"),
    "a byte order mark": lambda path: Answer([b"\xef\xbb\xbf", *stream(path)]),
    "pings": lambda path: Answer([b": ping\n\n", *stream(path)]),
    "another index": lambda path: Answer(stream(path, index=7)),
}


@pytest.mark.parametrize("chat", [False, True], ids=["completions", "chat"])
@pytest.mark.parametrize("what", TAKEN)
def test_every_drop_in_takes_what_its_original_takes(what, chat, model, tmp_path, capsys):
    names = ALL if not chat else (*OLD, *NEW, "llm_bench")
    assert answers_in(lambda path, _: TAKEN[what](path), names, model, tmp_path, capsys, chat) == list(names)


NO_REASON = {"finish_reason": None}
ENDLESS = {
    "a finish reason alone": lambda path: Answer(stream(path, done=False)),
    "neither": lambda path: Answer(stream(path, done=False, **NO_REASON)),
    "an empty reason": lambda path: Answer(stream(path, done=False, finish_reason="")),
    "neither, to the end of the connection": lambda path: Answer(
        stream(path, done=False, **NO_REASON), end="close"
    ),
    "neither, by length": lambda path: Answer(stream(path, done=False, **NO_REASON), end="length"),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_a_stream_that_ends_in_order_needs_no_done_but_in_0_6(what, model, tmp_path, capsys):
    assert answers_in(lambda path, _: ENDLESS[what](path), ALL, model, tmp_path, capsys) == list(BUT_06)


def json_body(path):
    message = {"message": {"content": " hello"}} if "chat" in path else {"text": " hello"}
    whole = {"choices": [{"index": 0, **message, "finish_reason": "stop"}], "usage": USAGE}
    return Answer([json.dumps(whole).encode()], kind="application/json", end="length")


NONE = {
    "broken off": lambda path: Answer(stream(path, done=False, **NO_REASON), end="broken"),
    "broken off with an empty reason": lambda path: Answer(
        stream(path, done=False, finish_reason=""), end="broken"
    ),
    "broken off with a null as text": lambda path: Answer(
        stream(path, done=False, finish_reason="null"), end="broken"
    ),
    "half an event": lambda path: Answer([*stream(path, done=False, **NO_REASON), stream(path)[0][:20]]),
    "[DONE] alone": lambda _: Answer([event("[DONE]")]),
    "nothing": lambda _: Answer([]),
    "one JSON object": json_body,
    "an error object": lambda _: Answer([b'{"error": {"message": "still loading"}}'], end="length"),
    "no JSON": lambda _: Answer([event("{half"), event("[DONE]")]),
    "null among the tokens": lambda path: Answer([event("null"), *stream(path)]),
    "a web page": lambda _: Answer([b"<html>busy</html>"], kind="text/html", end="length"),
    "brotli": lambda path: Answer(stream(path), headers={"Content-Encoding": "br"}),
    "an HTTP error": lambda _: Answer([b"busy"], status=503, kind="text/plain", end="length"),
    "a redirect to nowhere": lambda _: Answer([b""], status=307, end="length"),
    "a redirect in a circle": lambda path: Answer([], status=307, headers={"Location": path}, end="length"),
}


@pytest.mark.parametrize("chat", [False, True], ids=["completions", "chat"])
@pytest.mark.parametrize("what", NONE)
def test_what_did_not_happen_is_a_success_nowhere(what, chat, model, tmp_path, capsys):
    names = ALL if not chat else (*OLD, *NEW, "llm_bench")
    assert answers_in(lambda path, _: NONE[what](path), names, model, tmp_path, capsys, chat, time="1s") == []


# ---- redirects ----


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("place", ["{path}/", "{url}{path}/", "?again=1"])
def test_redirects_that_keep_the_method_are_followed_with_the_body(status, place, model, tmp_path, capsys):
    def ask(path, body):
        assert body["model"] == "m"
        if path.endswith("/") or "?" in path:
            return Answer(stream(path))
        where = place.format(path=path, url=server.url)
        return Answer([], status=status, headers={"Location": where}, end="length")

    with OddServer(ask) as server:
        for name in ALL:
            assert completed(name, server.url, model, tmp_path, capsys) >= N, name


@pytest.mark.parametrize("status", [301, 302, 303])
def test_other_redirects_become_a_get_without_the_prompt_as_in_the_originals(status, model, tmp_path, capsys):
    def ask(path, _):
        return Answer([], status=status, headers={"Location": path + "/"}, end="length")

    with OddServer(ask) as server:
        listed, refused = server.get(""), Answer([b"POST me"], status=405, end="length")
        server.get = lambda path: refused if path == "/v1/completions/" else listed
        assert profile("2026", server.url, model, tmp_path)["errors"] == ["Method Not Allowed"] * N
        assert guidellm(server.url, tmp_path) == (3, None)
        assert "http_error 405: POST me" in capsys.readouterr().err


def test_guidellm_follows_no_redirect_when_it_is_told_not_to(tmp_path, capsys):
    def ask(path, _):
        return Answer([], status=307, headers={"Location": path + "/"}, end="length")

    with OddServer(ask) as server:
        code, _ = guidellm(server.url, tmp_path, "--backend-args", '{"follow_redirects": false}')
    assert code == 3
    assert "307: redirected to" in capsys.readouterr().err


def test_the_list_of_models_is_asked_for_where_the_server_sends_one_to(model, tmp_path, capsys):
    with OddServer(lambda path, _: Answer(stream(path))) as server:
        listed = server.get("")
        server.get = lambda path: (
            listed
            if path.endswith("/")
            else Answer([], status=301, headers={"Location": path + "/"}, end="length")
        )
        assert guidellm(server.url, tmp_path)[0] == 0
        words = f"-H {server.url} --headless -u 1 -r 1 --profile 2024-10 -o 4 -t 3s --only-summary"
        assert llm_bench(words.split()) == 0


def test_a_probe_follows_redirects_and_reads_compressed_answers(model, tmp_path, capsys):
    def ask(path, _):
        if path.endswith("/"):
            return Answer(deflated(stream(path), 31), headers={"Content-Encoding": "gzip"})
        return Answer([], status=307, headers={"Location": path + "/"}, end="length")

    with OddServer(ask) as server:
        found = profile("2026", server.url, model, tmp_path, "--probe-request-rate", "100")
    assert found["probe_completed"] > 0
    assert found["probe_failed"] == 0


# ---- connections ----


@pytest.mark.parametrize("name", [*OLD, *NEW])
def test_0_6_and_0_8_open_a_connection_a_request(name, model, tmp_path):
    with OddServer(lambda path, _: Answer(stream(path))) as server:
        assert profile(name, server.url, model, tmp_path)["completed"] == N
        requests = sum(path.endswith("completions") for path, _, _ in server.requests)
    assert (len(server.connections) == requests) is (name in OLD)


@pytest.mark.parametrize("name", OLD)
def test_a_server_that_closes_in_silence_costs_them_no_request(name, model, tmp_path):
    with OddServer(lambda path, _: Answer(stream(path, 2), end="silent")) as server:
        found = profile(name, server.url, model, tmp_path, "--num-prompts", "60", "--max-concurrency", "8")
    assert found["completed"] == 60


# ---- what they say ----


def test_the_text_is_that_of_each_events_first_choice_whatever_its_index(model, tmp_path):
    def counting(path, _):
        events = [event({"choices": [choice(path, f" w{i}", index=i)]}) for i in range(4)]
        return Answer([*events, event({"choices": [], "usage": USAGE}), event({"ping": 1}), event("[DONE]")])

    with OddServer(counting) as server:
        found = {name: profile(name, server.url, model, tmp_path) for name in (*OLD, *NEW)}
    for name, result in found.items():
        assert set(result["generated_texts"]) == {" w0 w1 w2 w3"}, name
        assert {len(gaps) for gaps in result["itls"]} == {3}, name
    assert found["2026"]["output_lens"] == [4] * N
    assert found["2026"]["total_input_tokens"] == 9 * N


@pytest.mark.parametrize("completion_tokens", [0, None, -1, "4", 2.5, [4]])
def test_usage_that_is_no_count_leaves_it_to_the_tokenizer(completion_tokens, model, tmp_path, tokens):
    usage = {"prompt_tokens": 9, "completion_tokens": completion_tokens}

    def ask(path, _):
        return Answer([*stream(path, done=False), event({"choices": [], "usage": usage}), event("[DONE]")])

    with OddServer(ask) as server:
        found = [profile(name, server.url, model, tmp_path) for name in ("0.8", "2026")]
    counted = tokens.count(" w0 w1 w2 w3", special=False)
    assert [result["output_lens"] for result in found] == [[counted] * N] * 2


def test_a_usage_that_cannot_be_right_is_said_in_llm_bench_and_the_chunks_count(capsys, tmp_path):
    usage = {"prompt_tokens": 0, "completion_tokens": 0}

    def ask(path, _):
        return Answer([*stream(path, done=False), event({"choices": [], "usage": usage}), event("[DONE]")])

    with OddServer(ask) as server:
        words = f"-H {server.url} --provider vllm -m m --headless -u 1 -r 1 -p 40 -o 4 -t 3s --only-summary"
        assert llm_bench(words.split()) == 0
    out = capsys.readouterr().out
    assert "WARNING: usage says 0 tokens and the chunks show more: 4 are counted" in out
    assert "Num Tokens               : 4.0" in out


@pytest.mark.parametrize("name", [*OLD, *NEW])
def test_the_servers_own_words_stand_on_stderr(name, model, tmp_path, capsys):
    words = "json: cannot unmarshal array into Go struct field CompletionRequest.prompt of type string"
    body = json.dumps({"error": {"message": words}}).encode()

    with OddServer(lambda *_: Answer([body], status=400, kind="application/json", end="length")) as server:
        found = profile(name, server.url, model, tmp_path)
    said = capsys.readouterr()
    if name in OLD:
        assert found is None
        assert f"Error: Bad Request: {words}" in said.out  # printed by profile() above
    else:
        assert found["errors"] == ["Bad Request"] * N
        assert f"{N} of {N} requests failed: Bad Request: {words}" in said.err


def test_a_hint_names_the_flags_of_the_version(model, tmp_path, capsys):
    body = b'{"detail": "Not Found"}'
    with OddServer(lambda *_: Answer([body], status=404, kind="application/json", end="length")) as server:
        assert profile("0.8", server.url + "/v1", model, tmp_path) is None
        assert "Error: Not Found; the address has /v1 twice: give --base-url" in capsys.readouterr().out
    with OddServer(lambda *_: Answer([b'{"error": "no"}'], status=401, end="length")) as server:
        assert profile("2026", server.url, model, tmp_path)["errors"] == ["Unauthorized"] * N
        said = (
            f"{N} of {N} requests failed: Unauthorized: no; the server requires a key: give OPENAI_API_KEY\n"
        )
        assert said in capsys.readouterr().err


def test_an_answer_without_a_stream_is_named_as_that(model, tmp_path, capsys):
    with OddServer(lambda path, _: json_body(path)) as server:
        assert profile("2026", server.url, model, tmp_path)["completed"] == 0
        assert "the server did not stream" in capsys.readouterr().err
        assert guidellm(server.url, tmp_path)[0] == 3
        assert "no_stream: the server did not stream" in capsys.readouterr().err


def test_guidellm_writes_null_and_prints_a_dash_for_what_was_not_measured(tmp_path, capsys):
    def ask(path, body):  # the probe asks for one token
        return json_body(path) if body["max_tokens"] > 1 else Answer(stream(path, 1))

    with OddServer(ask) as server:
        code, found = guidellm(server.url, tmp_path)
    assert (code, found["request_totals"]["errored"]) == (1, N)
    for name in ("time_to_first_token_ms", "inter_token_latency_ms", "request_latency"):
        assert found["metrics"][name]["successful"]["mean"] is None
        assert found["metrics"][name]["successful"]["percentiles"]["p99"] is None
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "concurrent@2|" in line][-1:]
    assert [cell.strip() for cell in line.split("|")][5:] == ["-"] * 12
    assert (
        vllmperf(
            [
                "guidellm",
                "benchmark",
                "from-file",
                str(tmp_path / "g.json"),
                "--output-path",
                str(tmp_path / "g.csv"),
            ]
        )
        == 0
    )


def test_one_token_has_no_gap_in_guidellm_either(tmp_path, capsys):
    with OddServer(lambda path, _: Answer(stream(path, 1))) as server:
        code, found = guidellm(server.url, tmp_path)
    assert code == 0
    assert found["metrics"]["inter_token_latency_ms"]["successful"]["mean"] is None
    assert found["metrics"]["time_to_first_token_ms"]["successful"]["mean"] > 0
    assert {row["inter_token_latency_ms"] for row in found["requests"]["successful"]} == {None}


def test_a_server_that_wants_a_key_is_told_by_the_tools_own_flag(model, tmp_path, capsys, monkeypatch):
    with OddServer(lambda path, _: Answer(stream(path))) as server:
        server.get = lambda _: Answer([b'{"error": {"message": "no key"}}'], status=401, end="length")
        words = f"--profile vllm-2026 --base-url {server.url} --tokenizer {model} --num-prompts 1".split()
        with pytest.raises(
            TargetError, match=r"401 Unauthorized: no key; the server requires a key: give OPENAI_API_KEY$"
        ):
            command.main(words)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
        with pytest.raises(TargetError, match=r"rejects the key: check OPENAI_API_KEY$"):
            command.main(words)
        assert llm_bench(f"-H {server.url} --headless -u 1 -r 1 -t 1s".split()) == 3
        assert "the server requires a key: give -k KEY" in capsys.readouterr().err
        assert guidellm(server.url, tmp_path)[0] == 3
        assert "GUIDELLM__OPENAI__API_KEY" in capsys.readouterr().err


# ---- certificates ----


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate that nobody signed, and its key."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed: no certificate can be made")
    folder = tmp_path_factory.mktemp("tls")
    made = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    words = [*made.split(), "-keyout", folder / "k.pem", "-out", folder / "c.pem"]
    subprocess.run(words, check=True, capture_output=True)
    return folder / "c.pem", folder / "k.pem"


@pytest.mark.parametrize("name", ["0.8", "2026", "guidellm", "llm_bench"])
def test_a_certificate_is_trusted_that_the_originals_variable_names(
    name, certificate, model, tmp_path, capsys, monkeypatch
):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    variable = "REQUESTS_CA_BUNDLE" if name == "llm_bench" else "SSL_CERT_FILE"
    for each in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(each, raising=False)
    with OddServer(lambda path, _: Answer(stream(path)), context) as server:
        assert completed(name, server.url, model, tmp_path, capsys) == 0
        monkeypatch.setenv(variable, str(certificate[0]))
        assert completed(name, server.url, model, tmp_path, capsys) >= N


@pytest.mark.parametrize("name", ["0.6", "2026", "guidellm", "llm_bench"])
def test_redirects_are_followed_over_tls_too(name, certificate, model, tmp_path, capsys, monkeypatch):
    for variable in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(variable, str(certificate[0]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    def ask(path, body):
        assert body["model"] == "m"
        if path.endswith("/"):
            return Answer(stream(path))
        return Answer([b"moved"], status=307, headers={"Location": path + "/"}, end="length")

    with OddServer(ask, context) as server:
        assert completed(name, server.url, model, tmp_path, capsys) >= N


def test_a_certificate_that_is_not_trusted_is_told_with_what_to_do(
    certificate, model, tmp_path, capsys, monkeypatch
):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with OddServer(lambda path, _: Answer(stream(path)), context) as server:
        assert profile("0.8", server.url, model, tmp_path) is None
        assert "certificate: SSL_CERT_FILE=FILE trusts one\n" in capsys.readouterr().out
        assert guidellm(server.url, tmp_path)[0] == 3
        assert "SSL_CERT_FILE=FILE trusts one, GUIDELLM__OPENAI__VERIFY=false" in capsys.readouterr().err
        assert llm_bench(f"-H {server.url} --headless -u 1 -r 1 -t 1s".split()) == 3
        assert "REQUESTS_CA_BUNDLE=FILE trusts one" in capsys.readouterr().err
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    with pytest.raises(UsageError, match=r"SSL_CERT_FILE is /nowhere\.pem: there is no such file"):
        profile("0.8", "https://127.0.0.1:9", model, tmp_path)
