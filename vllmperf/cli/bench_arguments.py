"""The arguments of `vllmperf bench`, under the names of `vllm bench serve` where it has them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vllmperf import datasets
from vllmperf.cli import fail_if, json_option
from vllmperf.cli.flags import Pairs, json_object, pair, settings
from vllmperf.cli.report import MLPERF, NO_TRIM
from vllmperf.cli.target_arguments import add_target
from vllmperf.metrics.definitions import NAMES, OBJECTIVES
from vllmperf.parser import flag
from vllmperf.plan import ARRIVALS, SAMPLING
from vllmperf.plan.knobs import KEEP_GAPS
from vllmperf.plan.limits import WINDOW

AS_MANY_AS_IN_FLIGHT = -1
"""--warm-connections without a number."""


def add_arguments(command: argparse.ArgumentParser, has_record: bool = True) -> None:
    """All of them, in groups. has_record: with those of the run file."""
    add_plan(command.add_argument_group("plan").add_argument)
    add_target(command.add_argument_group("target").add_argument)
    add_simulator(command.add_argument_group("simulator").add_argument)
    add_load(command.add_argument_group("load").add_argument)
    add_data(command.add_argument_group("data").add_argument)
    add_lengths(command.add_argument_group("lengths, in tokens").add_argument)
    add_dataset_options(command.add_argument_group("settings of single data sets").add_argument)
    add_body(command.add_argument_group("request").add_argument)
    limits = command.add_argument_group("limits (T in seconds, or like 500ms, 30s, 10m, 1h)").add_argument
    add_limits(limits)
    add_error_limits(limits)
    add_on_server_loss(limits)
    output = command.add_argument_group("output").add_argument
    add_power(output)
    if has_record:
        add_record(output)
    add_output(output)
    engine = command.add_argument_group("engine").add_argument
    add_engine(engine)
    add_keep_gaps(engine)


def add_plan(option: Any) -> None:
    option(
        "--plan",
        dest="plan_file",
        type=Path,
        metavar="FILE",
        help="read settings from a plan in JSON; flags override them",
    )
    option("--print-plan", action="store_true", help="print the plan as JSON and send nothing")


def simulator(text: str) -> dict[str, Any]:
    """K=V,…"""
    from vllmperf.sim.config import parse_settings

    return parse_settings(text)


def add_simulator(option: Any) -> None:
    option = settings(option)
    option(
        "--sim",
        dest="simulator",
        type=simulator,
        nargs="?",
        const="",
        metavar="K=V,…",
        help="start a simulated server in this process and load it; `vllmperf sim --help` lists the settings, like "
        "ttft_ms=50,itl_ms=10",
    )


def add_load(option: Any) -> None:
    option = settings(option)
    option(
        "--request-rate",
        type=float,
        metavar="R",
        help="send this many requests per second; inf sends all at once",
    )
    option(
        "--max-concurrency",
        type=int,
        metavar="N",
        help="most requests in flight, also with a rate; for conversations, sessions at once",
    )
    option(
        "--num-prompts",
        type=int,
        metavar="N",
        help="total number of requests, for conversations of sessions (default: 1000; no limit with --duration)",
    )
    option(
        "--duration",
        "--max-duration",
        dest="duration",
        metavar="T",
        help="stop sending after this time, like 30s, 10m, 1h; with --until, stop then at the latest",
    )
    option(
        "--until",
        metavar="METRIC±P%",
        help="stop when the metric is known to this precision, like 'ttft_p99±5%%' or 'requests_per_s+-2%%'; needs "
        "--max-duration or --num-prompts",
    )
    option(
        "--arrival",
        choices=ARRIVALS,
        help="how requests arrive at a rate: at equal intervals, as a Poisson process, in bursts (gamma, with --burstiness), "
        "at the times of a file (trace), or at those of the data set (default: gamma; with burstiness 1 it is poisson)",
    )
    option(
        "--burstiness",
        type=float,
        metavar="B",
        help="shape parameter of the gamma distribution of intervals; below 1, requests come in bursts",
    )
    option(
        "--arrival-file",
        metavar="FILE",
        help="arrival times in seconds for --arrival trace: one per line, or the column arrival_s or timestamp of CSV or "
        "JSONL; the earliest one becomes 0",
    )
    option(
        "--think-time",
        metavar="T",
        help="conversations: wait this long between an answer and the next turn of its session (default: none)",
    )
    option(
        "--num-warmups", type=int, metavar="N", help="requests sent before the run, which no figure counts"
    )
    option("--seed", type=int, metavar="N", help="random seed of prompts, lengths and arrivals")


def add_data(option: Any) -> None:
    option = settings(option)
    option(
        "--dataset-name",
        choices=tuple(datasets.table()),
        metavar="NAME",
        help="where prompts come from: " + "; ".join(map(_described, datasets.table().values())),
    )
    option(
        "--dataset-path",
        metavar="PATH",
        help="file of the data set, or its link on the Hugging Face hub; for hf, the name of a data set there",
    )
    option(
        "--tokenizer",
        metavar="NAME",
        help="make and count tokens with the tokenizer.json in this folder or of this model on the Hugging Face hub. Data sets "
        "of texts use the tokenizer of --model ORGANISATION/NAME by default; none turns this off. Without a tokenizer, made-up "
        "prompts are token ids (chat: as many short words), and 4 bytes of any other text count as one token",
    )
    option(
        "--text-prompts",
        action="store_true",
        help="random without --tokenizer: send common words of about one token each, for servers that reject token ids; the "
        "server counts the tokens",
    )
    option(
        "--prompt-salt",
        metavar="TEXT",
        help="begin every prompt with this text, so that no prefix cache holds it from an earlier run; prompts of token ids get "
        "other first ids instead",
    )


def _described(dataset: datasets.DataSet) -> str:
    return f"{dataset.name} ({dataset.about})"


def add_lengths(option: Any) -> None:
    option = settings(option)
    option(
        "--input-len", type=int, metavar="N", help="prompt length for any data set but sharegpt and custom"
    )
    option("--output-len", type=int, metavar="N", help="answer length for any data set")
    option(
        "--random-range-ratio",
        type=float,
        metavar="X",
        help="random: draw lengths uniformly from length × (1 ± X)",
    )
    option(
        "--prefix-hit-rate",
        type=float,
        metavar="X",
        help="random, prefix_repetition: make the common prefix this share of the prompt tokens (at least 0, below 1; prompts "
        "keep their length), fill the server's prefix cache with it before the run, and compare the hit rate that the server "
        "reports",
    )
    for dataset in datasets.table().values():
        for kind in dataset.own_lengths:
            _add_own_length(option, dataset, kind)


LENGTHS = {"input": "prompt", "output": "answer", "prefix": "common prefix"}


def _add_own_length(option: Any, dataset: datasets.DataSet, kind: str) -> None:
    flag = f"--{dataset.name.replace('_', '-')}-{kind}-len"
    usual = getattr(dataset.lengths, kind)
    default = "as in the data" if usual is None else usual
    option(flag, type=int, metavar="N", help=f"{dataset.name}: {LENGTHS[kind]} (default: {default})")


def add_dataset_options(option: Any) -> None:
    option = settings(option)
    for dataset in datasets.table().values():
        for each in dataset.options:
            usual = "" if each.default is None else f" (default: {each.default})"
            flag = f"--{each.name.replace('_', '-')}"
            metavar = {str: "TEXT", int: "N", float: "X"}[each.kind]
            option(flag, type=each.kind, metavar=metavar, help=f"{dataset.name}: {each.help}{usual}")


def add_body(option: Any) -> None:
    option = settings(option)
    option(
        "--ignore-eos",
        action="store_true",
        help="ask for answers of full length; random always does, as in vLLM",
    )
    option(
        "--no-stream",
        dest="stream",
        action="store_false",
        help="ask for answers in one piece, which have no TTFT, TPOT and ITL (vLLM's flag of this name is about reading data "
        "sets)",
    )
    option("--n", type=int, metavar="N", help="choices per request")
    option("--logprobs", type=int, metavar="N", help="logprobs per token")
    for name in SAMPLING:
        option(
            flag(name),
            type=int if name == "top_k" else float,
            metavar="X",
            help=f"{name} of every request (default: the server's)",
        )
    option(
        "--extra-body",
        type=json_object,
        metavar="JSON",
        help="apply this JSON merge patch to every request body: fields replace ours, objects merge, null removes a field, "
        """like '{"stream_options": null}'""",
    )
    option(
        "--string-content",
        action="store_true",
        help="chat: send content as a plain string instead of a list of parts, for servers that accept only strings",
    )
    option(
        "--chat-max-tokens",
        action="store_true",
        help="chat: send the limit as max_tokens, for servers that ignore max_completion_tokens",
    )
    option(
        "--session-header",
        metavar="NAME",
        help="conversations: send the session's id with each request in this header, like x-session-id, for routers that keep "
        "a session on one replica",
    )
    option(
        "--request-id-prefix",
        metavar="TEXT",
        help="build x-request-id from this text and the number of the request (default: a UUID that ends in the number)",
    )


def add_limits(option: Any) -> None:
    option = settings(option)
    option("--connect-timeout", metavar="T", help="longest time to open a connection")
    option("--first-token-timeout", metavar="T", help="longest time from sending to the first token")
    option("--stall-timeout", metavar="T", help="longest time without an event after the first token")
    option("--total-timeout", metavar="T", help="longest time for one request")
    option("--grace-period", metavar="T", help="time for requests in flight to finish when sending stops")


def add_error_limits(option: Any) -> None:
    option = settings(option)
    option(
        "--max-errors",
        type=int,
        metavar="N",
        help="end the run when N requests have failed, and keep what was measured (default: never)",
    )
    option(
        "--max-error-rate",
        type=float,
        metavar="SHARE",
        help=f"end the run when this share of the last {WINDOW} requests has failed, like 0.2 (default: never)",
    )


def add_power(option: Any) -> None:
    option = settings(option)
    option(
        "--power",
        metavar="SOURCE",
        help="read the power of the server's GPUs from DCGM's exporter (dcgm=http://NODE:9400/metrics), from Prometheus at the "
        "end of the run (prometheus=URL[,query=…]), or from CSV or JSON lines with time, watts and optionally gpu (file=PATH)",
    )
    option(
        "--gpu-tdp",
        type=float,
        metavar="W",
        help="power limit of one GPU in watts (default: as DCGM reports it)",
    )


def add_on_server_loss(option: Any) -> None:
    settings(option)(
        "--on-server-loss",
        metavar="record|wait[:T]",
        help="what to do when the server refuses connections and /health does not answer: record requests as failed, or wait "
        "at most T until it is back and continue; requests that no server accepted are then sent again and count once",
    )


def add_record(option: Any) -> None:
    option(
        "--record", type=Path, metavar="FILE", help="keep the run file; `vllmperf report FILE` shows it again"
    )
    option(
        "--resume",
        type=Path,
        metavar="RUN",
        help="continue a run that was killed or interrupted: send the requests that its run file lacks, and add them there",
    )
    option(
        "--repeat",
        type=int,
        metavar="K",
        help="make K runs in sequence with seeds seed, seed+1, …, and report means over the runs with the interval between "
        "runs; --record NAME.vllmperf writes NAME.1.vllmperf and so on",
    )


def add_output(option: Any) -> None:
    note = settings(option)
    json_option.add(option, "the summary")
    option("--mlperf", action="store_true", help=MLPERF)
    option("--no-trim", action="store_true", help=NO_TRIM)
    fail_if.add(option)
    option("--html", metavar="FILE", help="write the report to FILE as an HTML page")
    option(
        "--csv", metavar="FILE", help="write one row per request to FILE; - prints them instead of the table"
    )
    note(
        "--percentile-metrics",
        metavar="NAMES",
        help=f"rows of the table, of {','.join(NAMES)} (default: those that were measured)",
    )
    note(
        "--metric-percentiles",
        metavar="NUMBERS",
        help="columns of the table (default: 50,90,99)",
    )
    note(
        "--goodput",
        nargs="+",
        action="extend",
        metavar="METRIC:MS",
        help=f"count the requests that keep these limits, like ttft:200 tpot:50; metrics: {', '.join(OBJECTIVES)}",
    )
    option("--save-result", action="store_true", help="write the result JSON of vllm bench serve")
    option("--save-detailed", action="store_true", help="write that JSON with every request and its text")
    option("--result-dir", type=Path, metavar="DIR", help="folder of the result JSON (default: here)")
    option(
        "--result-filename",
        metavar="NAME",
        help="name of the result JSON (default: built from the settings and the time)",
    )
    note(
        "--metadata",
        type=pair,
        nargs="+",
        action=Pairs,
        metavar="K=V",
        help="notes that the run keeps",
    )
    note("--label", metavar="TEXT", help="name of this run, which it keeps")
    option("--no-progress", "--disable-tqdm", action="store_true", help="no live figures on stderr")
    note(
        "--report-interval",
        metavar="T",
        help="print a line to stderr at this interval, like 10s or 1m: requests that ended, their rate, TTFT, ITL and errors; "
        "also with --no-progress (default: never)",
    )


def add_engine(option: Any) -> None:
    option = settings(option)
    option(
        "--warm-connections",
        type=int,
        nargs="?",
        const=AS_MANY_AS_IN_FLIGHT,
        metavar="N",
        help="open N connections before the start, 0 for none (default: all that a closed loop uses; an open loop keeps a few in "
        "reserve)",
    )
    option(
        "--fresh-connections",
        action="store_true",
        help="open a new connection for each request, for servers that close idle ones without notice",
    )
    option("--threads", type=int, metavar="N", help="engine threads; 0 lets vllmperf choose")
    option(
        "--spin-us",
        type=float,
        metavar="US",
        help="spin instead of sleeping during the last US microseconds before a send",
    )
    option("--keep-text", action="store_true", help="keep the answers' text in the run file")
    option("--record-chunks", action="store_true", help="keep both stamps of every chunk in the run file")
    option(
        "--no-server-metrics",
        dest="server_metrics",
        action="store_false",
        help="do not read the server's /metrics before and after the run",
    )


def add_keep_gaps(option: Any) -> None:
    settings(option)(
        "--keep-gaps",
        choices=KEEP_GAPS,
        help="requests whose gaps between tokens the run file keeps, which make up most of it: all, a uniform sample of at most "
        "10,000, or none (ITL then comes from a histogram)",
    )
