"""Where the server is and what it says of itself before the run."""

import codecs
import gzip
import http.server
import socket
import threading
import zlib

import pytest

import vllmperf as vp
from vllmperf import target
from vllmperf.errors import TargetError, UsageError
from vllmperf.loadgen import resolve
from vllmperf.loadgen.task import Task
from vllmperf.plan import Credentials, Target
from vllmperf.target import answer, client, headers_of, questions


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers /v1/models as the server's `answers` say, in turn, and remembers the headers."""

    def do_GET(self):
        self.server.seen.append(dict(self.headers))
        answers = self.server.answers
        status, body, *more = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        for name, value in more:
            self.send_header(name, value)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    made.seen, made.answers = [], [(200, b'{"data": [{"id": "tiny"}, {"id": "other"}]}')]
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def client_of(task, **more):
    return target.client_of(task.plan.target, task.credentials, **more)


def plan_for(server, **settings):
    return Task.of({"base_url": f"http://127.0.0.1:{server.server_port}", **settings})


def test_the_model_is_the_first_that_the_server_lists(server):
    assert target.first_model(client_of(plan_for(server))) == "tiny"


def test_questions_carry_the_key_and_the_extra_headers(server):
    target.first_model(client_of(plan_for(server, api_key="sesame", headers={"X-Team": "blue"})))
    assert server.seen[0]["Authorization"] == "Bearer sesame"
    assert server.seen[0]["X-Team"] == "blue"


def test_an_extra_header_takes_the_place_of_ours_however_it_is_written():
    own = Credentials(api_key="sesame", headers={"authorization": "Basic x"})
    asked = Target(base_url="http://h", headers={"content-type": "y"})
    assert headers_of(asked, own) == {
        "User-Agent": "vllmperf",
        "authorization": "Basic x",
        "content-type": "y",
    }


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, b"", "--api-key"),
        (404, b"", "--model"),
        (500, b"", "500"),
        (302, b"", "302"),
        (200, b"hello", "--model"),
        (200, b'{"data": []}', "--model"),
        (200, b"[]", "--model"),
    ],
)
def test_an_answer_without_a_model_is_an_error_that_says_what_to_give(server, status, body, says):
    server.answers = [(status, body)]
    with pytest.raises(TargetError, match=says):
        target.first_model(client_of(plan_for(server, api_key="sesame")))
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_told_with_the_key_not_the_model(server, status):
    server.answers = [(status, b'{"error": {"message": "Incorrect API key provided"}}')]
    with pytest.raises(TargetError, match=r"Incorrect API key provided.*OPENAI_API_KEY") as told:
        target.first_model(client_of(plan_for(server)))
    assert "--model" not in str(told.value)


def test_an_address_with_v1_at_its_end_is_asked_once(server):
    base = f"http://127.0.0.1:{server.server_port}"
    assert target.first_model(client_of(Task.of({"base_url": f"{base}/v1"}))) == "tiny"


def test_a_redirect_is_told_with_where_to(server):
    server.answers = [(302, b"")]
    with pytest.raises(TargetError, match=r"302 Found: redirected to http://127.0.0.1:9/elsewhere"):
        target.first_model(client_of(plan_for(server)))


MODELS = b'{"data": [{"id": "tiny"}]}'
RAW_DEFLATE = zlib.compressobj(wbits=-15)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(MODELS, mtime=0)),
        ("x-gzip", gzip.compress(MODELS, mtime=0)),
        ("deflate", zlib.compress(MODELS)),
        ("deflate", RAW_DEFLATE.compress(MODELS) + RAW_DEFLATE.flush()),
        ("deflate, gzip", gzip.compress(zlib.compress(MODELS), mtime=0)),
        ("identity", MODELS),
    ],
)
def test_an_answer_that_is_compressed_unasked_is_read(server, encoding, body):
    server.answers = [(200, body, ("Content-Encoding", encoding))]
    assert target.first_model(client_of(plan_for(server))) == "tiny"
    server.answers = [(500, body, ("Content-Encoding", encoding))]
    with pytest.raises(TargetError, match="tiny"):
        target.first_model(client_of(plan_for(server)))


