"""A real Prometheus that scrapes a real `vllmperf serve` with runs going on, simulators, and the exporters beside them; and
dashboards asked of it as Grafana asks. `python rig.py 60` lets it scrape for a minute and prints a table of the panels.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

sys.path.append(str(Path(__file__).parents[1]))  # for whoever runs this file itself

import parts
from exporters import dcgm, exporter, kube_state_metrics, vllm_v0
from serving import Service

from vllmperf.sim import Server

MODEL = "sim"
WAIT_S = 120
BUILT_IN = {"__rate_interval": "8s", "__range": "30s", "__interval": "1s"}
"""What Grafana sets them to by the scrape interval (here 1 s) and the time range."""


# ---- the parts ----


@dataclass
class Rig:
    prometheus: str
    service: str
    data: Path

    def ask(self, path: str, **query: str) -> Any:
        """A query of Prometheus's API; its data."""
        with urllib.request.urlopen(
            f"{self.prometheus}/api/v1/{path}?{urlencode(query)}", timeout=30
        ) as answer:
            return json.load(answer)["data"]

    def has(self, expr: str) -> int:
        """How many series with a number in them a query gave in the last seconds, as a panel would draw it."""
        now = time.time()
        found = self.ask("query_range", query=expr, start=f"{now - 10}", end=f"{now}", step="1")["result"]
        return sum(any(math.isfinite(float(value)) for _, value in one["values"]) for one in found)


@contextlib.contextmanager
def rig(folder: Path) -> Iterator[Rig]:
    data = folder / "data"
    (data / "starts").mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        simulators = {
            "vllm": {"replicas": 2, "max_num_seqs": 8},
            "ray": {"replicas": 2, "metrics": "ray"},
        }
        sims = {
            name: stack.enter_context(
                Server(mode="batching", model=MODEL, faults=["status:code=500@every=20"], **settings)
            )
            for name, settings in simulators.items()
        }
        measure_a_start(data / "starts" / "today.json")
        service = stack.enter_context(served(data))
        addresses = {
            "vllmperf": service,
            **{name: sim.url for name, sim in sims.items()},
            "v0": stack.enter_context(exporter(vllm_v0)),
            "dcgm": stack.enter_context(exporter(dcgm)),
            "kube-state-metrics": stack.enter_context(exporter(kube_state_metrics(time.time() - 300))),
        }
        post_run(service, sims["vllm"].url, num_prompts=40, max_concurrency=8, label="short")
        power = {"power": f"dcgm=http://{addresses['dcgm']}/metrics", "gpu_tdp": 700.0}
        for name in ("vllm", "ray"):
            post_run(service, sims[name].url, f"long, {name}", request_rate=25.0, duration=600.0, **power)
        prometheus = stack.enter_context(scraping(folder, addresses))
        yield Rig(prometheus, service, data)


