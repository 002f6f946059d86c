"""What vLLM says of itself: metrics of V1, with the names that V0 and early V1 had, per replica.

Names by version: vllmperf/scrape/names.py. Windows only: a mean or a quantile is of $__rate_interval, never of a process's
life, and buckets are summed over replicas before a quantile is taken.
"""

from __future__ import annotations

from grafana.dashboard import Dashboard, Panel, Query, Row, Variable, quantiles, stat

OF = 'namespace=~"$namespace", model_name=~"$model", instance=~"$instance"'
REPLICA = "pod, instance, engine, ReplicaId"
WHICH = "{{pod}} {{instance}} {{engine}} {{ReplicaId}}"
WINDOW = "$__rate_interval"
GREEN, YELLOW, RED = "green", "yellow", "red"

COUNTED = "${prefix}prompt_tokens_total"
"""On every page of vLLM, of all versions, once there was a prompt."""

VARIABLES = (
    Variable(
        "prefix",
        "Metric prefix",
        'label_values({__name__=~"(ray_)?vllm[:_]prompt_tokens_total"}, __name__)',
        regex="/(.*)prompt_tokens_total/",
        many=False,
        newest_first=True,
    ),
    Variable("namespace", "Namespace", f"label_values({COUNTED}, namespace)"),
    Variable("model", "Model", f'label_values({COUNTED}{{namespace=~"$namespace"}}, model_name)'),
    Variable(
        "instance",
        "Instance",
        f'label_values({COUNTED}{{namespace=~"$namespace", model_name=~"$model"}}, instance)',
    ),
)


def series(name: str, more: str = "") -> str:
    return f"${{prefix}}{name}{{{OF}{more}}}"


def gauge(name: str, *older: str) -> str:
    """A gauge under its name of today, or an older one where there is none of today."""
    return " or ".join(series(each) for each in (name, *older))


def rate(name: str, *older: str, of: str = "rate") -> str:
    return " or ".join(f"{of}({series(each)}[{WINDOW}])" for each in (name, *older))


def per_replica(expr: str) -> str:
    return f"sum by ({REPLICA}) ({expr})"


def mean(name: str, *older: str) -> str:
    """Of the window, over all replicas: weighted by their requests."""
    sums, counts = (rate(*(f"{each}_{end}" for each in (name, *older))) for end in ("sum", "count"))
    return f"sum({sums}) / sum({counts})"


def latency(
    title: str, name: str, description: str, *older: str, v1_only: bool = False, width: int = 8
) -> Panel:
    buckets = rate(*(f"{each}_bucket" for each in (name, *older)))
    queries = (*quantiles(buckets, ""), Query(mean(name, *older), "mean"))
    if v1_only:
        queries = tuple(Query(each.expr, each.legend, True) for each in queries)
    return Panel(title, description, queries, "s", width=width)


def lengths(title: str, name: str, description: str) -> Panel:
    expr = f"sum by (le) ({rate(name + '_bucket', of='increase')})"
    return Panel(title, description, (Query(expr),), "short", "heatmap", 12, 8)


RUNNING = per_replica(series("num_requests_running"))
ITL = ("inter_token_latency_seconds", "time_per_output_token_seconds")
KV_USE = ("kv_cache_usage_perc", "gpu_cache_usage_perc")
HIT_RATE = (
    f"sum by ({REPLICA}) ({rate('prefix_cache_hits_total', 'gpu_prefix_cache_hits_total')}) / "
    f"(sum by ({REPLICA}) ({rate('prefix_cache_queries_total', 'gpu_prefix_cache_queries_total')}) > 0) "
    f"or sum by ({REPLICA}) ({series('gpu_prefix_cache_hit_rate')} >= 0)"
)

