"""A service among people who mean it ill: each gets an answer of one line, nothing leaves its folder, and it still serves."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the extra service is not installed")

from serving import Service

from vllmperf.sim import Server

TOKEN = "0123456789abcdef"
SECRET = "sk-verysecret-4711"
OK = {"base_url": "http://127.0.0.1:1", "model": "m"}
LOAD = {"host": "127.0.0.1", "port": 1, "model": "m", "dataset_name": "random"}
DEEP = "[" * 5000 + "]" * 5000


@pytest.fixture(scope="module")
def sim() -> Iterator[Server]:
    with Server(ttft_ms=2, itl_ms=1) as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is outside of the data folder, and links in it that lead there."""
    home = tmp_path_factory.mktemp("hostile")
    for name in ("data", "tmp"):
        (home / name).mkdir()
    (home / "secret.jsonl").write_text('{"prompt": "the secret of the machine"}\n' * 5)
    (home / "data" / "rows.jsonl").write_text('{"prompt": "what anybody may know"}\n' * 5)
    (home / "data" / "out.jsonl").symlink_to(home / "secret.jsonl")
    return home


@pytest.fixture(scope="module")
def service(folder: Path, sim: Server) -> Iterator[Service]:
    """A service that may load 127.0.0.1 alone."""
    flags = ("--allow-target", "127.0.0.1/32", "--ready-timeout", "1", "--queue-limit", "50")
    with Service(folder / "data", *flags, TMPDIR=str(folder / "tmp"), OPENAI_API_KEY="") as made:
        yield made
        assert made.stop() == 0


def plan(**settings: Any) -> dict[str, Any]:
    return {"kind": "bench", "plan": {**OK, **settings}}


def load(**keys: Any) -> dict[str, Any]:
    return {**LOAD, **keys}


def sweep(**more: Any) -> dict[str, Any]:
    return {"kind": "sweep", "sweep": {"plan": {"model": "m"}, **more}}


