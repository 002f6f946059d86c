"""Starts of servers: phases that `vllmperf startup` measured (exported by `vllmperf serve`), and pods by kube-state-metrics."""

from __future__ import annotations

from grafana.dashboard import Dashboard, Mark, Panel, Query, Row, Variable, stat

OF = 'namespace=~"$namespace", start=~"$start"'
POD = 'namespace=~"$namespace", pod=~"$pod"'
CONTAINER = f'{POD}, container=~"$container"'
GREEN, YELLOW, RED = "green", "yellow", "red"

VARIABLES = (
    Variable(
        "namespace",
        "Namespace",
        'label_values({__name__=~"vllmperf_startup_info|kube_pod_created"}, namespace)',
    ),
    Variable(
        "start",
        "Measured start",
        'label_values(vllmperf_startup_info{namespace=~"$namespace"}, start)',
        newest_first=True,
    ),
    Variable("pod", "Pod", 'label_values(kube_pod_created{namespace=~"$namespace"}, pod)'),
    Variable(
        "container",
        "Server's container",
        'label_values(kube_pod_container_state_started{namespace=~"$namespace", pod=~"$pod"}, container)',
    ),
)
CREATED = f"kube_pod_created{{{POD}}}"
STARTED = f"max by (namespace, pod) (kube_pod_container_state_started{{{CONTAINER}}})"


def moment(name: str) -> str:
    return f"kube_pod_{name}{{{POD}}}"


def between(later: str, earlier: str) -> str:
    """Seconds from one moment of a pod to another."""
    return f"max by (namespace, pod) ({later}) - max by (namespace, pod) ({earlier})"


READY = between(moment("status_ready_time"), CREATED)

MEASURED = Row(
    "Measured by vllmperf startup",
    (
        stat(
            "Starts",
            "Measured starts that the service knows of.",
            f"count(vllmperf_startup_info{{{OF}}})",
            width=4,
        ),
        stat(
            "Failed",
            "Of these, those that did not become ready.",
            f"count(vllmperf_startup_info{{{OF}}}) - sum(vllmperf_startup_reached{{{OF}}})",
            width=4,
            steps=((None, GREEN), (1, RED)),
        ),
        stat(
            "Median",
            "From the first known moment to ready.",
            f"quantile(0.5, vllmperf_startup_seconds{{{OF}}})",
            "s",
            width=4,
        ),
        stat("Slowest", "Likewise.", f"max(vllmperf_startup_seconds{{{OF}}})", "s", width=4),
        stat(
            "Longest phase",
            "Which phase takes longest, at the median of the starts: the first to work on.",
            f"topk(1, quantile by (phase) (0.5, vllmperf_startup_phase_seconds{{{OF}}}))",
            "s",
            legend="{{phase}}",
            width=8,
            is_now=True,
        ),
        Panel(
            "Where each start's time went",
            "Phases on the critical path, one after the other (docs/startup.md says what each spans).",
            (Query(f"max by (start, phase) (vllmperf_startup_phase_seconds{{{OF}}})"),),
            "s",
            "barchart",
            16,
            10,
            matrix=("start", "phase"),
        ),
        Panel(
            "Phases, median of the starts",
            "weights_load: faster storage or a streaming loader; compile: keep the compile cache on a volume; graph_capture: "
            "fewer sizes; image_pull: a smaller image or one that is on the node.",
            (
                Query(
                    f"sort_desc(quantile by (phase) (0.5, vllmperf_startup_phase_seconds{{{OF}}}))",
                    "{{phase}}",
                ),
            ),
            "s",
            "bargauge",
            8,
            10,
            ((None, "blue"),),
            0.0,
        ),
    ),
)
PODS = Row(
    "Pods, by kube-state-metrics",
    (
        stat(
            "Ready pods",
            "Of those chosen.",
            f'sum(kube_pod_status_ready{{{POD}, condition="true"}})',
            width=4,
        ),
        stat(
            "Slowest to ready",
            "From created to ready, of the pods that there are now.",
            f"max({READY})",
            "s",
            width=4,
        ),
        stat(
            "Restarts",
            "Of the server's containers in the time range shown. Each restart loads the model again.",
            f"sum(increase(kube_pod_container_status_restarts_total{{{CONTAINER}}}[$__range]))",
            width=4,
            steps=((None, GREEN), (1, RED)),
            decimals=0,
            is_now=True,
        ),
        Panel(
            "From created to ready",
            "The whole time that a new replica needs.",
            (Query(READY, "{{pod}}"),),
            "s",
            "bargauge",
            12,
            8,
            ((None, "blue"),),
            0.0,
        ),
        Panel(
            "Created to scheduled",
            "Above seconds: no node has room, or one is being added.",
            (Query(between(moment("status_scheduled_time"), CREATED), "{{pod}}"),),
            "s",
            width=8,
        ),
        Panel(
            "Scheduled to container started",
            "Volumes, image pull, init containers.",
            (Query(between(STARTED, moment("status_scheduled_time")), "{{pod}}"),),
            "s",
            width=8,
        ),
        Panel(
            "Container started to ready",
            "vLLM's own start: the row above has its phases.",
            (Query(between(moment("status_ready_time"), STARTED), "{{pod}}"),),
            "s",
            width=8,
        ),
    ),
)
STARTUP = Dashboard(
    "vllmperf-startup",
    "vllmperf / Start-up",
    "How long servers take to start, and which phase takes the time.",
    VARIABLES,
    (MEASURED, PODS),
    (
        Mark(
            "Servers ready",
            f"vllmperf_startup_end_timestamp_seconds{{{OF}}} * 1000",
            GREEN,
            "{{start}} ready",
        ),
    ),
)
