"""What the load generator sees: the series of `vllmperf serve` (vllmperf/service/series.py)."""

from __future__ import annotations

from grafana.dashboard import Dashboard, Mark, Panel, Query, Row, Variable, quantiles, stat

OF = 'namespace=~"$namespace", run=~"$run"'
WINDOW = "$__rate_interval"
FAILED = 'outcome!~"completed|incomplete"'
GREEN, YELLOW, RED = "green", "yellow", "red"

VARIABLES = (
    Variable("namespace", "Namespace", "label_values(vllmperf_run_info, namespace)"),
    Variable("model", "Model", 'label_values(vllmperf_run_info{namespace=~"$namespace"}, model)'),
    Variable(
        "run",
        "Run",
        'label_values(vllmperf_run_info{namespace=~"$namespace", model=~"$model"}, run)',
        newest_first=True,
    ),
)
MARKS = (
    Mark("Runs start", f"vllmperf_run_start_timestamp_seconds{{{OF}}} * 1000", GREEN, "{{run}} starts"),
    Mark("Runs end", f"vllmperf_run_end_timestamp_seconds{{{OF}}} * 1000", RED, "{{run}} ends"),
)


def rate(series: str, by: str = "run", more: str = "") -> str:
    return f"sum by ({by}) (rate({series}{{{OF}{more}}}[{WINDOW}]))"


def buckets(series: str) -> str:
    return f"rate({series}_bucket{{{OF}}}[{WINDOW}])"


def latency(title: str, series: str, description: str) -> Panel:
    return Panel(title, description, quantiles(buckets(series), "run", "{{run}}"), "s")


def distribution(title: str, series: str, description: str) -> Panel:
    expr = f"sum by (le) (increase({series}_bucket{{{OF}}}[{WINDOW}]))"
    return Panel(title, description, (Query(expr),), "s", "heatmap", 12, 9)


FAILED_SHARE = f"{rate('vllmperf_requests_total', more=', ' + FAILED)} / {rate('vllmperf_requests_total')}"

