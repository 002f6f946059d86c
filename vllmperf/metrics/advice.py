"""What stands behind a doubt of the verdict: its likely causes in order, what tells them apart, what to run next. Data only.

In commands, {bench} is the run's own command without its load, {load} its load, {lighter} half of that; {run} is the run file.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Advice:
    """causes: likeliest first, each with a key. tell_apart: observations that decide between them. next: commands."""

    causes: tuple[tuple[str, str], ...]
    tell_apart: tuple[str, ...]
    next: tuple[str, ...]


LESS_LOAD = "{bench} {lighter}"
SAME = "{bench} {load}"
ONE = "{bench} --max-concurrency 1 --num-prompts 100"
CLIENT = Advice(
    (
        (
            "cores",
            "this machine has too few free cores for the load: others use them, or a control group limits them",
        ),
        ("load", "the load is beyond what one client carries, whatever the machine"),
    ),
    (
        "`vllmperf explain` shows under *client-bound* who had the cores; `machine` in --json has the figures",
        "at half of the load the lag falls far below a gap if the load was the cause, and stays if a quota or neighbours are",
    ),
    (LESS_LOAD, "vllmperf selftest"),
)
BUFFERED = Advice(
    (
        ("proxy", "a proxy or gateway on the way buffers or compresses the stream"),
        (
            "server",
            "the server gathers tokens (multi-step scheduling, --stream-interval, speculative decoding, a tool "
            "or reasoning parser)",
        ),
        ("front_end", "the server's front end (vLLM: the API server's process) has too little of a core"),
        ("client", "this client read late"),
    ),
    (
        "straight to the pod, without the gateway, the bursts go: it was the gateway",
        "client_lag is a cause only where it is longer than a gap",
        "*Network, front end* under *Where time went* is long, by /metrics most of it in the server: its front end",
        "each burst has the same number of chunks: the server gathers",
    ),
    ("kubectl port-forward POD 8000:8000", "vllmperf bench --base-url http://127.0.0.1:8000 {load}", ONE),
)
CUT_SHORT = Advice(
    (("stopped", "somebody or something stopped the run: Ctrl-C, a time limit, memory, an eviction"),),
    ("exit code 137 and a line in the kernel's log: out of memory; an event of the pod: evicted",),
    (SAME,),
)
TOKENS = Advice(
    (
        ("usage", "the server's usage is wrong or missing: an adapter in front of vLLM, or an old version"),
        ("parser", "tokens stand in no chunk: special tokens, or a parser that holds them back"),
    ),
    (
        "the text of an answer, tokenized, has as many tokens as usage or as chunks: it says which of the two is right",
    ),
    ("{bench} --max-concurrency 1 --num-prompts 5 --save-detailed",),
)
LENGTHS = Advice(
    (
        ("eos", "the server ignores ignore_eos, min_tokens or the limit of the answer"),
        ("context", "prompt and answer do not fit into max_model_len, and the server cut one of them"),
        ("tokenizer", "another tokenizer counts than the one that made the prompts"),
    ),
    (
        "a finish reason of stop: the answer ended by itself; of length: by its limit",
        "/v1/models tells max_model_len",
        "with a shorter --input-len the lengths agree: it was the context",
    ),
    ("{bench} --max-concurrency 1 --num-prompts 20 --input-len 32 --output-len 32",),
)

DOUBTS: dict[str, Advice] = {
    "nothing_completed": Advice(
        (
            ("target", "the target is wrong: address, path, model or key"),
            ("down", "the server is down or overloaded"),
        ),
        (
            "the error under *Outcomes* is the server's own text; one request at a time still fails when the target is wrong",
        ),
        ("{bench} --max-concurrency 1 --num-prompts 1",),
    ),
    "killed": CUT_SHORT,
    "still_running": Advice((("early", "you look while it runs"),), (), ("vllmperf explain {run}",)),
    "interrupted": CUT_SHORT,
    "gave_up": Advice(
        (
            ("server", "the server went away, restarted, or refuses this load"),
            ("disk", "the disk of the run file is full, or the file reached a limit of the system"),
        ),
        (
            "the reason names the limit; the samples under *Outcomes* say how requests failed",
            "with --resume the same run goes on when the cause is gone",
        ),
        (SAME,),
    ),
    "not_precise": Advice(
        (
            ("short", "--max-duration or --num-prompts ended the run first"),
            ("slow", "the server changes slowly, so that many requests tell little more than few"),
        ),
        ("a run four times as long halves the interval where requests do not resemble the ones before them",),
        (SAME,),
    ),
    "client_sums": Advice(
        (
            ("defect", "vllmperf has a defect"),
            ("merged", "the file was changed, or merged from files of several plans"),
        ),
        ("`vllmperf check` names the sum and how many requests break it",),
        ("vllmperf check {run}",),
    ),
    "lost_results": Advice(
        (("memory", "the client had too little memory for what it kept: texts, stamps, many streams"),),
        ("without --save-detailed and --record-chunks a run of the same load needs a fraction of it",),
        (LESS_LOAD,),
    ),
    "server_sums": TOKENS,
    "failed": Advice(
        (
            ("load", "the server refuses or breaks under this load"),
            ("request", "it refuses these requests whatever the load"),
        ),
        (
            "one at a time all complete: it was the load",
            "the sample of each outcome tells what the server said",
        ),
        (ONE, LESS_LOAD),
    ),
    "incomplete": Advice(
        (
            ("short", "the run ended before long answers did"),
            ("slow", "the queue had grown: requests were sent that could not end"),
        ),
        (
            "`growing` is among the reasons: the load was too high; else run longer or give a longer --grace-period",
        ),
        ("{bench} {load} --grace-period 60", LESS_LOAD),
    ),
    "one_piece": BUFFERED,
    "held_back": BUFFERED,
    "not_streamed": BUFFERED,
    "first_chunk": BUFFERED,
    "unknown_output": Advice(
        (("field", "the server puts output into a field of its own"),),
        ("the raw events of one answer show it",),
        ("{bench} --max-concurrency 1 --num-prompts 1 --save-detailed",),
    ),
    "length": LENGTHS,
    "prompt": LENGTHS,
    "cached": Advice(
        (
            ("seed", "an earlier run sent the same prompts with the same seed"),
            ("shared", "the prompts share a beginning: a chat template, a system prompt"),
        ),
        ("with another --seed the hits go: it was the earlier run; what stays is shared within the run",),
        ("{bench} {load} --seed 1",),
    ),
    "prefix_hit_rate": Advice(
        (
            (
                "replicas",
                "several replicas have a cache each, and the router sends a prefix to others than the one that has it",
            ),
            ("full", "the KV cache is too small for all prefixes and what runs: it forgets some"),
            (
                "off",
                "prefix caching is off (vLLM: --no-enable-prefix-caching), or blocks are larger than the prefix",
            ),
            ("others", "other clients use the server, or an earlier run left its prompts in the cache"),
        ),
        (
            "`usage.prompt_tokens_details` (vLLM: --enable-prompt-tokens-details) says which requests found nothing: all, "
            "and the cache is off; some of each prefix, it has forgotten them or another replica answered",
            "the rate seen rises with fewer prefixes: the cache was full, or there are several",
        ),
        ("{bench} {load} --dataset-name prefix_repetition --prefix-repetition-num-prefixes 1", ONE),
    ),
    "usage": TOKENS,
    "tokenizer": TOKENS,
    "rate": Advice(
        (
            ("limit", "--max-concurrency held requests back"),
            ("client", "the client was late"),
            ("data", "prompts could not be made as fast"),
        ),
        ("`slot_wait` is among the reasons: the limit; `schedule_lag` or `client_cpu`: the client",),
        (LESS_LOAD,),
    ),
    "growing": Advice(
        (
            ("capacity", "the rate is beyond the server's capacity for requests of this length"),
            (
                "kv",
                "the KV cache is full: sequences wait or are preempted, although the GPU could compute more",
            ),
            ("warming", "the server was not warm yet and would have caught up"),
        ),
        (
            "vllm:kv_cache_usage_perc near 1 with requests waiting: the KV cache",
            "at a tenth of the rate the queue is flat: capacity; it still grows: the server stalls",
            "the growth stops within a longer run: it was the warm-up",
        ),
        ("vllmperf capacity --base-url {url} --ttft 1000", LESS_LOAD),
    ),
    "warming_up": Advice(
        (
            ("compile", "kernels or graphs are compiled when a shape comes for the first time"),
            ("cache", "the prefix cache fills, since prompts repeat"),
            ("clocks", "the GPU raises its clocks only under load"),
        ),
        (
            "the second of two runs in a row is fast from its start: the server was cold",
            "with another --seed it is slow again: the cache",
        ),
        ("{bench} {load} --num-warmups 50",),
    ),
    "connecting": Advice(
        (
            (
                "closes",
                "the server or a proxy closes a connection after each answer, or after a few idle seconds",
            ),
            ("few", "an open loop needed more connections than were open"),
        ),
        (
            "as many connections as requests: closed after each",
            "only the first requests connect: --warm-connections opens them ahead",
        ),
        ("{bench} {load} --warm-connections 64",),
    ),
    "stolen": CLIENT,
    "throttled": Advice(
        (
            ("quota", "the CPU limit of the client's container is below what the load needs"),
            ("threads", "more threads than the quota has cores use it up in the first part of each period"),
        ),
        ("`quota_cores` under machine in --json is the limit; --threads 1 helps: it was the threads",),
        ("kubectl set resources job/CLIENT --limits=cpu=4", "vllmperf selftest"),
    ),
    "clock_steps": Advice(
        (
            ("daemon", "a time daemon set the clock instead of slewing it"),
            ("suspend", "the virtual machine was moved or suspended"),
        ),
        ("chronyc tracking or timedatectl tells of steps; `asleep` is among the reasons: the machine",),
        (SAME,),
    ),
    "asleep": Advice((("suspend", "the machine was suspended or moved"),), (), (SAME,)),
    "client_cpu": CLIENT,
    "other_clients": Advice(
        (("shared", "others use this server"), ("probes", "probes or an autoscaler send completions")),
        ("vllm:num_requests_running is above 0 before the run: others are there",),
        ("curl -s {url}/metrics | grep num_requests_running", SAME),
    ),
    "server_tokens": TOKENS,
    "server_times": BUFFERED,
    "server_restarted": Advice(
        (
            ("restart", "the server ended and started again"),
            ("replicas", "several servers stand behind this address"),
        ),
        ("requests that failed at one moment: a restart; none: replicas",),
        ("curl -s {url}/metrics | grep process_start_time_seconds", SAME),
    ),
    "client_lag": CLIENT,
    "loop": CLIENT,
    "schedule_lag": CLIENT,
    "slot_wait": Advice(
        (("limit", "--max-concurrency is below the rate times the latency (Little's law)"),),
        ("without the limit the queue is the server's, and `growing` tells whether it ends",),
        ("{bench} {load} --max-concurrency 1000",),
    ),
    "in_flight": CLIENT,
    "coalesced": BUFFERED,
    "kernel_stamps": Advice((("flag", "--no-kernel-stamps was given"),), (), (SAME,)),
    "retries": Advice(
        (
            (
                "keepalive",
                "the server closes idle connections (uvicorn after 5 s) just when a request goes out",
            ),
            ("restart", "the server or a proxy was restarted"),
        ),
        ("with --fresh-connections no request is repeated: keep-alive",),
        ("{bench} {load} --fresh-connections",),
    ),
    "token_source": TOKENS,
    "unsteady": Advice(
        (
            ("short", "the run was too short for the ramp of long answers"),
            ("load", "the load is near or beyond the capacity: `growing` is then among the reasons"),
            (
                "server",
                "the server changed during the run: caches filled, another client came, replicas were scaled",
            ),
        ),
        ("three times as long a run settles: it was short", "at half of the load it settles: the load"),
        ("{bench} {load} --num-prompts 5000", LESS_LOAD),
    ),
    "few_samples": Advice((("short", "the run was short"),), (), ("{bench} --num-prompts 1000 {load}",)),
}
"""By the name of the rule."""
