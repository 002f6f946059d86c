"""Which servers a process may reach: the rules, and a process that is held to them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vllmperf.errors import UsageError
from vllmperf.reach import NotAllowedError, Reach, usual


@pytest.mark.parametrize(
    ("rule", "names", "address", "port", "allowed"),
    [
        ("10.1.2.3", [], "10.1.2.3", 80, True),
        ("10.1.2.3", [], "10.1.2.4", 80, False),
        ("10.1.2.3:8000", [], "10.1.2.3", 8001, False),
        ("10.1.2.3:8000-8010", [], "10.1.2.3", 8010, True),
        ("10.0.0.0/8:8000", [], "10.200.0.1", 8000, True),
        ("[fd00::1]:8000", [], "fd00::1", 8000, True),
        ("fd00::/8", [], "fd12::1", 443, True),
        ("localhost:8000", [], "127.0.0.1", 8000, True),
        ("localhost", [], "::1", 1, True),
        ("http://vllm.default.svc:8000/v1", ["vllm.default.svc"], "10.0.0.1", 8000, True),
        ("vllm.default.svc", ["vllm.default.svc"], "10.0.0.1", 8000, True),
        ("VLLM.default.svc.", ["vllm.default.svc"], "10.0.0.1", 8000, True),
        ("vllm.default.svc", ["other.default.svc"], "10.0.0.1", 8000, False),
        ("vllm.default.svc", [], "10.0.0.1", 8000, False),
        ("*.svc:8000", ["a.b.svc"], "10.0.0.1", 8000, True),
        ("*.svc:8000", ["svc"], "10.0.0.1", 8000, False),
        ("*.svc", ["evilsvc"], "10.0.0.1", 8000, False),
        ("*", ["any.where"], "8.8.8.8", 1, True),
        # who answers for a name decides its addresses: never this machine, never metadata
        ("vllm.example", ["vllm.example"], "127.0.0.1", 8000, False),
        ("vllm.example", ["vllm.example"], "169.254.169.254", 80, False),
        ("vllm.example", ["vllm.example"], "::ffff:169.254.169.254", 80, False),
        ("*", [], "169.254.169.254", 80, False),
        ("0.0.0.0/0", [], "169.254.169.254", 80, False),
        ("::/0", [], "fd00:ec2::254", 80, False),
        ("fd00::/8", [], "fd00:ec2::254", 80, False),
        ("100.64.0.0/10", [], "100.100.100.200", 80, False),
        ("169.254.0.0/16", [], "169.254.169.254", 80, True),
        ("169.254.169.254:80", [], "169.254.169.254", 80, True),
        ("169.254.169.254:80", [], "169.254.169.253", 80, False),
        ("127.0.0.0/8", [], "0.0.0.0", 80, False),
        ("*", [], "0.0.0.0", 80, False),
        ("*", [], "::", 80, False),
        # the same address in other clothes
        ("127.0.0.0/8", [], "::ffff:127.0.0.1", 80, True),
        ("10.0.0.0/8", [], "::ffff:8.8.8.8", 80, False),
        ("*", [], "64:ff9b::a9fe:a9fe", 80, False),
        ("*", [], "2002:a9fe:a9fe::1", 80, False),
    ],
)
def test_a_rule_allows_what_it_says_and_no_more(rule, names, address, port, allowed):
    assert Reach.of([rule]).allows(address, port, names) is allowed


@pytest.mark.parametrize(
    "rule", ["a b", "10.0.0.0/33", "10.1:99999", "*svc", "a*.svc", "x:y", "2130706433", "u@host", "h:9-8"]
)
def test_what_is_no_rule_is_refused_with_the_forms_there_are(rule):
    with pytest.raises(UsageError, match=r"^--allow-target '.*' is no target \(.*\): give HOST"):
        Reach.of([rule])


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.96.0.1", True),
        ("192.168.1.1", True),
        ("172.31.0.1", True),
        ("100.64.0.1", True),
        ("127.0.0.1", True),
        ("fd12::1", True),
        ("::1", True),
        ("8.8.8.8", False),
        ("172.32.0.1", False),
        ("2001:db8::1", False),
        ("169.254.169.254", False),
        ("100.100.100.200", False),
        ("fd00:ec2::254", False),
        ("fe80::1", False),
        ("0.0.0.0", False),
    ],
)
def test_a_service_for_others_reaches_the_cluster_alone_unless_told(address, allowed):
    cluster = usual(is_loopback=False)
    assert cluster is not None
    assert cluster.allows(address, 8000) is allowed


def test_a_service_on_loopback_reaches_anything_unless_told():
    assert usual(is_loopback=True) is None


def test_of_several_addresses_those_that_are_not_allowed_are_not_used():
    reach = Reach.of(["10.0.0.0/8"])
    assert reach.checked("h", ["10.0.0.1", "169.254.169.254", "10.0.0.2"], 80) == ["10.0.0.1", "10.0.0.2"]
    with pytest.raises(
        NotAllowedError, match=r"^h:80 \(8.8.8.8\) is not among the targets .*--allow-target$"
    ):
        reach.checked("h", ["8.8.8.8"], 80)


# ---- a process ----

BEGIN = """
import http.server, socket, threading, sys
from vllmperf import reach
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/on":
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.2:{other.server_port}/there")
        else:
            self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    do_POST = do_GET
    def log_message(self, *_): pass