NOW = Row(
    "Now",
    (
        stat(
            "Runs going on",
            "Runs that send requests at this moment, in the services chosen.",
            f'sum(vllmperf_run_phase{{{OF}, phase="running"}})',
        ),
        stat(
            "Requests/s",
            "Requests completed per second.",
            f'sum(rate(vllmperf_requests_total{{{OF}, outcome="completed"}}[{WINDOW}]))',
            "reqps",
        ),
        stat(
            "Output tokens/s",
            "Output tokens of completed requests per second.",
            f"sum(rate(vllmperf_output_tokens_total{{{OF}}}[{WINDOW}]))",
            "short",
        ),
        stat(
            "TTFT p99",
            "Time to first token that 99 % of requests did not exceed, all runs chosen together.",
            f"histogram_quantile(0.99, sum by (le) ({buckets('vllmperf_ttft_seconds')}))",
            "s",
        ),
        stat(
            "ITL p99",
            "Time between tokens, likewise.",
            f"histogram_quantile(0.99, sum by (le) ({buckets('vllmperf_itl_seconds')}))",
            "s",
        ),
        stat(
            "In flight",
            "Requests that are sent and have not ended.",
            f"sum(vllmperf_requests_in_flight{{{OF}}})",
        ),
        stat(
            "Failed",
            "Share of requests that ended otherwise than completed. Above 1 % p99 is that of another load.",
            f"sum(rate(vllmperf_requests_total{{{OF}, {FAILED}}}[{WINDOW}])) / "
            f"sum(rate(vllmperf_requests_total{{{OF}}}[{WINDOW}]))",
            "percentunit",
            steps=((None, GREEN), (0.001, YELLOW), (0.01, RED)),
        ),
        stat(
            "Time left",
            "About how long the longest of the runs goes on.",
            f"max(vllmperf_run_time_left_seconds{{{OF}}})",
            "s",
        ),
        Panel(
            "Done",
            "Requests that ended, of those asked for.",
            (
                Query(
                    f"max by (run) (vllmperf_requests_done{{{OF}}}) / max by (run) (vllmperf_requests_asked{{{OF}}} > 0)",
                    "{{run}}",
                ),
            ),
            "percentunit",
            "bargauge",
            12,
            6,
            ((None, "blue"),),
            0.0,
            1.0,
        ),
        Panel(
            "Runs",
            "What each run is: kind, label, model and target.",
            (Query(f"vllmperf_run_info{{{OF}}}"),),
            kind="table",
            width=12,
            height=6,
        ),
    ),
)
LATENCY = Row(
    "Latency",
    (
        latency(
            "Time to first token",
            "vllmperf_ttft_seconds",
            "From sending a request to its first token chunk. Rises first when the server has a queue.",
        ),
        latency(
            "Inter-token latency",
            "vllmperf_itl_seconds",
            "Between token chunks. Rises with the batch; spikes are prefills of other requests, or preemption.",
        ),
        latency(
            "End-to-end latency",
            "vllmperf_e2el_seconds",
            "From sending a request to its last token chunk.",
        ),
        distribution(
            "TTFT distribution",
            "vllmperf_ttft_seconds",
            "Requests by TTFT over time. Two bands: prefix cache hits and misses, or two kinds of prompts.",
        ),
        distribution(
            "ITL distribution",
            "vllmperf_itl_seconds",
            "Token gaps by length over time.",
        ),
    ),
)
THROUGHPUT = Row(
    "Throughput",
    (
        Panel(
            "Requests sent and completed",
            "Sent above completed for minutes: the queue grows, the server cannot carry this rate.",
            (
                Query(rate("vllmperf_requests_sent_total"), "sent {{run}}"),
                Query(rate("vllmperf_requests_total", more=', outcome="completed"'), "completed {{run}}"),
            ),
            "reqps",
        ),
        Panel(
            "Tokens",
            "Counted when their request ends: long answers come in lumps.",
            (
                Query(rate("vllmperf_output_tokens_total"), "output {{run}}"),
                Query(rate("vllmperf_prompt_tokens_total"), "prompt {{run}}"),
            ),
        ),
        Panel(
            "In flight",
            "Requests that are sent and have not ended. In an open loop a line that only rises is a queue without end.",
            (Query(f"sum by (run) (vllmperf_requests_in_flight{{{OF}}})", "{{run}}"),),
        ),
    ),
)
ERRORS = Row(
    "Errors",
    (
        Panel(
            "Requests that ended otherwise than completed",
            "By outcome (docs/endings.md). incomplete: cut off by the end of the run, no error.",
            (
                Query(
                    rate("vllmperf_requests_total", "outcome", ', outcome!="completed"') + " > 0 or "
                    f'sum(rate(vllmperf_requests_total{{{OF}, outcome="incomplete"}}[{WINDOW}]))',
                    "{{outcome}}",
                ),
            ),
            "reqps",
            width=12,
            stacked=True,
        ),
        Panel(
            "Failed share",
            "Of all requests that ended. Above 1 % the alert VllmperfErrors fires.",
            (Query(FAILED_SHARE, "{{run}}"),),
            "percentunit",
            width=12,
            steps=((None, GREEN), (0.01, RED)),
        ),
    ),
)
TRUST = Row(
    "Can the figures be trusted?",
    (
        Panel(
            "Client lag against the typical gap",
            "Time from a chunk's arrival to when we saw it (p99), and the median gap between tokens. Above half a gap the client "
            "is busy: give it more cores or --threads, or split the load (alert VllmperfClientLag).",
            (
                Query(
                    f"histogram_quantile(0.99, sum by (run, le) ({buckets('vllmperf_client_lag_seconds')}))",
                    "lag p99 {{run}}",
                ),
                Query(
                    f"histogram_quantile(0.5, sum by (run, le) ({buckets('vllmperf_itl_seconds')}))",
                    "gap p50 {{run}}",
                ),
            ),
            "s",
        ),
        Panel(
            "Schedule lag",
            "How late requests left by our own fault (p99). Far below TTFT it costs nothing.",
            (
                Query(
                    f"histogram_quantile(0.99, sum by (run, le) ({buckets('vllmperf_schedule_lag_seconds')}))",
                    "{{run}}",
                ),
            ),
            "s",
        ),
        Panel(
            "Coalesced chunks",
            "Token chunks that came in one read with the one before: ITL's percentiles rest on their even split "
            "(docs/coalesced.md).",
            (
                Query(
                    f"{rate('vllmperf_coalesced_chunks_total')} / {rate('vllmperf_chunks_total')}",
                    "{{run}}",
                ),
            ),
            "percentunit",
            steps=((None, GREEN), (0.05, YELLOW)),
        ),
        Panel(
            "Memory of the runs' processes",
            "Does not grow with the length of a run.",
            (Query(f"sum by (run) (vllmperf_worker_memory_bytes{{{OF}}})", "{{run}}"),),
            "bytes",
        ),
        Panel(
            "CPU of the load engine",
            "Cores that the engine's threads use.",
            (Query(rate("vllmperf_worker_cpu_seconds_total"), "{{run}}"),),
            "short",
        ),
        Panel(
            "Verdict",
            "On runs that have ended (docs/verdict.md).",
            (
                Query(
                    f'sum by (run) (vllmperf_verdict{{{OF}, level="caution"}}) + '
                    f'2 * sum by (run) (vllmperf_verdict{{{OF}, level="untrusted"}})',
                    "{{run}}",
                ),
            ),
            kind="stat",
            names=(("0", "trusted", GREEN), ("1", "caution", YELLOW), ("2", "untrusted", RED)),
        ),
    ),
)
ENERGY = Row(
    "Energy (runs that are told where to read power: docs/stress.md)",
    (
        Panel(
            "Power of the GPUs",
            "Draw of all GPUs behind the target, and what they may draw. Far below the limit the load may rise.",
            (
                Query(f"sum by (run) (vllmperf_gpu_power_watts{{{OF}}})", "drawn {{run}}"),
                Query(f"sum by (run) (vllmperf_gpu_power_limit_watts{{{OF}}})", "limit {{run}}"),
            ),
            "watt",
        ),
        Panel(
            "Energy per output token",
            "Now, and of the run so far. Falls while the batch grows; its lowest point is the cheapest load.",
            (
                Query(
                    f"{rate('vllmperf_gpu_energy_joules_total')} / ({rate('vllmperf_output_tokens_total')} > 0)",
                    "now {{run}}",
                ),
                Query(f"max by (run) (vllmperf_energy_per_output_token_joules{{{OF}}})", "so far {{run}}"),
            ),
            "joule",
        ),
        Panel(
            "Energy",
            "That the GPUs used since the run began.",
            (Query(f"sum by (run) (vllmperf_gpu_energy_joules_total{{{OF}}}) / 3600", "{{run}}"),),
            "watth",
        ),
    ),
)
SERVICE = Row(
    "Service",
    (
        Panel(
            "Queue",
            "Runs that wait for their turn. At the limit a new one gets 429.",
            (
                Query('sum(vllmperf_queue_length{namespace=~"$namespace"})', "waiting"),
                Query('sum(vllmperf_queue_limit{namespace=~"$namespace"})', "limit"),
            ),
        ),
        Panel(
            "Runs by phase",
            "Of the data folder.",
            (Query('sum by (phase) (vllmperf_runs{namespace=~"$namespace"})', "{{phase}}"),),
            stacked=True,
        ),
        Panel(
            "Uploads that wait",
            "Result files that are not in the bucket yet. Rises while the bucket is away; nothing is lost meanwhile.",
            (Query('sum(vllmperf_uploads_pending{namespace=~"$namespace"})', "files"),),
        ),
    ),
)

CLIENT = Dashboard(
    "vllmperf-client",
    "vllmperf / Client",
    "What the load generator sees: latency, throughput, errors, and whether the figures can be trusted.",
    VARIABLES,
    (NOW, LATENCY, THROUGHPUT, ERRORS, ENERGY, TRUST, SERVICE),
    MARKS,
)
