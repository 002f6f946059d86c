"""Odd patterns that a run may show, beside doubts: what finds each, its likely causes in order, what tells them apart, and
what to run next. The page docs/explain.md is printed from this table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vllmperf.metrics import detectors
from vllmperf.metrics.advice import CLIENT, KV_CACHE, LESS_LOAD, ONE, OTHER_SEED, SAME, Advice
from vllmperf.metrics.detectors import Seen, Summary
from vllmperf.metrics.view import Completed


@dataclass(frozen=True, slots=True)
class Pattern:
    """name: in JSON; title: for people; rule: what makes the detector speak."""

    name: str
    title: str
    rule: str
    detect: Callable[[Completed, Summary], Seen | None]
    advice: Advice


PATTERNS = (
    Pattern(
        "bimodal_ttft",
        "Two levels of TTFT",
        "two groups of TTFT, each 5 % of the requests or more, with medians 1.5 times apart and hardly anything between",
        detectors.bimodal_ttft,
        Advice(
            (
                ("cache", "the prefix cache: hits are fast, misses slow"),
                ("prompts", "two kinds of prompts, short and long ones"),
                (
                    "queue",
                    "some requests wait for a step or a slot that others hold (prefills before them, --max-num-seqs)",
                ),
                ("start", "a cold start: compilation, graphs or empty caches for the first requests"),
                ("connections", "some requests open a connection first"),
                ("replicas", "two replicas of different speed behind one address"),
            ),
            (
                "TTFT against prompt_tokens, cached_tokens and sent_ns in `vllmperf report RUN --csv -`: the column "
                "that parts the two groups is the cause",
                "one request at a time leaves both levels: no queue",
                "with another --seed the fast level goes: it was the cache",
            ),
            (ONE, OTHER_SEED),
        ),
    ),
    Pattern(
        "periodic_stalls",
        "Stalls at a period",
        "at least six stalls (gaps of 20 ms and five mean gaps or more) at distances that differ by less than 15 %",
        detectors.periodic_stalls,
        Advice(
            (
                (
                    "server",
                    "a periodic job in the server's process: garbage collection, statistics, a health probe that blocks",
                ),
                (
                    "node",
                    "a periodic job on its node: a scrape of GPU metrics (DCGM), a cron job, thermal or power capping",
                ),
                ("quota", "a CPU quota of the server's container: stops every 100 ms under load"),
                ("client", "the same on the client's machine"),
            ),
            (
                "the period is that of a probe or scrape (1, 5, 10, 15, 30 s): turn that off",
                "all streams stop together: server or node; streams of one replica: that one",
                "client_lag has the same period and length: the client",
                "nr_throttled in /sys/fs/cgroup/cpu.stat of the server's container rises: its quota",
            ),
            ("{exec} cat /sys/fs/cgroup/cpu.stat", ONE),
        ),
    ),
    Pattern(
        "lone_stalls",
        "Single streams stop",
        "five stalls or more that at most a fifth of the streams share",
        detectors.lone_stalls,
        Advice(
            (
                ("preemption", "preemption: the KV cache was full, and a sequence had to be computed again"),
                ("retransmit", "lost packets on the way, each a retransmission of 200 ms or more"),
                (
                    "server",
                    "one sequence waits in the server: guided decoding, a parser, an adapter that is loaded",
                ),
            ),
            (
                "vllm:num_preemptions_total rises: preemption",
                "stalls of about 200, 400, 800 ms: retransmissions; `nstat -az TcpRetransSegs` rises",
            ),
            (KV_CACHE, LESS_LOAD),
        ),
    ),
    Pattern(
        "itl_steps",
        "ITL jumps with the batch",
        "between two numbers of streams ITL rises by a tenth or more, and five times as much as between others",
        detectors.itl_steps,
        Advice(
            (
                (
                    "graphs",
                    "CUDA graphs: a batch is padded to the next captured size, and beyond the last one runs without a graph",
                ),
                (
                    "kernels",
                    "another kernel is chosen from this batch size on (GEMM tiles, MoE, attention splits)",
                ),
                ("replicas", "a second replica or data-parallel rank joins in"),
            ),
            (
                "the step lies at a captured size (1, 2, 4, then each 8th; see --cuda-graph-sizes in the server's log): graphs",
                "with --enforce-eager the step goes, and all are slower: graphs",
            ),
            (
                "{bench} --max-concurrency {up_to} --num-prompts 200",
                "{bench} --max-concurrency {from} --num-prompts 200",
            ),
        ),
    ),
    Pattern(
        "first_token_plateau",
        "First tokens come only when another answer ends",
        "the number of streams that get tokens is at its maximum for half of the time in which others wait, and requests sent "
        "then wait three times as long",
        detectors.first_token_plateau,
        Advice(
            (
                ("max_num_seqs", "--max-num-seqs: the server runs no more sequences than this"),
                ("kv", "the KV cache holds no more sequences of this length"),
                ("proxy", "a proxy or router limits the requests in flight"),
            ),
            (
                "the number is a round one (64, 128, 256): a setting; it changes with --output-len: the KV cache",
                "vllm:num_requests_waiting is above 0: the server holds them; it is 0: something in front of it",
                "vllm:kv_cache_usage_perc near 1: the KV cache",
            ),
            (
                "{metrics} | grep -E 'num_requests|kv_cache_usage'",
                "{bench} --max-concurrency {streams} --num-prompts 500",
            ),
        ),
    ),
    Pattern(
        "client_bound",
        "Client-bound",
        "client lag above half a gap, a turn of its loop above a gap, its threads busy for 80 % of the time, "
        "or stopped by a quota",
        detectors.client_bound,
        Advice(
            (
                ("quota", "a CPU quota stops the client (container limit)"),
                ("steal", "the hypervisor gives its cores to others"),
                ("neighbours", "other processes use the cores of this machine"),
                ("threads", "its threads are busy: the load is beyond them"),
            ),
            CLIENT.tell_apart,
            ("vllmperf selftest", LESS_LOAD),
        ),
    ),
    Pattern(
        "preemptions",
        "Preemptions",
        "vllm:num_preemptions_total rose during the run",
        detectors.preemptions,
        Advice(
            (
                ("kv", "the KV cache is too small for so many sequences of this length"),
                ("limit", "--max-num-seqs lets more sequences run than the cache holds"),
            ),
            (
                "fewer sequences (--max-num-seqs) without loss of throughput: the limit was too high; with loss: the "
                "cache is too small",
            ),
            (KV_CACHE, LESS_LOAD),
        ),
    ),
    Pattern(
        "prefix_cache_hits",
        "Prefix-cache hits",
        "a tenth of the prompt tokens or more came from the cache, by usage or by the server's counters",
        detectors.prefix_cache_hits,
        Advice(
            (
                ("seed", "the same prompts were sent before: the same --seed, or a warm-up with them"),
                ("shared", "the prompts of the data set share a beginning"),
                ("wanted", "the data set is made for it (prefix_repetition, sharegpt turns)"),
            ),
            (
                "with another --seed the hits go: they were from an earlier run",
                "what stays is shared within the run",
            ),
            (OTHER_SEED, SAME),
        ),
    ),
)