def serve(host):
    server = http.server.ThreadingHTTPServer((host, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
server, other = serve("127.0.0.1"), serve("127.0.0.2")
answers = {}
asked = []
real = socket.getaddrinfo
def look_up(host, port, family=0, type=0, proto=0, flags=0):
    if host in answers:
        asked.append(host)
        return [e for a in answers[host] for e in real(a, port, family, type, proto, flags)]
    return real(host, port, family, type, proto, flags)
socket.getaddrinfo = look_up
def told(call):
    try:
        return repr(call())
    except Exception as error:
        return f"{type(error).__name__}: {error}"
from vllmperf.target import Client
from vllmperf.loadgen import resolve
url = f"http://127.0.0.1:{server.server_port}"
bad = f"http://127.0.0.2:{other.server_port}"
"""


def printed(code: str) -> list[str]:
    """What a process of its own prints: a limit is for good."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BEGIN + code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_process_is_held_to_its_reach_on_every_way_out():
    lines = printed("""
reach.limit(reach.Reach.of(["127.0.0.1/32"]))
print(told(lambda: Client(url).get("/")))
print(told(lambda: Client(bad).get("/")))
print(told(lambda: Client(url, follow=True).get("/on")))
print(told(lambda: socket.create_connection(("127.0.0.2", other.server_port))))
import urllib.request
print(told(lambda: urllib.request.urlopen(bad)))
print(told(lambda: resolve.usable_addresses(bad)))
with socket.socket() as raw:
    print(told(lambda: raw.connect(("localhost", server.server_port))))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
    print(told(lambda: raw.sendto(b"x", ("127.0.0.2", 53))))
print(told(lambda: reach.limit(reach.Reach.of(["*"]))))
""")
    assert lines[0] == "b''"
    assert all("is not among the targets that this service may reach" in line for line in lines[1:8]), lines
    assert lines[8].startswith("RuntimeError")


def test_a_simulator_of_the_process_itself_can_be_reached():
    lines = printed("""
import vllmperf
reach.limit(reach.Reach.of(["10.0.0.0/8"]))
with vllmperf.sim.Server(ttft_ms=1, itl_ms=1) as sim:
    print(told(lambda: len(Client(sim.url).get("/v1/models")) > 0))
    print(told(lambda: Client(sim.url.replace(str(sim.port), str(server.server_port))).get("/")))
run = vllmperf.bench(sim={"ttft_ms": 1, "itl_ms": 1}, num_prompts=3, concurrency=1, input_len=2, output_len=2)
print(run.summary["requests"]["completed"])
""")
    assert lines[0] == "True"
    assert "is not among the targets" in lines[1]
    assert lines[2] == "3"


def test_a_name_is_looked_up_once_and_what_it_means_later_does_not_count():
    lines = printed("""
answers["vllm.test"] = ["127.0.0.1"]
reach.limit(reach.Reach.of(["127.0.0.1/32"]))
name = f"http://vllm.test:{server.server_port}"
print(resolve.addresses(name))
answers["vllm.test"] = ["127.0.0.2"]
print(told(lambda: Client(name).get("/")), resolve.addresses(name), asked)
""")
    assert lines == ["['127.0.0.1']", "b'' ['127.0.0.1'] ['vllm.test']"]


def test_a_name_with_a_forbidden_address_among_others_is_reached_without_that_one():
    lines = printed("""
answers["vllm.test"] = ["127.0.0.2", "127.0.0.1", "169.254.169.254"]
answers["only.test"] = ["169.254.169.254"]
reach.limit(reach.Reach.of(["127.0.0.1/32"]))
print(resolve.addresses("http://vllm.test:80"))
print(told(lambda: resolve.addresses("http://only.test:80")))
print(told(lambda: Client("http://only.test:80").get("/")))
""")
    assert lines[0] == "['127.0.0.1']"
    assert all("169.254.169.254" in line and "is not among the targets" in line for line in lines[1:]), lines


@pytest.mark.parametrize("host", ["2130706434", "0x7f000002", "0177.0.0.2", "127.2", "[::ffff:127.0.0.2]"])
def test_an_address_in_other_clothes_is_the_same_address(host):
    (line,) = printed(f"""
reach.limit(reach.Reach.of(["127.0.0.1/32"]))
print(told(lambda: Client("http://{host}:" + str(other.server_port)).get("/")))
""")
    assert "is not among the targets" in line


def test_a_run_keeps_to_the_reach_too():
    lines = printed("""
from vllmperf import reach as r
from vllmperf.loadgen.session import _engine_of
from vllmperf.loadgen.run import engine_config
from vllmperf.loadgen.schedule import schedule
from vllmperf.loadgen.task import Task
from vllmperf.plan import Plan
def config(url, addresses):
    plan = Plan.of(base_url=url, model="m", max_concurrency=4, num_prompts=4)
    return engine_config(Task(plan), addresses, schedule(plan))
reach.limit(reach.Reach.of(["127.0.0.1:8000"]))
print(told(lambda: _engine_of(config("http://a:8000", ["127.0.0.2"]))))
print(told(lambda: _engine_of(config("http://a:8001", ["127.0.0.1"]))))
print(reach.for_engine(config("http://a:8000", ["127.0.0.1"]))["only_port"])
""")
    assert all(line.startswith("NotAllowedError: a:80") for line in lines[:2]), lines
    assert lines[2] == "8000"


def test_the_hub_is_asked_only_where_it_is_listed():
    assert not Reach.of(["cluster"]).names("huggingface.co", 443)
    assert Reach.of(["cluster", "hub"]).names("huggingface.co", 443)
    assert Reach.of(["hub"]).names("cdn-lfs.huggingface.co", 443)
    assert not Reach.of(["hub"]).names("huggingface.co", 80)
    assert not Reach.of(["hub"]).names("huggingface.co.evil.example", 443)
