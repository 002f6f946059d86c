"""What stands behind a doubt of the verdict: its likely causes in order, what tells them apart, what to run next. Data only.

In commands, {bench} is the run's own command without its load, {load} its load, {lighter} half of that; commands.py has all of
them. A command of which a placeholder has no value for the run at hand is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from vllmperf.place import CLUSTER, LOOPBACK, NETWORK, Place


class At(NamedTuple):
    """What holds only where the server stands at one of these places."""

    places: tuple[Place, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Advice:
    """causes: likeliest first, each with a key. tell_apart: observations that decide between them. next: commands."""

    causes: tuple[tuple[str, str | At], ...]
    tell_apart: tuple[str | At, ...]
    next: tuple[str, ...]


def fitting(texts: Iterable[str | At], place: Place) -> Iterator[str]:
    """Those that hold for a server at this place."""
    for text in texts:
        if isinstance(text, str):
            yield text
        elif place in text.places:
            yield text.text


LESS_LOAD = "{bench} {lighter}"
SAME = "{bench} {load}"
LONGER = "{bench} {longer}"
RESUME = "{resume}"
ONE = "{bench} --max-concurrency 1 --num-prompts 100"
OTHER_SEED = "{bench} {load} {seed}"
KV_CACHE = "{metrics} | grep -E 'num_preemptions|kv_cache_usage'"
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
        ("proxy", At((CLUSTER, NETWORK), "a proxy or gateway on the way buffers or compresses the stream")),
        (
            "server",
            "the server gathers tokens (multi-step scheduling, --stream-interval, speculative decoding, a tool "
            "or reasoning parser)",
        ),
        ("front_end", "the server's front end (vLLM: the API server's process) has too little of a core"),
        (
            "tunnel",
            At(
                (LOOPBACK,),
                "the address is the end of a tunnel (kubectl port-forward, ssh -L) or of a proxy, which gathers chunks",
            ),
        ),
        ("client", "this client read late"),
    ),
    (
        At(
            (LOOPBACK,),
            "`ss` names the process that listens: kubectl, ssh, docker-proxy, nginx, envoy are no server; measure "
            "where the server runs",
        ),
        At(
            (CLUSTER,),
            "straight to a pod's IP, from inside the cluster, the bursts go: it was a sidecar, a router or a gateway",
        ),
        At(
            (NETWORK,),
            "straight to the server (SERVER: its pod's IP from inside the cluster, or 127.0.0.1 on its machine) the bursts go: "
            "it was what stood between; a port-forward does not tell, as it gathers chunks itself",
        ),
        "client_lag is a cause only where it is longer than a gap",
        "*Network, front end* under *Where time went* is long, by /metrics most of it in the server: its front end",
        "each burst has the same number of chunks: the server gathers",
    ),
    ("{listener}", "{endpoints}", "{direct} {load}", ONE),
)
NOT_STREAMED = Advice(
    (
        ("server", "the server, or an adapter in it, does not stream at this endpoint"),
        ("proxy", At((LOOPBACK, CLUSTER, NETWORK), "a proxy or gateway drops `stream` from the body")),
    ),
    ("straight to the server, without anything on the way, answers are streams: it was the gateway",),
    (
        "{listener}",
        "{endpoints}",
        "{direct} --max-concurrency 1 --num-prompts 5",
        "{bench} {load} --no-stream",
    ),
)
CUT_SHORT = Advice(
    (("stopped", "somebody or something stopped the run: Ctrl-C, a time limit, memory, an eviction"),),
    ("exit code 137 and a line in the kernel's log: out of memory; an event of the pod: evicted",),
    (RESUME, SAME),
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
    ("{bench} --max-concurrency 1 --num-prompts 20 {short}",),
)
PROMPTS = Advice(
    (
        ("context", "the server cuts prompts to its context length (max_model_len)"),
        ("tokenizer", "another tokenizer counts than the one that made the prompts"),
    ),
    (
        "/v1/models tells max_model_len",
        "with a shorter --input-len the lengths agree: it was the context; they differ by the same share: the tokenizer",
    ),
    ("{curl}/v1/models", "{bench} --max-concurrency 1 --num-prompts 20 {short}"),
)
TOKENIZER = Advice(
    (
        ("model", "--tokenizer is of another model than the one that answers"),
        ("hidden", "usage counts what the text does not show: reasoning, special tokens, tool calls"),
    ),
    ("with the tokenizer of the model that /v1/models names, both agree: it was the tokenizer",),
    ("{curl}/v1/models", "{bench} --max-concurrency 1 --num-prompts 5 --keep-text"),
)
STOLEN = Advice(
    (
        ("neighbours", "other virtual machines on the same host use its cores"),
        ("credits", "the instance has CPU credits, and they are used up"),
    ),
    ("st in `vmstat` is as high without a run: neighbours; it comes after minutes of load: credits",),
    ("vmstat 1 10", "vllmperf selftest"),
)

OF_RULES: dict[str, Advice] = {
    "nothing_completed": Advice(
        (
            ("target", "the target is wrong: address, path, model or key"),
            ("down", "the server is down or overloaded"),
        ),
        (
            "the error under *Outcomes* is the server's own text; one request at a time still fails when the target is wrong",
        ),
        ("{listener}", "{endpoints}", "{curl}/v1/models", "{bench} --max-concurrency 1 --num-prompts 1"),
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
        (RESUME, SAME),
    ),
    "not_precise": Advice(
        (
            ("short", "--max-duration or --num-prompts ended the run first"),
            ("slow", "the server changes slowly, so that many requests tell little more than few"),
        ),
        ("a run four times as long halves the interval where requests do not resemble the ones before them",),
        (LONGER,),
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
        ("{bench} {load} {grace}", LESS_LOAD),
    ),
    "one_piece": BUFFERED,
    "held_back": BUFFERED,
    "not_streamed": NOT_STREAMED,
    "first_chunk": BUFFERED,
    "unknown_output": Advice(
        (("field", "the server puts output into a field of its own"),),
        ("the raw events of one answer show it",),
        ("{bench} --max-concurrency 1 --num-prompts 1 --save-detailed",),
    ),
    "length": LENGTHS,
    "prompt": PROMPTS,
    "cached": Advice(
        (
            ("seed", "an earlier run sent the same prompts with the same seed"),
            ("shared", "the prompts share a beginning: a chat template, a system prompt"),
        ),
        ("with another --seed the hits go: it was the earlier run; what stays is shared within the run",),
        (OTHER_SEED,),
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
        ("{bench} {load} {one_prefix}", ONE),
    ),
    "usage": TOKENS,
    "tokenizer": TOKENIZER,
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
        ("{capacity} --ttft 1000", LESS_LOAD),
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
        ("{bench} {load} {warmups}",),
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
        ("{bench} {load} {ahead}",),
    ),
    "stolen": STOLEN,
    "throttled": Advice(
        (
            ("quota", "the CPU limit of the client's container is below what the load needs"),
            ("threads", "more threads than the quota has cores use it up in the first part of each period"),
        ),
        (
            "`quota_cores` under machine in --json is the limit; --threads 1 helps: it was the threads",
            "a container gets more by resources.limits.cpu of its pod (Kubernetes), --cpus (docker), CPUQuota= (systemd)",
        ),
        ("{bench} {load} --threads 1", "vllmperf selftest"),
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
        ("{metrics} | grep num_requests_running", SAME),
    ),
    "server_tokens": TOKENS,
    "server_times": BUFFERED,
    "server_restarted": Advice(
        (
            ("restart", "the server ended and started again"),
            ("replicas", "several servers stand behind this address"),
        ),
        ("requests that failed at one moment: a restart; none: replicas",),
        ("{metrics} | grep process_start_time_seconds", SAME),
    ),
    "client_lag": CLIENT,
    "loop": CLIENT,
    "schedule_lag": CLIENT,
    "slot_wait": Advice(
        (("limit", "--max-concurrency is below the rate times the latency (Little's law)"),),
        ("without the limit the queue is the server's, and `growing` tells whether it ends",),
        ("{bench} {load} {slots}",),
    ),
    "in_flight": CLIENT,
    "coalesced": BUFFERED,
    "kernel_stamps": Advice((("flag", "kernel_stamps=False was given to vp.bench"),), (), (SAME,)),
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
        ("a run four times as long settles: it was short", "at half of the load it settles: the load"),
        (LONGER, LESS_LOAD),
    ),
    "few_samples": Advice((("short", "the run was short"),), (), (LONGER,)),
}
"""By the name of the rule."""
