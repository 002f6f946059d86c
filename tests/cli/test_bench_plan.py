"""The same plan from the command line, from Python and from a file: the same requests; names that were meant."""

import hashlib
import http.server
import json
import threading

import pytest

import vllmperf
from vllmperf import sim
from vllmperf.cli import main
from vllmperf.plan import Plan

RAN = (0, 1)  # 1: the machine was too busy for numbers to be trusted, which these tests do not ask
ASKED = {"request_rate": 200, "num_prompts": 12, "input_len": 9, "output_len": 3, "seed": 4, "temperature": 0,
         "request_id_prefix": "r-", "model": "m"}  # fmt: skip
FLAGS = "--request-rate 200 --num-prompts 12 --input-len 9 --output-len 3 --seed 4 --temperature 0"
FLAGS += " --request-id-prefix r- --model m"


STREAM = (
    b'data: {"choices":[{"index":0,"text":"a"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1}}\n\ndata: [DONE]\n\n'
)


@pytest.fixture
def server():
    with sim.Server(ttft_ms=1, itl_ms=0.5) as made:
        yield made


@pytest.fixture
def book():
    """A server that writes down the body of each request, by its x-request-id."""
    found = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found[self.headers["x-request-id"]] = hashlib.sha256(body).hexdigest()
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Content-Length", str(len(STREAM)))
            self.end_headers()
            self.wfile.write(STREAM)

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    made.found, made.url = found, f"http://127.0.0.1:{made.server_port}"
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def test_command_line_python_and_file_send_the_same(book, tmp_path, capsys):
    plan = Plan.of(base_url=book.url, **ASKED)
    (tmp_path / "plan.json").write_text(plan.to_json())

    def sent(*words, **settings):
        """Due time and hash of the body of each request, as the run file and the server have them."""
        path = tmp_path / str(len(list(tmp_path.iterdir())))
        book.found.clear()
        if words:
            assert main(["bench", *words, "--no-progress", "--record", str(path)]) in RAN
        else:
            vllmperf.bench(plan, record=path, **settings)
        due = vllmperf.open_run(path).recording.requests["scheduled_ns"].tolist()
        return due, dict(sorted(book.found.items()))

    by_flags = sent("--base-url", book.url, *FLAGS.split())
    assert len(by_flags[0]) == len(by_flags[1]) == 12
    assert len(set(by_flags[1].values())) == 12
    assert sent() == by_flags
    assert sent("--plan", str(tmp_path / "plan.json")) == by_flags
    changed = sent("--plan", str(tmp_path / "plan.json"), "--seed", "5")
    assert len(changed[1]) == 12
    assert changed != by_flags
    assert sent(seed=5) == changed


def test_the_plan_is_printed_and_nothing_is_sent(server, capsys):
    assert main(["bench", "--base-url", server.url, *FLAGS.split(), "--print-plan"]) == 0
    assert Plan.from_json(capsys.readouterr().out) == Plan.of(base_url=server.url, **ASKED)
    assert server.stats["requests"] == 0


def test_a_plan_file_that_is_none_is_one_line(tmp_path, capsys):
    path = tmp_path / "plan.json"
    path.write_text('{"target": {"base_url": "http://h"}, "load": {"max_concurrency": "x"}}')
    assert main(["bench", "--plan", str(path)]) == 2
    assert capsys.readouterr().err == (
        f'vllmperf: error: --plan {path}: load.max_concurrency must be a whole number (got "x")\n'
    )
    assert main(["bench", "--plan", str(tmp_path / "none")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_bench_takes_a_server_an_address_or_a_plan(server):
    few = {"num_prompts": 2, "output_len": 2, "input_len": 4}
    for target in (server, server.url, server.url + "/v1", Plan.of(base_url=server.url)):
        run = vllmperf.bench(target, max_concurrency=2, duration="20s", goodput="ttft:5000", **few)
        assert run.summary["requests"]["completed"] == 2
        assert run.summary["goodput"]["met"] == 2


def test_the_address_of_other_clients_works_with_its_version(server, capsys):
    words = ["--base-url", server.url + "/v1", "--num-prompts", "2", "--output-len", "2", "--json"]
    assert main(["bench", *words]) in RAN
    assert json.loads(capsys.readouterr().out)["requests"]["completed"] == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["bench", "--max-concurency", "4"],
            "no such flag --max-concurency: did you mean --max-concurrency?",
        ),
        (["bench", "--max_concurency=4"], "no such flag --max-concurency: did you mean --max-concurrency?"),
        (
            ["bench", "--rate", "4"],
            "no such flag --rate: did you mean --request-rate? See vllmperf bench --help",
        ),
        (["bench", "--concurrency", "4"], "did you mean --max-concurrency?"),
        (["bench", "--url", "http://h"], "did you mean --base-url?"),
        (["bench", "http://h"], "unrecognized argument 'http://h'; see vllmperf bench --help"),
        (["fit", "--base-ur", "http://h"], "did you mean --base-url? See vllmperf fit --help"),
        (["capacity", "--budgett", "4"], "did you mean --budget? See vllmperf capacity --help"),
        (["--verson"], "no such flag --verson: did you mean --version? See vllmperf --help"),
    ],
)
def test_a_flag_that_is_none_is_told_with_the_one_that_was_meant(words, says, capsys):
    assert main(words) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


def test_bench_writes_a_page(tmp_path, capsys):
    few = ["--num-prompts", "4", "--output-len", "3", "--no-progress"]
    assert main(["bench", "--sim", *few, "--html", str(tmp_path / "run.html")]) in RAN
    assert "<html" in (tmp_path / "run.html").read_text()
    assert "TTFT" in capsys.readouterr().out


def test_a_simulator_gets_32_requests_at_a_time_unless_something_else_is_asked(capsys):
    few = ["--num-prompts", "40", "--output-len", "3", "--no-progress", "--json"]
    assert main(["bench", "--sim", "ttft_ms=20", *few]) in RAN
    assert json.loads(capsys.readouterr().out)["in_flight"]["max"] == 32