RUNS, START = "/runs", "/start-load"
BAD: dict[str, tuple[str, Any, int, str | None]] = {
    "no JSON": (RUNS, b"{", 400, None),
    "UTF-16": (RUNS, json.dumps(plan()).encode("utf-16"), 400, None),
    "5,000 levels": (RUNS, DEEP.encode(), 400, None),
    "NaN": (RUNS, b'{"kind": "bench", "plan": {"request_rate": NaN}}', 400, None),
    "half a surrogate pair": (RUNS, b'{"kind": "bench", "label": "\\ud800", "plan": {}}', 400, None),
    "a field twice": (RUNS, b'{"kind": "bench", "kind": "sweep"}', 400, None),
    "a list": (RUNS, [], 400, None),
    "a kind that there is not": (RUNS, {"kind": "shell", "shell": "id"}, 400, "kind"),
    "a field that there is not": (RUNS, {**plan(), "cwd": "/"}, 400, "cwd"),
    "a setting that there is not": (RUNS, plan(shell="id"), 400, "shell"),
    "a setting of another type": (RUNS, plan(num_prompts={"$gt": 1}), 400, "num_prompts"),
    "a flag as a key": (START, load(**{"--record": "/etc/cron.d/x"}), 400, "--record"),
    "a flag as a value": (START, load(metadata=["--record=/tmp/x"]), 400, "metadata"),
    "deep JSON in a text": (START, load(profile="vllm-2026", extra_body=DEEP), 400, None),
    "deep Python in a text": (START, load(profile="vllm-2026", random_mm_bucket_config="-" * 50_000 + "1"), 400, None),
    "no scheme": (RUNS, plan(base_url="127.0.0.1:8000"), 400, "base_url"),
    "file://": (RUNS, plan(base_url="file:///etc/passwd"), 400, "base_url"),
    "a user in a URL": (START, load(base_url="http://u:p@127.0.0.1:1"), 400, "base_url"),
    "CR LF in a URL": (RUNS, plan(base_url="http://127.0.0.1:1/\r\nX: y"), 400, "base_url"),
    "CR LF in a header": (RUNS, plan(headers={"X-A": "b\r\nX-C: d"}), 400, "headers"),
    "an endpoint that moves the host": (START, load(endpoint="@10.0.0.1/"), 400, "endpoint"),
    "metadata of the cloud": (RUNS, plan(base_url="http://169.254.169.254"), 403, "base_url"),
    "the same in IPv6": (RUNS, plan(base_url="http://[::ffff:169.254.169.254]"), 403, "base_url"),
    "the same as a number": (START, load(host="2852039166", port=80), 403, "base_url"),
    "another machine": (RUNS, plan(base_url="http://10.0.0.1:8000"), 403, "base_url"),
    "the second of two servers": (RUNS, plan(base_url=["http://127.0.0.1:1", "http://10.0.0.1"]), 403, "base_url"),
    "metrics elsewhere": (
        RUNS, sweep(setups=[{"name": "a", "url": "http://127.0.0.1:1", "metrics": ["http://10.0.0.1/"]}]), 403, "base_url",
    ),
    "/etc/passwd": (START, load(dataset_name="sharegpt", dataset_path="/etc/passwd"), 403, "dataset_path"),
    "dots": (RUNS, plan(dataset_name="custom", dataset_path="../secret.jsonl"), 403, "dataset_path"),
    "a symlink": (RUNS, plan(dataset_name="custom", dataset_path="out.jsonl"), 403, "dataset_path"),
    "/proc/self/environ": (RUNS, plan(tokenizer="/proc/self/environ"), 403, "tokenizer"),
    "a key file in a sweep": (
        RUNS, sweep(setups=[{"name": "a", "url": "http://127.0.0.1:1", "plan": {"api_key_file": "/etc/shadow"}}]), 400,
        "api_key_file",
    ),
    "a key file": (RUNS, plan(api_key_file="/etc/shadow"), 400, "api_key_file"),
    "a result over job.json": (START, load(result_filename="job.json"), 400, "result_filename"),
    "a result elsewhere": (START, load(result_filename="../../x.json"), 400, "result_filename"),
    "a simulator that writes": (RUNS, {"kind": "bench", "plan": {"simulator": {"truth": "x"}}}, 400, "simulator"),
    "a simulator for others": (RUNS, {"kind": "bench", "plan": {"simulator": {"host": "0.0.0.0"}}}, 400, "simulator"),
    "a sweep that runs a program": (RUNS, sweep(setups=[{"name": "a", "command": "id {port}"}]), 400, "setups"),
    "a sweep over Ray": (RUNS, sweep(setups=[{"name": "a", "ray_serve": "/etc/passwd"}]), 400, "setups"),
    "10^20 runs": (
        RUNS,
        sweep(setups=[{"name": "a", "url": "http://127.0.0.1:1"}], axes={f"a{i}": list(range(100)) for i in range(10)}),
        400, "axes",
    ),
    "too many prompts": (START, load(num_prompts=10**9), 400, "num_prompts"),
    "too long": (RUNS, plan(duration="10000h", request_rate=1), 400, "duration"),
    "too many at once": (RUNS, plan(max_concurrency=10**8), 400, "max_concurrency"),
    "a prompt of 10^9 tokens": (START, load(random_input_len=10**9), 400, "random_input_len"),
    "a secret in the body": (RUNS, plan(extra_body={"api_key": SECRET}), 400, "extra_body"),
    "a label of two lines": (RUNS, {**plan(), "label": "a\nqueued b"}, 400, "label"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_bad_payload_is_answered_in_one_line_with_the_field(what, service):
    path, body, status, field = BAD[what]
    answer = service.post(path, body)
    found = answer.json()
    assert (answer.status, found["field"]) == (status, field), found
    assert set(found) == {"error", "field"}
    assert "\n" not in found["error"]
    assert "Traceback" not in found["error"]
    assert SECRET not in found["error"]


def test_bad_payloads_leave_no_run_behind(service):
    found = service.get("/runs").json()
    assert (found["runs"], found["total"], found["queue"]) == ([], 0, [])


# ---- who asks ----


def test_who_has_not_the_token_gets_nothing_but_probes_and_the_empty_page(tmp_path):
    with Service(tmp_path / "data", VLLMPERF_TOKEN=TOKEN) as service:
        named = {"Authorization": f"Bearer {TOKEN}"}
        for path in (
            "/runs",
            "/metrics",
            "/schema",
            "/events",
            "/compare?a=1&b=2",
            "/runs/x/files/../../job.json",
        ):
            assert service.get(path).status == 401
            assert service.get(path, Authorization="Bearer wrong").status == 401
        assert service.post("/runs", plan()).status == 401
        assert service.delete("/runs/x").status == 401
        assert service.get("/runs", **named).status == 200
        assert service.get("/healthz").status == service.get("/").status == 200
        log = service.log.read_text()
    assert TOKEN not in log


def test_a_service_for_others_does_not_start_without_a_token(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "VLLMPERF_TOKEN"}
    words = [
        sys.executable,
        "-m",
        "vllmperf",
        "serve",
        "--host",
        "0.0.0.0",
        "--port",
        "0",
        "--data",
        str(tmp_path),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("vllmperf: error: --host 0.0.0.0 is open to others: set VLLMPERF_TOKEN")
    assert done.stderr.count("\n") == 1


# ---- where runs go ----


class Elsewhere(BaseHTTPRequestHandler):
    """Sends everything on to `place`, or takes note of it."""

    def do_GET(self) -> None:
        server: Any = self.server
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server.seen.append(f"{self.command} {self.path}")
        self.send_response(307 if server.place else 200)
        if server.place:
            self.send_header("Location", server.place + self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serving() -> Iterator[Callable[..., Any]]:
    servers: list[ThreadingHTTPServer] = []

    def make(host: str, place: str = "", handler: Any = Elsewhere) -> Any:
        server: Any = ThreadingHTTPServer((host, 0), handler)
        server.daemon_threads = True
        server.place, server.seen = place, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_redirect_leads_no_run_to_a_server_that_is_not_allowed(service, serving, model, folder):
    forbidden = serving("127.0.0.2")
    place = f"http://127.0.0.2:{forbidden.server_port}"
    sender = serving("127.0.0.1", place)
    for path, body in (
        (START, load(port=sender.server_port, num_prompts=3, tokenizer=str(_copied(model, folder)))),
        (RUNS, plan(base_url=f"http://127.0.0.1:{sender.server_port}", num_prompts=3, max_concurrency=1)),
    ):
        found = service.ended(service.started(path, body))
        assert found["phase"] == "failed", found
        assert found["error"]
        assert "\n" not in found["error"]
    assert {"POST /v1/completions"} <= set(sender.seen)
    assert forbidden.seen == []


def _copied(model: Path, folder: Path) -> Path:
    """The model's folder within the data folder."""
    import shutil

    place = folder / "data" / "models" / "m"
    if not place.exists():
        shutil.copytree(model, place)
    return place


def test_a_name_counts_by_the_addresses_that_it_has(folder, serving, tmp_path):
    forbidden = serving("127.0.0.1")
    with Service(tmp_path / "data", "--allow-target", "127.0.0.2/32") as service:
        answer = service.post(RUNS, plan(base_url=f"http://localhost:{forbidden.server_port}"))
    assert answer.status == 403
    assert answer.json()["error"].startswith(f"localhost:{forbidden.server_port} (127.0.0.1")
    assert forbidden.seen == []


# ---- which files ----


def test_a_file_that_becomes_a_symlink_after_the_check_is_not_read(service, sim, folder):
    if not _kernel_holds_files():
        pytest.skip("this kernel has no Landlock")
    trap = folder / "data" / "trap.jsonl"
    trap.write_text((folder / "data" / "rows.jsonl").read_text())
    url = {"base_url": sim.url, "model": "sim"}
    first = service.started(
        RUNS, plan(**url, num_prompts=None, duration="60s", max_concurrency=1, output_len=2)
    )
    second = service.started(
        RUNS, plan(**url, dataset_name="custom", dataset_path="trap.jsonl", num_prompts=2)
    )
    trap.unlink()
    trap.symlink_to(folder / "secret.jsonl")
    service.delete(f"/runs/{first}")
    found = service.ended(second)
    assert found["phase"] == "failed"
    assert "Permission denied" in found["error"]


def _kernel_holds_files() -> bool:
    code = "import sys; from vllmperf.service.guard.cell import landlock; sys.exit(not landlock([], []))"
    return subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_the_files_of_a_run_are_its_own_and_links_out_are_none_of_them(service, sim, folder):
    run = service.ended(
        service.started(RUNS, plan(base_url=sim.url, model="sim", num_prompts=3, max_concurrency=1))
    )
    place = folder / "data" / "runs" / run["id"]
    (place / "leak.txt").symlink_to(folder / "secret.jsonl")
    names = (
        "leak.txt",
        "../../rows.jsonl",
        "%2e%2e/%2e%2e/rows.jsonl",
        "/etc/passwd",
        "job.json",
        "..%5c..%5cx",
        "%00",
    )
    for name in names:
        answer = service.get(f"/runs/{run['id']}/files/{name}")
        assert answer.status in (400, 404), name
        assert b"know" not in answer.data
        assert b"secret of the machine" not in answer.data
    for run_id in ("..", "%2e%2e", "../..", run["id"] + "/../" + run["id"]):
        assert service.get(f"/runs/{run_id}/result").status in (200, 404)


# ---- secrets ----


class Echo(Elsewhere):
    """Refuses everything and says the key back."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.dumps({"error": {"message": f"invalid key {self.headers.get('Authorization')}"}}).encode()
        self.send_response(401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815


@pytest.mark.parametrize("kind", ["bench", "start-load"])
def test_a_secret_stands_in_no_file_no_log_and_no_answer(kind, service, serving, model, folder):
    server = serving("127.0.0.1", handler=Echo)
    if kind == "bench":
        body = plan(
            base_url=f"http://127.0.0.1:{server.server_port}",
            api_key=SECRET,
            num_prompts=3,
            max_concurrency=1,
        )
        path = RUNS
    else:
        body = load(
            port=server.server_port, profile="vllm-2026", header=[f"Authorization=Bearer {SECRET}"], num_prompts=3,
            tokenizer=str(_copied(model, folder)), save_detailed=True,
        )  # fmt: skip
        path = START
    run = service.ended(service.started(path, body))
    seen = [json.dumps(service.run(run["id"])), service.get("/runs").data.decode(), service.log.read_text()]
    assert not any(SECRET in text for text in seen)
    leaks = [
        file
        for file in (folder / "data").rglob("*")
        if file.is_file() and SECRET.encode() in file.read_bytes()
    ]
    assert leaks == []


# ---- how much ----


def test_an_oversized_body_is_refused_and_not_kept_in_memory(service):
    before = _rss_kib(service)
    big = json.dumps(plan(prompt_salt="x" * (5 << 20))).encode()
    answer = service.post(RUNS, big)
    assert (answer.status, answer.json()["error"]) == (413, "the body is longer than 1048576 bytes")
    for _ in range(5):
        chunked = service._http.request(
            "POST", service.url + RUNS, body=iter([b"x" * (1 << 20)] * 20), chunked=True,
            headers={"Content-Type": "application/json"},
        )  # fmt: skip
        assert chunked.status == 413
    assert _rss_kib(service) - before < 64 << 10


def _rss_kib(service: Service) -> int:
    for line in Path(f"/proc/{service.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


MALFORMED = (
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 300,
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
    b"POST /runs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /runs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"POST /runs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x",
    b"POST /runs HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /\x00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /%00%ff%fe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET http://10.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"CONNECT 10.0.0.1:443 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"TRACE / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
)


@pytest.mark.parametrize("raw", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_http_is_refused_and_the_service_still_serves(raw, service):
    host, _, port = service.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        try:
            answer = connection.recv(65536)
        except ConnectionResetError:
            answer = b""
    assert answer == b"" or answer.split()[1][:1] in (b"2", b"4"), answer
    assert service.is_up


def test_a_thousand_requests_at_once_are_all_answered_and_it_still_serves(service):
    host, _, port = service.url.removeprefix("http://").partition(":")
    body = json.dumps(plan(base_url="http://10.0.0.1")).encode()
    post = (
        f"POST /runs HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    get = f"GET /runs HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()

    async def one(number: int) -> bytes:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(post if number % 2 else get)
        answer = await reader.read()
        writer.close()
        return answer.split()[1]

    async def all_of_them() -> list[bytes]:
        return await asyncio.gather(*map(one, range(1000)))

    statuses = asyncio.run(all_of_them())
    assert {status: statuses.count(status) for status in set(statuses)} == {b"200": 500, b"403": 500}
    assert service.is_up
    assert _rss_kib(service) < 400 << 10


def test_what_is_written_elsewhere_is_refused_by_the_kernel(tmp_path):
    """The cell by itself: landlock() holds for good, so it is tried in a process of its own."""
    if not _kernel_holds_files():
        pytest.skip("this kernel has no Landlock")
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").write_text("x")
    code = f"""
import os
from pathlib import Path
from vllmperf.service.guard.cell import landlock
own = Path({str(tmp_path)!r})
assert landlock([Path("/usr")], [own / "in"])
(own / "in" / "y").write_text("y")
for act in (lambda: (own / "out" / "x").read_text(), lambda: (own / "out" / "y").write_text("y"),
            lambda: (own / "out" / "x").unlink(), lambda: os.symlink("x", own / "out" / "z"), lambda: os.listdir(own)):
    try:
        act()
    except PermissionError:
        print("refused")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["refused"] * 5, done.stderr
    assert (tmp_path / "in" / "y").read_text() == "y"