def test_an_answer_with_a_byte_order_mark_is_read(server):
    server.answers = [(200, codecs.BOM_UTF8 + MODELS)]
    assert target.first_model(client_of(plan_for(server))) == "tiny"


@pytest.mark.parametrize(("encoding", "says"), [("br", "'br'"), ("gzip", "and is not")])
def test_an_encoding_that_cannot_be_read_is_named(server, encoding, says):
    server.answers = [(200, b"junk", ("Content-Encoding", encoding))]
    with pytest.raises(TargetError, match=f"{says}.*--model"):
        target.first_model(client_of(plan_for(server)))


def test_what_is_no_list_of_models_is_shown(server):
    server.answers = [(200, b'{"object": "error", "message": "still loading"}')]
    with pytest.raises(TargetError, match=r"names no model .still loading.; give --model"):
        target.first_model(client_of(plan_for(server)))


def test_a_server_that_is_not_there_is_an_error_of_one_line(port):
    with pytest.raises(TargetError, match="--base-url") as refused:
        target.first_model(client_of(Task.of({"base_url": f"http://127.0.0.1:{port}"})))
    assert "\n" not in str(refused.value)


def test_a_server_that_speaks_something_else_is_an_error_of_one_line():
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(TargetError):
            target.first_model(
                client_of(Task.of({"base_url": f"http://127.0.0.1:{listening.getsockname()[1]}"}))
            )
        thread.join()


def test_a_port_that_leaves_a_handshake_unanswered_may_speak_no_tls():
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(TargetError, match="--base-url http://"),
    ):
        target.Client(f"https://127.0.0.1:{silent.getsockname()[1]}").get("/v1/models", timeout_s=0.05)


def test_a_bad_certificate_file_is_an_error_of_one_line(tmp_path):
    path = tmp_path / "ca.pem"
    path.write_text("none")
    with pytest.raises(UsageError, match="cacert"):
        target.first_model(client_of(Task.of({"base_url": "https://127.0.0.1:9", "cacert": str(path)})))


def test_the_ready_check_waits_until_the_server_answers(server, monkeypatch):
    monkeypatch.setattr(questions.time, "sleep", lambda _: None)
    server.answers = [(503, b""), (503, b""), (200, b"{}")]
    target.wait_ready(client_of(plan_for(server)), 30)
    assert len(server.seen) == 3


def test_the_ready_check_gives_up_with_the_last_error(server):
    server.answers = [(503, b"")]
    with pytest.raises(TargetError, match="503"):
        target.wait_ready(client_of(plan_for(server)), 0)


def test_a_name_without_an_address_is_an_error_that_names_it():
    for host in ("nobody.invalid", "a..b", "x" * 70 + ".invalid"):
        with pytest.raises(TargetError, match="check the URL of the server"):
            resolve.addresses(f"http://{host}:8000")


def test_numeric_hosts_keep_their_form_and_ipv6_gets_brackets():
    assert resolve.addresses("http://127.0.0.1:80") == ["127.0.0.1"]
    assert resolve.addresses("https://[::1]") == ["[::1]"]


def resolves_to(monkeypatch, *addresses):
    """Makes the name h have these addresses."""
    real = socket.getaddrinfo
    entries = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: entries if host == "h" else real(host, *a, **k)
    )


def test_addresses_on_which_nobody_listens_are_left_out(monkeypatch, server):
    resolves_to(monkeypatch, "127.0.0.9", "127.0.0.1")
    assert resolve.usable_addresses(f"http://h:{server.server_port}") == ["127.0.0.1"]


def test_all_addresses_stay_when_nobody_listens_anywhere(monkeypatch, port):
    resolves_to(monkeypatch, "127.0.0.9", "127.0.0.8", "127.0.0.9")
    assert resolve.usable_addresses(f"http://h:{port}") == ["127.0.0.9", "127.0.0.8"]