def measure_a_start(file: Path) -> None:
    """What `vllmperf startup` measures of a simulator that starts like vLLM, at a tenth of its time."""
    simulator = (
        f"{sys.executable} -m vllmperf sim --port {free_port()} --startup-log - --startup time_scale=0.05"
    )
    command = [
        sys.executable,
        "-m",
        "vllmperf",
        "startup",
        "--quiet",
        "--no-first-token",
        "--json",
        str(file),
    ]
    command += ["--timeout", f"{WAIT_S}s"]
    subprocess.run([*command, "--command", simulator], check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def served(data: Path) -> Iterator[str]:
    """vllmperf serve; gives its URL."""
    with Service(data, "--parallel-runs=3") as service:
        yield service.url
        service.process.terminate()  # the one at the end cuts what is in flight


def post_run(service: str, target: str, label: str, **settings: Any) -> None:
    plan = {
        "base_url": target,
        "model": MODEL,
        "dataset_name": "random",
        "input_len": 64,
        "output_len": 16,
        **settings,
    }
    body = json.dumps({"kind": "bench", "label": label, "plan": plan}).encode()
    request = urllib.request.Request(f"{service}/runs", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 202


@contextlib.contextmanager
def scraping(folder: Path, addresses: Mapping[str, str]) -> Iterator[str]:
    """Prometheus, each second; what a cluster's service discovery would add is the label namespace. Gives its URL."""
    namespaces = {"vllmperf": "llm", "vllm": "llm", "ray": "ray", "v0": "old"}
    jobs = [
        {
            "job_name": name,
            "honor_labels": True,
            "static_configs": [
                {
                    "targets": [address.removeprefix("http://")],
                    "labels": {"namespace": namespaces[name]} if name in namespaces else {},
                }
            ],
        }
        for name, address in addresses.items()
    ]
    rules = Path(__file__).parents[2] / "deploy" / "prometheus" / "rule-file.yaml"
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": jobs,
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    port, log = free_port(), folder / "prometheus.log"
    with log.open("w", encoding="utf-8") as stderr:
        command = [
            parts.program("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        process = subprocess.Popen(command, stdout=stderr, stderr=stderr)
    try:
        answers(f"http://127.0.0.1:{port}/-/ready")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
        return port


def answers(url: str) -> None:
    """Wait until there is a 200."""
    until = time.monotonic() + WAIT_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            assert time.monotonic() < until, f"no answer from {url}"
            time.sleep(0.2)


# ---- dashboards, as Grafana asks ----


def values_of(rig: Rig, variable: Mapping[str, Any], chosen: Mapping[str, str]) -> list[str]:
    """What Grafana would offer for a variable of Prometheus: label_values(series, label), through its regex."""
    query = filled(variable["query"]["query"], chosen)
    matched = re.fullmatch(r"label_values\((?P<series>.+), (?P<label>\w+)\)", query)
    assert matched, query
    series = rig.ask("series", **{"match[]": matched["series"]})
    values = sorted({one[matched["label"]] for one in series if matched["label"] in one})
    if variable["regex"]:
        pattern = re.compile(variable["regex"].strip("/"))
        values = sorted({found[1] for value in values if (found := pattern.search(value))})
    return values


def filled(text: str, chosen: Mapping[str, str]) -> str:
    """A query with its variables replaced; longer names first."""
    for name in sorted(chosen, key=len, reverse=True):
        text = text.replace(f"${{{name}}}", chosen[name]).replace(f"${name}", chosen[name])
    return text


def choices(rig: Rig, dashboard: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """A value for every variable: given, all, the first one, or what is typed in."""
    chosen = {**BUILT_IN, **given}
    for variable in dashboard["templating"]["list"]:
        name = variable["name"]
        if name in chosen or variable["type"] == "datasource":
            continue
        if variable["type"] == "textbox":
            chosen[name] = variable["query"]
        elif variable["includeAll"]:
            chosen[name] = variable["allValue"]
        else:
            values = values_of(rig, variable, chosen)
            chosen[name] = max(values) if values else ""
    return chosen


def panels(dashboard: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for panel in dashboard["panels"]:
        yield from panel["panels"] if panel["type"] == "row" else [panel]


def queries(dashboard: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """By panel and number, annotations included."""
    found = {
        (panel["title"], f"{panel['id']}{target['refId']}"): target["expr"]
        for panel in panels(dashboard)
        for target in panel["targets"]
    }
    for mark in dashboard["annotations"]["list"]:
        if "expr" in mark.get("target", {}):
            found[f"annotation: {mark['name']}", "A"] = mark["target"]["expr"]
    return found


@dataclass
class Answers:
    """series: how many each query gave. empty: queries that gave none in all that time."""

    series: dict[tuple[str, str], int] = field(default_factory=dict)
    empty: dict[tuple[str, str], str] = field(default_factory=dict)


def ask_all(
    rig: Rig, dashboard: Mapping[str, Any], wait_s: float = WAIT_S, but: Collection[str] = (), **given: str
) -> Answers:
    """Ask every query until each has given something, those of the panels `but` left aside, or the time is over."""
    found, until = Answers(), time.monotonic() + wait_s
    while True:
        chosen = choices(rig, dashboard, given)
        for key, expr in queries(dashboard).items():
            if not found.series.get(key):
                found.series[key] = rig.has(filled(expr, chosen))
                found.empty[key] = filled(expr, chosen)
        found.empty = {key: expr for key, expr in found.empty.items() if not found.series[key]}
        if {title for title, _ in found.empty} <= set(but) or time.monotonic() > until:
            return found
        time.sleep(1)


def main(seconds: float) -> int:
    import tempfile

    from test_dashboards import DASHBOARDS

    empty = 0
    with tempfile.TemporaryDirectory() as folder, rig(Path(folder)) as made:
        time.sleep(seconds)
        for name, dashboard in DASHBOARDS.items():
            answers = ask_all(made, dashboard, wait_s=0)
            by_panel: dict[tuple[str, str], list[int]] = {}
            for (title, number), n in answers.series.items():
                by_panel.setdefault((title, number[:-1]), []).append(n)
            print(f"{name}: {len(by_panel)} panels and annotations, {len(answers.series)} queries")
            for (title, _), numbers in by_panel.items():
                print(f"  {title:<52} {' '.join(map(str, numbers))}")
            empty += len(answers.empty)
    print(f"queries without data: {empty}")
    return 1 if empty else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
