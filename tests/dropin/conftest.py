"""A server that keeps what it was asked, for the tests of the drop-ins."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Recorder(BaseHTTPRequestHandler):
    """Answers like a server and keeps what it was asked."""

    asked = None  # a list, set for each server
    good_for = 10**9  # requests until it only fails

    def do_GET(self):
        self.asked.append((self.path, dict(self.headers), None))
        self._send(b'{"data": [{"id": "first"}, {"id": "second"}]}', "application/json")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, dict(self.headers), body))
        if len(self.asked) > self.good_for:
            self.send_error(503)
            return
        delta = {"delta": {"content": "a"}} if "chat" in self.path else {"text": "a"}
        events = [
            {"choices": [delta]},
            {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}},
        ]
        data = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        self._send(data.encode(), "text/event-stream")

    def _send(self, data, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


class Quiet(ThreadingHTTPServer):
    """Says nothing when a client goes away."""

    def handle_error(self, *_):
        pass


@pytest.fixture
def recorder():
    asked = []
    own = type("Own", (Recorder,), {"asked": asked})
    server = Quiet(("127.0.0.1", 0), own)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked, own
    server.shutdown()
    thread.join()
    server.server_close()
