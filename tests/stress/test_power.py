"""Watts of GPUs beside a run: from DCGM's exporter, Prometheus and files, and what a request took of them."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

import vllmperf as vp
from vllmperf.errors import UsageError
from vllmperf.metrics.power import power
from vllmperf.record.samples import BEFORE_NS, add_samples, in_run_ns
from vllmperf.report.power import facts
from vllmperf.scrape.power import Power, of_file, of_range, readings

PAGE = """# HELP DCGM_FI_DEV_POWER_USAGE Power draw (in W).
# TYPE DCGM_FI_DEV_POWER_USAGE gauge
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-a",device="nvidia0",modelName="NVIDIA H100 80GB HBM3",Hostname="node1"} 612.5
DCGM_FI_DEV_POWER_USAGE{gpu="1",UUID="GPU-b",device="nvidia1",modelName="NVIDIA H100 80GB HBM3",Hostname="node1"} 601.5
# HELP DCGM_FI_DEV_POWER_MGMT_LIMIT Power limit (in W).
# TYPE DCGM_FI_DEV_POWER_MGMT_LIMIT gauge
DCGM_FI_DEV_POWER_MGMT_LIMIT{gpu="0",UUID="GPU-a",Hostname="node1"} 700
DCGM_FI_DEV_POWER_MGMT_LIMIT{gpu="1",UUID="GPU-b",Hostname="node1"} 700
# HELP DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION Total energy (in mJ).
# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu="0",UUID="GPU-a",Hostname="node1"} 5000000
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu="1",UUID="GPU-b",Hostname="node1"} 6000000
"""


@pytest.fixture
def pages():
    """A server of pages by path; what is not there is 404."""
    found: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = found.get(self.path.partition("?")[0])
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write((body or "").encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found["url"] = f"http://127.0.0.1:{server.server_port}"
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def loaded():
    with vp.sim.Server(ttft_ms=5, itl_ms=1) as server:
        yield server


SHORT = {"num_prompts": 10, "max_concurrency": 2, "output_len": 4}


def with_samples(server, tmp_path, rows, **settings):
    """A run with these samples: (ns, GPU, name, value)."""
    run = vp.bench(server, record=tmp_path / "run", **SHORT, **settings)
    add_samples(run.path, [(at, f"gpu {gpu}", name, value) for at, gpu, name, value in rows])
    return vp.open_run(run.path).summary


# ---- sources ----


def test_a_page_of_dcgm_gives_watts_limits_and_joules_of_each_gpu():
    found = {(one.gpu, one.name): one.value for one in readings(PAGE)}
    assert found["node1 0", "power_w"] == 612.5
    assert found["node1 1", "limit_w"] == 700
    assert found["node1 1", "energy_j"] == 6000


def test_a_range_of_prometheus_gives_each_series_as_a_gpu():
    series = {"metric": {"gpu": "3"}, "values": [[100, "500"], [105.0, "NaN"], [110, "510.5"]]}
    assert of_range({"data": {"result": [series]}}) == [(100.0, "3", 500.0), (110.0, "3", 510.5)]
    with pytest.raises(ValueError, match="query_range"):
        of_range({"status": "error"})


@pytest.mark.parametrize(
    "text",
    [
        "time,watts,gpu\n1000,500,0\n1001.5,510,0\n",
        "Timestamp, Power_W, index\n1970-01-01T00:16:40Z, 500, 0\n1970-01-01T00:16:41.5Z, 510, 0\n",
        '{"time": 1000, "watts": 500, "gpu": 0}\n\n{"time": 1001.5, "watts": 510, "gpu": 0}\n',
    ],
)
def test_a_file_is_csv_or_json_lines_of_time_and_watts(tmp_path, text):
    (tmp_path / "watts").write_text(text)
    assert of_file(tmp_path / "watts") == [(1000.0, "0", 500.0), (1001.5, "0", 510.0)]


@pytest.mark.parametrize("text", ["time,volts\n1,2\n", "time,watts\nnoon,3\n", '{"time": 3}\n'])
def test_a_file_without_time_and_watts_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "watts").write_text(text)
    with pytest.raises(UsageError, match="needs time and watts"):
        of_file(tmp_path / "watts")


@pytest.mark.parametrize("given", ["dcgm", "dcgm=node:9400", "nvml=http://a", "file=", 5])
def test_other_sources_are_refused(given):
    with pytest.raises(UsageError, match="dcgm=URL, prometheus=URL"):
        vp.bench("http://127.0.0.1:9", power=given)


def test_a_query_of_prometheus_may_have_commas_in_it():
    power = Power.of("prometheus=http://p:9090,query=sum(a{b='c',d='e'}) by (gpu)")
    assert (power.where, power.query) == ("http://p:9090", "sum(a{b='c',d='e'}) by (gpu)")


# ---- beside a run ----


def test_dcgm_is_asked_before_and_during_a_run(loaded, pages, tmp_path):
    pages["/metrics"] = PAGE
    run = vp.bench(loaded, record=tmp_path / "run", power=f"dcgm={pages['url']}/metrics", **SHORT)
    found = run.summary["power"]
    assert (found["mean_w"], found["max_w"], found["idle_w"]) == (1214, 1214, 1214)
    assert [one["gpu"] for one in found["gpus"]] == ["node1 0", "node1 1"]
    assert found["limit_w_per_gpu"] == 700
    assert found["energy_j"] == pytest.approx(1214 * run.summary["duration_s"])
    assert found["j_per_output_token"] == pytest.approx(found["energy_j"] / 40)


def test_an_exporter_that_is_not_there_leaves_a_run_without_power(loaded, pages, tmp_path):
    run = vp.bench(loaded, record=tmp_path / "run", power=f"dcgm={pages['url']}/metrics", **SHORT)
    assert run.summary["power"] is None
    assert run.summary["requests"]["completed"] == 10


def test_prometheus_is_asked_at_the_end_for_the_time_of_the_run(loaded, pages, tmp_path):
    now = time.time()
    values = [[now - 20, "90"], *([now + i / 100, "350"] for i in range(1, 2000))]
    pages["/api/v1/query_range"] = json.dumps(
        {"data": {"result": [{"metric": {"gpu": "0"}, "values": values}]}}
    )
    run = vp.bench(loaded, record=tmp_path / "run", power=f"prometheus={pages['url']}", gpu_tdp=700, **SHORT)
    found = run.summary["power"]
    assert (found["mean_w"], found["idle_w"], found["share_of_limit"]) == (350, 90, 0.5)


def test_a_source_without_the_time_of_the_run_is_said_and_ends_nothing(loaded, tmp_path, capsys):
    (tmp_path / "watts.csv").write_text("time,watts\n1000,500\n")
    run = vp.bench(loaded, record=tmp_path / "run", power=f"file={tmp_path}/watts.csv", **SHORT)
    assert run.summary["power"] is None
    assert "nothing of the time of the run" in capsys.readouterr().err


def test_the_memory_of_the_client_is_sampled_in_long_runs(loaded, tmp_path):
    run = vp.bench(loaded, record=tmp_path / "run", report_interval=1, **SHORT)
    assert run.recording.samples["client", "rss_bytes"][0, 1] > 1e6


def test_an_instant_of_a_break_is_in_no_time_of_the_run():
    meta = {"counters": {"start_real_ns": 1000}, "breaks": [{"at_ns": 50, "break_ns": 100}]}
    assert [in_run_ns(at, meta) for at in (900, 1050, 1051, 1149, 1150, 1200)] == [
        BEFORE_NS,
        50,
        None,
        None,
        50,
        100,
    ]


# ---- figures ----

S = 1_000_000_000


def test_energy_comes_from_the_counters_where_all_gpus_have_one(loaded, tmp_path):
    rows = [(0, "0", "power_w", 100.0), (1000, "0", "power_w", 100.0)]
    counter = [(0, "0", "energy_j", 50.0), (2 * S, "0", "energy_j", 290.0)]
    summary = with_samples(loaded, tmp_path, rows + counter)
    found = summary["power"]
    assert found["energy_from"] == "counter"
    assert found["energy_j"] == pytest.approx(120 * summary["duration_s"])
    assert found["mean_w"] == 100


def test_a_counter_that_began_anew_is_left_out(loaded, tmp_path):
    rows = [(0, "0", "power_w", 100.0)]
    values = [(0, 1000.0), (S, 1100.0), (2 * S, 5.0), (3 * S, 105.0)]
    counter = [(at, "0", "energy_j", value) for at, value in values]
    summary = with_samples(loaded, tmp_path, rows + counter)
    assert summary["power"]["energy_j"] == pytest.approx(100 * summary["duration_s"])


def test_the_highest_power_is_that_of_all_gpus_at_one_time(loaded, tmp_path):
    rows = [
        (0, "0", "power_w", 700.0),
        (0, "1", "power_w", 300.0),
        (S, "0", "power_w", 300.0),
        (S, "1", "power_w", 650.0),
    ]
    found = with_samples(loaded, tmp_path, rows)["power"]
    assert (found["max_w"], found["max_w_per_gpu"]) == (1000, 700)


@pytest.mark.parametrize(
    ("watts", "idle", "rise"),
    [
        (350.0, None, [2.0, 2.0]),
        (350.0, 100.0, [2.0, 2.4]),
        (680.0, 100.0, None),
        (120.0, 110.0, [700 / 120, 700 / 120]),
    ],
)
def test_how_far_the_rate_may_rise_follows_from_the_power_above_idle(loaded, tmp_path, watts, idle, rise):
    before = [] if idle is None else [(BEFORE_NS, "0", "power_w", idle)]
    summary = with_samples(loaded, tmp_path, [*before, (0, "0", "power_w", watts)], gpu_tdp=700)
    assert summary["power"]["rate_may_rise_by"] == (rise if rise is None else pytest.approx(rise))


def test_the_report_says_power_energy_and_the_share_of_the_limit(loaded, tmp_path):
    rows = [(BEFORE_NS, "0", "power_w", 100.0), (0, "0", "power_w", 350.0)]
    summary = with_samples(loaded, tmp_path, rows, gpu_tdp=700)
    said = dict(facts({**summary, "plan": {"request_rate": 12}}))
    assert said["power"].startswith("350 W on average, 350 W at most")
    assert "J a request" in said["energy"]
    assert "50 % of 700 W a GPU: not near it" in said["power limit"]
    assert "2 to 2.4 times this rate, to about 24" in said["power limit"].replace("2.0 ", "2 ")


def test_a_run_without_samples_has_no_power(loaded):
    assert vp.bench(loaded, **SHORT).summary["power"] is None
    assert power is not None
