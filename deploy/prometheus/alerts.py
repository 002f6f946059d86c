"""The alerts that one wants in a run of hours, and the series that they record: rules for Prometheus, by scripts/dashboards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

STEADY = "start-load|bench|stress"
"""Kinds of runs whose load is meant to be even; sweeps, fits and capacity searches change it themselves."""
BY = "namespace, run"
FAILED = 'outcome!~"completed|incomplete"'
COMPLETED_RATE = "namespace_run:vllmperf_requests_completed:rate10m"
FAILED_ABOVE = 0.01
FALLEN_TO = 0.85
LAG_ABOVE_GAPS = 0.5
LATE_ABOVE_TTFT = 0.05


@dataclass(frozen=True, slots=True)
class Record:
    name: str
    expr: str


@dataclass(frozen=True, slots=True)
class Alert:
    """minutes: so long it must hold. what_to_do: sentences for whoever is woken up."""

    name: str
    expr: str
    minutes: int
    severity: str
    summary: str
    what_to_do: str


def _rate(series: str, more: str = "", by: str = BY) -> str:
    return f"sum by ({by}) (rate({series}{more}[10m]))"


def _quantile(q: float, series: str) -> str:
    return f"histogram_quantile({q}, {_rate(series + '_bucket', by=BY + ', le')})"


RECORDS = (Record(COMPLETED_RATE, _rate("vllmperf_requests_total", '{outcome="completed"}')),)

ALERTS = (
    Alert(
        "VllmperfErrors",
        f"""{_rate("vllmperf_requests_total", f"{{{FAILED}}}")}
  / {_rate("vllmperf_requests_total")}
> {FAILED_ABOVE}""",
        5,
        "warning",
        "{{ $value | humanizePercentage }} of the requests of run {{ $labels.run }} fail",
        "Look at the panel 'Requests that ended otherwise than completed' for the outcome. http_error and stream_error: the "
        "server's log has the cause. refused, reset: the server restarted, or a proxy limits connections. first_token_timeout, "
        "stalled: it is overloaded; lower the rate. Above 1 % the latencies are those of another load.",
    ),
    Alert(
        "VllmperfThroughputFalling",
        f"""{COMPLETED_RATE}
  < {FALLEN_TO} * max_over_time({COMPLETED_RATE}[12h])
and on ({BY}) vllmperf_run_phase{{phase="running"}} == 1
and on ({BY}) vllmperf_run_info{{kind=~"{STEADY}"}}
and on ({BY}) time() - vllmperf_run_start_timestamp_seconds > 1200""",
        10,
        "warning",
        "Run {{ $labels.run }} completes {{ $value | humanize }} requests/s, 15 % below its best of the last 12 hours",
        "Compare 'Requests sent and completed': both fell: the schedule or the client; only completed: the server. Then on the "
        "server's dashboard: preemptions and a full KV cache (too many at once), one replica missing, queue growing. On the "
        "GPU's: clock falling (temperature, power limit). On the client's: memory and CPU of the run's process.",
    ),
    Alert(
        "VllmperfClientLag",
        f"""{_quantile(0.99, "vllmperf_client_lag_seconds")}
  > {LAG_ABOVE_GAPS} * {_quantile(0.5, "vllmperf_itl_seconds")}
or
{_quantile(0.99, "vllmperf_schedule_lag_seconds")}
  > {LATE_ABOVE_TTFT} * {_quantile(0.5, "vllmperf_ttft_seconds")}""",
        10,
        "warning",
        "The load generator of run {{ $labels.run }} is {{ $value | humanizeDuration }} late (p99): it does not keep up",
        "Chunks are seen later than half a gap between tokens after they came, or requests leave late: the client may be the "
        "bottleneck, and the verdict will doubt the run. Give the pod more CPU (limits cause throttling), set --threads, or "
        "spread the load over several replicas of the load generator.",
    ),
)


class _Text(str):
    """Written as a block of lines."""


def _block(dumper: yaml.SafeDumper, text: _Text) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")


class _Dumper(yaml.SafeDumper):  # type: ignore[misc, unused-ignore]
    pass


_Dumper.add_representer(_Text, _block)


def groups() -> list[dict[str, Any]]:
    """As Prometheus reads them."""
    records = [{"record": one.name, "expr": one.expr} for one in RECORDS]
    return [
        {"name": "vllmperf.records", "interval": "30s", "rules": records},
        {"name": "vllmperf.alerts", "rules": [_alert(one) for one in ALERTS]},
    ]


def _alert(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": _Text(alert.expr + "\n"),
        "for": f"{alert.minutes}m",
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "description": alert.what_to_do},
    }


def rule_file() -> str:
    """For rule_files of a Prometheus."""
    return _dumped({"groups": groups()})


def prometheus_rule() -> str:
    """For the Prometheus operator."""
    labels = {"app.kubernetes.io/name": "vllmperf", "app.kubernetes.io/component": "alerts"}
    return _dumped(
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": "vllmperf", "labels": labels},
            "spec": {"groups": groups()},
        }
    )


def _dumped(content: dict[str, Any]) -> str:
    head = "# Written by scripts/dashboards from deploy/prometheus/alerts.py: change it there.\n"
    text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    return f"{head}{text}"