OVERVIEW = Row(
    "Now",
    (
        stat(
            "Replicas",
            "Engines that report.",
            f"count({per_replica(series('num_requests_running'))})",
        ),
        stat(
            "Requests/s",
            "Requests finished per second, aborted ones included.",
            f"sum({rate('request_success_total')})",
            "reqps",
        ),
        stat("Output tokens/s", "Tokens generated per second.", f"sum({rate('generation_tokens_total')})"),
        stat("Prompt tokens/s", "Prompt tokens processed per second.", f"sum({rate('prompt_tokens_total')})"),
        stat("Running", "Requests in the batches now.", f"sum({series('num_requests_running')})"),
        stat(
            "Waiting",
            "Requests in the queues now. Above 0 for minutes the replicas are full.",
            f"sum({series('num_requests_waiting')})",
            steps=((None, GREEN), (1, YELLOW), (100, RED)),
        ),
        stat(
            "KV cache, fullest",
            "Share of the KV cache in use, of the fullest replica. At 100 % requests are preempted.",
            f"max({gauge(*KV_USE)})",
            "percentunit",
            steps=((None, GREEN), (0.8, YELLOW), (0.95, RED)),
        ),
        stat(
            "TTFT p99",
            "By the server: from the arrival at its front end. The client's own has the network and its queue on top.",
            f"histogram_quantile(0.99, sum by (le) ({rate('time_to_first_token_seconds_bucket')}))",
            "s",
        ),
    ),
)
LATENCY = Row(
    "Latency, all replicas together",
    (
        latency(
            "Time to first token",
            "time_to_first_token_seconds",
            "From a request's arrival at the front end to its first token.",
        ),
        latency("Inter-token latency", ITL[0], "Between tokens.", *ITL[1:]),
        latency(
            "End-to-end latency",
            "e2e_request_latency_seconds",
            "From a request's arrival to its last token.",
        ),
        latency(
            "Queue time",
            "request_queue_time_seconds",
            "Waiting to be scheduled. The first bucket ends at 0.3 s: quantiles below that say only that it is short; "
            "the mean is exact.",
        ),
        latency(
            "Prefill time",
            "request_prefill_time_seconds",
            "From scheduled to the first token. Quantiles below 0.3 s: see queue time.",
        ),
        latency(
            "Decode time",
            "request_decode_time_seconds",
            "From the first token to the last.",
        ),
        latency(
            "Time per output token",
            "request_time_per_output_token_seconds",
            "Mean of each request.",
            v1_only=True,
        ),
        Panel(
            "TTFT p99 by replica",
            "One replica above the others: its share of long prompts, its cache, or its GPU.",
            (
                Query(
                    f"histogram_quantile(0.99, sum by ({REPLICA}, le) ({rate('time_to_first_token_seconds_bucket')}))",
                    WHICH,
                ),
            ),
            "s",
        ),
        Panel(
            "ITL mean by replica",
            "Rises with the batch of a replica.",
            (
                Query(
                    f"{per_replica(rate(*(f'{name}_sum' for name in ITL)))} / "
                    f"{per_replica(rate(*(f'{name}_count' for name in ITL)))}",
                    WHICH,
                ),
            ),
            "s",
        ),
    ),
)
LOAD = Row(
    "Load by replica",
    (
        Panel(
            "Running",
            "Requests in the batch. Flat at --max-num-seqs: the replica is full.",
            (Query(RUNNING, WHICH),),
        ),
        Panel(
            "Waiting",
            "Requests in the queue, swapped out ones included (V0).",
            (Query(per_replica(f'{{__name__=~"${{prefix}}num_requests_(waiting|swapped)", {OF}}}'), WHICH),),
        ),
        Panel(
            "Requests finished",
            "By reason; abort: the client went away.",
            (Query(f"sum by (finished_reason) ({rate('request_success_total')})", "{{finished_reason}}"),),
            "reqps",
            stacked=True,
        ),
        Panel(
            "Output tokens/s",
            "Tokens generated per second.",
            (Query(per_replica(rate("generation_tokens_total")), WHICH),),
        ),
        Panel(
            "Prompt tokens/s",
            "Prompt tokens processed per second, those from the prefix cache included.",
            (Query(per_replica(rate("prompt_tokens_total")), WHICH),),
        ),
        Panel(
            "Balance",
            "Running requests of the fullest replica over the mean of all: 1 is even. Prefix-aware routing is allowed more.",
            (
                Query(
                    f"max({RUNNING}) / (avg({RUNNING}) > 0)",
                    "fullest / mean",
                ),
            ),
            steps=((None, GREEN), (2, YELLOW)),
        ),
    ),
)
CACHE = Row(
    "KV cache",
    (
        Panel(
            "KV cache in use",
            "Share of blocks. Above 95 % requests are preempted: fewer at once, or more memory.",
            (Query(f"max by ({REPLICA}) ({gauge(*KV_USE)})", WHICH),),
            "percentunit",
            least=0.0,
            most=1.0,
            steps=((None, GREEN), (0.95, RED)),
        ),
        Panel(
            "Prefix cache hit rate",
            "Prompt tokens found in the cache, of those looked up, in the window (V0: its own gauge).",
            (Query(HIT_RATE, WHICH),),
            "percentunit",
            least=0.0,
            most=1.0,
        ),
        Panel(
            "Preemptions",
            "Requests thrown out of the batch because the cache was full. Each is computed again.",
            (Query(per_replica(rate("num_preemptions_total")), WHICH),),
            "ops",
        ),
    ),
)
SHAPES = Row(
    "Shape of the load",
    (
        lengths("Prompt lengths", "request_prompt_tokens", "Requests by prompt tokens over time."),
        lengths("Answer lengths", "request_generation_tokens", "Requests by output tokens over time."),
        Panel(
            "Tokens per engine step",
            "Mean of the window: how well the batches are filled.",
            (Query(mean("iteration_tokens_total"), "mean"),),
            width=12,
        ),
        Panel(
            "Mean lengths",
            "Of the window.",
            (
                Query(mean("request_prompt_tokens"), "prompt"),
                Query(mean("request_generation_tokens"), "answer"),
            ),
            width=12,
        ),
    ),
)

SERVER = Dashboard(
    "vllmperf-server",
    "vllmperf / vLLM server",
    "What vLLM says of itself, per replica: V1, and V0 under its older names.",
    VARIABLES,
    (OVERVIEW, LATENCY, LOAD, CACHE, SHAPES),
)
