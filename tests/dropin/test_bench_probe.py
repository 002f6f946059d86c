"""Probes beside the load: what counts as a good answer, and that a run does not last longer for them."""

import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vllmperf.dropin.benchmark_serving.engine import Target
from vllmperf.dropin.benchmark_serving.probe import Prober
from vllmperf.loadgen.task import Task
from vllmperf.plan import Plan
from vllmperf.sim import Server

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark_serving.py"


@contextmanager
def answering(body):
    """The URL of a server that says the same to every request, and an event that is set by the third one."""
    third, asked = threading.Event(), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            asked.append(1)
            if len(asked) == 3:
                third.set()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/any", third
        server.shutdown()


def probed(body, *, is_stream):
    with answering(body) as (url, third):
        target = Target(
            task=Task(Plan.of(base_url=url)), url=url, addresses=[], headers=[], is_raw=False, id_prefix=None
        )
        prober = Prober(target, b"{}", 500.0, is_stream=is_stream)
        with prober:
            assert third.wait(30)
        return prober.statistics()


@pytest.mark.parametrize(
    ("body", "is_stream", "is_good"),
    [
        (b'data: {"choices":[{"text":"a"}]}\n\ndata: [DONE]\n\n', True, True),
        (b'data: {"choices":[]}\n\ndata: [DONE]\n\n', True, False),
        (b'{"usage": {"prompt_tokens": 1}}', False, True),
        (b'{"usage": {"prompt_tokens": 1}}', True, False),
        (b"<html>", False, False),
    ],
)
def test_a_probe_is_good_with_a_token_in_its_stream_or_with_json_where_there_is_no_stream(
    body, is_stream, is_good
):
    found = probed(body, is_stream=is_stream)
    assert (found is not None) == is_good
    assert found is None or (found["probe_completed"] >= 3 and found["probe_failed"] == 0)


@pytest.mark.slow
def test_the_last_probes_pause_is_no_part_of_the_run(model, tmp_path):
    with Server(ttft_ms=5, itl_ms=1, model=f"{model}/") as server:
        words = f"""--profile vllm-2026 --tokenizer {model} --base-url {server.url} --random-input-len 12
            --random-output-len 2 --num-prompts 2 --probe-request-rate 0.25 --save-result
            --result-filename r.json"""
        subprocess.run([sys.executable, str(SCRIPT), *words.split()], cwd=tmp_path, check=True)
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["probe_completed"] >= 1
    assert found["duration"] < 4, "a probe pauses 4 s before the next one"
