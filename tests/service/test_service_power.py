"""The worker's `power` lines: what the GPUs draw together, their limit, and the energy of the run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from serving import Service

from vllmperf.service.power import PowerWatch
from vllmperf.sim import Server

PAGE = """DCGM_FI_DEV_POWER_USAGE{gpu="0"} 612.5
DCGM_FI_DEV_POWER_USAGE{gpu="1"} 601.5
"""


@pytest.fixture
def exporter() -> Iterator[str]:
    """The URL of a page like that of DCGM's exporter."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(PAGE.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/metrics"
    server.shutdown()
    thread.join()
    server.server_close()


def watch(**settings):
    return PowerWatch(list, **settings)


def test_power_and_limits_are_summed_and_energy_is_the_counters_rise():
    made = watch()
    first = [("0", "power_w", 600.0), ("0", "limit_w", 700.0), ("0", "energy_j", 1e6)]
    second = [("1", "power_w", 500.0), ("1", "limit_w", 700.0), ("1", "energy_j", 5e6)]
    assert made.taken([*first, *second], 10.0)["energy_joules"] == 0.0
    later = [(gpu, name, value + 5500 * (name == "energy_j")) for gpu, name, value in (*first, *second)]
    assert made.taken(later, 20.0) == {
        "event": "power",
        "watts": 1100.0,
        "limit_watts": 1400.0,
        "energy_joules": 11000.0,
    }


def test_without_a_counter_power_is_integrated():
    made = watch(tdp_w=700.0)
    made.taken([("0", "power_w", 600.0)], 10.0)
    assert made.taken([("0", "power_w", 400.0)], 15.0)["energy_joules"] == pytest.approx(2000.0)


def test_without_a_limit_of_every_gpu_there_is_none():
    two = [("0", "power_w", 600.0), ("0", "limit_w", 700.0), ("1", "power_w", 600.0)]
    assert "limit_watts" not in watch().taken(two, 1.0)
    assert watch(tdp_w=350.0).taken(two, 1.0)["limit_watts"] == 1050.0


def test_a_page_without_gpus_is_no_line():
    assert watch().taken([("0", "energy_j", 1.0)], 1.0) is None


@pytest.mark.parametrize(("kind", "place"), [("bench", "plan"), ("stress", "stress")])
def test_a_run_that_names_dcgms_exporter_has_the_watts_in_the_metrics_while_it_goes(
    service: Service, simulator: Server, exporter: str, kind: str, place: str
) -> None:
    settings = {
        "base_url": simulator.url, "model": "org/model", "tokenizer": "none", "num_prompts": 6000, "request_rate": 10,
        "dataset_name": "random", "input_len": 20, "output_len": 2, "power": f"dcgm={exporter}", "gpu_tdp": 700,
    }  # fmt: skip
    run_id = service.started("/runs", {"kind": kind, place: settings})

    def watts() -> list[str]:
        return [
            line.rpartition(" ")[2]
            for line in service.get("/metrics").data.decode().splitlines()
            if line.startswith(("vllmperf_gpu_power_watts", "vllmperf_gpu_power_limit_watts"))
        ]

    service.wait(lambda: len(watts()) == 2, "the metrics have power and limit")
    assert list(map(float, watts())) == [1214.0, 1400.0]
    service.delete(f"/runs/{run_id}")
    assert service.ended(run_id)["phase"] == "cancelled"
    assert watts() == []
