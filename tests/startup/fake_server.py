"""A server like vLLM for tests of `--command`: prints a start-up log, then answers /health, models and completions.

    python fake_server.py --port N [--fail] [--hang] [--stubborn] [--embedding] [--grandchild FILE] [--step SECONDS]
        [--ssl-certfile FILE --ssl-keyfile FILE] [--read-into FILE]

With --read-into it goes on after each line of its log only when that line stands in the file: whoever measures has stamped it.

It notes in $VLLM_CACHE_ROOT how often it was started with this cache.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

EVENTS = ({"choices": []}, {"choices": [{"text": "", "index": 0}]}, {"choices": [{"text": "y", "index": 0}]})


def say(place: str, text: str, level: str = "INFO") -> None:
    stamp = datetime.now().strftime("%m-%d %H:%M:%S")
    print(f"{level} {stamp} [{place}] {text}", flush=True)
    file = Handler.args.read_into
    while file and not (file.exists() and text in file.read_text()):
        time.sleep(0.005)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    args: argparse.Namespace

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        models = {"data": [{"id": "tiny"}]}
        self._answer(200, json.dumps(models if self.path == "/v1/models" else {}).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.args.embedding:
            self._answer(404, b"{}")
            return
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        for event in EVENTS:
            self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
            self.wfile.flush()
            time.sleep(self.args.step)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def note_start() -> None:
    folder = os.environ.get("VLLM_CACHE_ROOT")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with (Path(folder) / "starts").open("a") as file:
            file.write("x")


def write_log(args: argparse.Namespace) -> None:
    step = args.step
    time.sleep(step)
    say("__init__.py:239", "Automatically detected platform cuda.")
    say("api_server.py:1034", "vLLM API server version 0.8.5")
    time.sleep(step)
    say("core.py:58", "Initializing a V1 LLM engine (v0.8.5) with config: model='tiny'")
    say("gpu_model_runner.py:1329", "Starting to load model tiny...")
    time.sleep(step)
    if args.fail:
        print("ValueError: No available memory for the cache blocks.", file=sys.stderr, flush=True)
        sys.exit(3)
    if args.hang:
        time.sleep(3600)
    say("loader.py:458", f"Loading weights took {step:.2f} seconds")
    say("gpu_model_runner.py:1347", f"Model loading took 6.1 GiB and {step:.6f} seconds")
    time.sleep(step)
    say("core.py:159", f"init engine (profile, create kv cache, warmup model) took {step:.2f} seconds")
    say(
        "api_server.py:1081",
        f"Starting vLLM API server on http{'s' if args.ssl_certfile else ''}://0.0.0.0:{args.port}",
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--step", type=float, default=0.05)
    parser.add_argument("--grandchild")
    parser.add_argument("--read-into", type=Path)
    parser.add_argument("--ssl-certfile")
    parser.add_argument("--ssl-keyfile")
    for name in ("fail", "hang", "stubborn", "embedding"):
        parser.add_argument(f"--{name}", action="store_true")
    args = parser.parse_args()
    Handler.args = args
    note_start()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if args.stubborn else signal.SIG_DFL)
    if args.grandchild:
        worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
        Path(args.grandchild).write_text(str(worker.pid))
    write_log(args)
    print("INFO:     Started server process [1]", flush=True)
    print("INFO:     Waiting for application startup.", flush=True)
    print("INFO:     Application startup complete.", flush=True)
    server = ThreadingHTTPServer(("127.0.0.1", args.port), Handler)
    if args.ssl_certfile:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(args.ssl_certfile, args.ssl_keyfile)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


main()