def test_a_redirect_to_another_server_leaves_the_key_behind_and_one_to_the_same_does_not(server):
    other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    other.seen, other.answers = [], [(200, MODELS)]
    thread = threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        asked = plan_for(server, api_key="sesame", headers={"X-Team": "blue"})
        server.answers = [(301, b"", ("Location", "/elsewhere")), (200, MODELS)]
        assert target.first_model(client_of(asked, follow=True)) == "tiny"
        server.answers = [(307, b"", ("Location", f"http://127.0.0.1:{other.server_port}/v1/models"))]
        assert target.first_model(client_of(asked, follow=True)) == "tiny"
    finally:
        other.shutdown()
        thread.join()
        other.server_close()
    assert [seen["Authorization"] for seen in server.seen] == ["Bearer sesame"] * 3
    assert {"Authorization", "X-Team"}.isdisjoint(other.seen[0])


def test_redirects_without_end_are_told(server):
    server.answers = [(307, b"", ("Location", "/again"))]
    with pytest.raises(TargetError, match="307 Temporary Redirect: redirected to /again"):
        target.first_model(client_of(plan_for(server), follow=True))
    assert len(server.seen) == client.MOST_REDIRECTS + 1


def test_an_answer_without_an_end_is_refused(server, monkeypatch):
    monkeypatch.setattr(answer, "MOST_BYTES", 1000)
    server.answers = [(200, b"x" * 100_000)]
    with pytest.raises(TargetError, match="longer than"):
        client_of(plan_for(server)).get("/metrics")


def test_neither_a_run_nor_its_questions_go_through_a_proxy_of_the_environment(server, monkeypatch, port):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    url = f"http://127.0.0.1:{server.server_port}"
    with vp.sim.Server(ttft_ms=1, itl_ms=1) as other:
        run = vp.bench(other, num_prompts=2, max_concurrency=1, output_len=2)
    assert run.ttft.n == 2
    assert target.first_model(target.Client(url)) == "tiny"


def test_a_server_that_is_not_there_is_said_to_be_asked_past_the_proxy(monkeypatch, port):
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with pytest.raises(TargetError, match=r"\(http_proxy is set, but vllmperf asks the server directly\)"):
        target.first_model(target.Client(f"http://127.0.0.1:{port}"))


def test_a_connection_is_kept_for_the_next_question_when_that_is_asked_for(monkeypatch):
    accepted = []
    monkeypatch.setattr(Answers, "protocol_version", "HTTP/1.1")
    monkeypatch.setattr(Answers, "setup", lambda self: (accepted.append(1), super(Answers, self).setup()))
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    made.seen, made.answers = [], [(200, MODELS)]
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        for keep_alive, connections in ((True, 1), (False, 3)):
            accepted.clear()
            with target.Client(f"http://127.0.0.1:{made.server_port}", keep_alive=keep_alive) as client:
                for _ in range(3):
                    target.first_model(client)
            assert len(accepted) == connections
    finally:
        made.shutdown()
        thread.join()
        made.server_close()


@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_lines_are_given_as_they_arrive_compressed_or_not(encoding, monkeypatch):
    """The server sends the second line only when the first one was read."""
    read = threading.Event()

    def stream(self):
        packed = zlib.compressobj(wbits=31)
        self.send_response(200)
        if encoding:
            self.send_header("Content-Encoding", encoding)
        self.end_headers()
        for line in (b"data: 1\n", b"data: 2"):
            data = packed.compress(line) + packed.flush(zlib.Z_SYNC_FLUSH) if encoding else line
            self.wfile.write(data)
            assert line == b"data: 2" or read.wait(30)

    monkeypatch.setattr(Answers, "do_POST", stream, raising=False)
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        client = target.Client(f"http://127.0.0.1:{made.server_port}")
        with client.ask("POST", "/", b"", timeout_s=10) as answer:
            lines = answer.lines()
            assert next(lines) == b"data: 1"
            read.set()
            assert list(lines) == [b"data: 2"]
    finally:
        made.shutdown()
        thread.join()
        made.server_close()
