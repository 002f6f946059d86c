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
        help="settings from a plan in JSON; flags override it",
    )
    option("--print-plan", action="store_true", help="print the plan as JSON, and send nothing")


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
        help="start the simulated server inside and load it; settings like ttft_ms=50,itl_ms=10 are those of "
        "vllmperf sim --help",
    )


def add_load(option: Any) -> None:
    option = settings(option)
    option(
        "--request-rate",
        type=float,
        metavar="R",
        help="requests per second, inf = all at once",
    )
    option(
        "--max-concurrency",
        type=int,
        metavar="N",
        help="requests in flight at most; with a rate, a cap on it; of conversations: sessions at once",
    )
    option(
        "--num-prompts",
        type=int,
        metavar="N",
        help="requests in all, of conversations: sessions (default: 1000; no limit with --duration)",
    )
    option(
        "--duration",
        "--max-duration",
        dest="duration",
        metavar="T",
        help="stop sending after 30s, 10m, 1h; with --until at the latest",
    )
    option(
        "--until",
        metavar="METRIC±P%%",
        help="stop when a metric is known so well, like 'ttft_p99±5%%' or 'requests_per_s+-2%%'; needs --max-duration "
        "(or --num-prompts)",
    )
    option(
        "--arrival",
        choices=ARRIVALS,
        help="how requests of a rate are spread: evenly, by chance, with --burstiness, or from a file "
        "(default: gamma, which with burstiness 1 is poisson)",
    )
    option("--burstiness", type=float, metavar="B", help="shape of gamma gaps, below 1 = bursts")
    option(
        "--arrival-file",
        metavar="FILE",
        help="times in s for --arrival trace: one a line, or a column arrival_s or timestamp of CSV or "
        "JSONL; counted from the earliest",
    )
    option(
        "--think-time",
        metavar="T",
        help="conversations: from the end of an answer to the next turn of its session (default: none)",
    )
    option("--num-warmups", type=int, metavar="N", help="requests sent before and not counted")
    option("--seed", type=int, metavar="N", help="of prompts, lengths and arrivals")


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
        help="file of the data set, a link to one on the Hugging Face hub, or for hf the name of a data set there",
    )
    option(
        "--tokenizer",
        metavar="NAME",
        help="model folder with a tokenizer.json, or a model of the Hugging Face hub, to make and count tokens; "
        "for texts the one of --model ORGANISATION/NAME, unless this is none. Without a tokenizer, made-up prompts are "
        "token ids (chat: as many short words), and 4 bytes of other texts count as a token",
    )
    option(
        "--text-prompts",
        action="store_true",
        help="random without --tokenizer: send text, common words of about a token each, for servers that take "
        "no token ids; the server counts the tokens",
    )
    option(
        "--prompt-salt",
        metavar="TEXT",
        help="begin all prompts with it (of token ids: change the first ones), so that no prefix cache has them from an "
        "earlier run",
    )


def _described(dataset: datasets.DataSet) -> str:
    return f"{dataset.name} ({dataset.about})"


def add_lengths(option: Any) -> None:
    option = settings(option)
    option("--input-len", type=int, metavar="N", help="prompt, whatever the data set (not sharegpt, custom)")
    option("--output-len", type=int, metavar="N", help="answer, whatever the data set")
    option(
        "--random-range-ratio",
        type=float,
        metavar="X",
        help="random: lengths spread evenly within length × (1 ± X)",
    )
    option(
        "--prefix-hit-rate",
        type=float,
        metavar="X",
        help="random, prefix_repetition: choose the common prefix so that the server's prefix cache holds this share of the "
        "prompt tokens (0 to below 1; prompts stay as long), bring it there before the run, and hold what is seen against it",
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
        help="answers of full length; random always asks for it, as vLLM does",
    )
    option(
        "--no-stream",
        dest="stream",
        action="store_false",
        help="ask for whole answers: no TTFT, TPOT, ITL (vLLM's flag of this name is about reading data)",
    )
    option("--n", type=int, metavar="N", help="choices per request")
    option("--logprobs", type=int, metavar="N", help="logprobs per token")
    for name in SAMPLING:
        option(
            flag(name),
            type=int if name == "top_k" else float,
            metavar="X",
            help=f"{name}, if the server's default is not wanted",
        )
    option(
        "--extra-body",
        type=json_object,
        metavar="JSON",
        help="change every body by a JSON merge patch: fields replace ours, objects merge, null leaves a field out, "
        """like '{"stream_options": null}'""",
    )
    option(
        "--string-content",
        action="store_true",
        help="chat: send content as a plain string, not as a list of parts, for servers that take only that",
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
        help="x-request-id: this and the number of the request (default: a UUID that ends in the number)",
    )


def add_limits(option: Any) -> None:
    option = settings(option)
    option("--connect-timeout", metavar="T", help="for a connection to stand")
    option("--first-token-timeout", metavar="T", help="from sending to the first token")
    option("--stall-timeout", metavar="T", help="without an event after the first token")
    option("--total-timeout", metavar="T", help="for one request")
    option("--grace-period", metavar="T", help="for what is in flight when sending stops")


def add_error_limits(option: Any) -> None:
    option = settings(option)
    option(
        "--max-errors",
        type=int,
        metavar="N",
        help="give the run up when N requests have failed; what was measured is kept (default: never)",
    )
    option(
        "--max-error-rate",
        type=float,
        metavar="SHARE",
        help=f"give it up when this share, like 0.2, of the last {WINDOW} requests has failed (default: never)",
    )


def add_power(option: Any) -> None:
    option = settings(option)
    option(
        "--power",
        metavar="SOURCE",
        help="watts of the server's GPUs: dcgm=URL of DCGM's exporter, like dcgm=http://NODE:9400/metrics; "
        "prometheus=URL[,query=…], asked at the end; or file=PATH, CSV or JSON lines with time, watts and perhaps gpu",
    )
    option(
        "--gpu-tdp",
        type=float,
        metavar="W",
        help="power limit of one GPU in watts (default: what DCGM says, if it does)",
    )


def add_on_server_loss(option: Any) -> None:
    settings(option)(
        "--on-server-loss",
        metavar="record|wait[:T]",
        help="when the server is gone (refuses connections, and /health does not answer): record requests as failed, or wait "
        "until it is back, at most T, and go on; what nobody accepted meanwhile is then sent again and counts once",
    )


def add_record(option: Any) -> None:
    option(
        "--record", type=Path, metavar="FILE", help="keep the run file (vllmperf report FILE shows it again)"
    )
    option(
        "--resume",
        type=Path,
        metavar="RUN",
        help="go on with a run that was killed or interrupted: send what is not in its run file, and add it there",
    )
    option(
        "--repeat",
        type=int,
        metavar="K",
        help="make K runs one after the other with seeds seed, seed+1, …: means over the runs with the interval between "
        "them; --record NAME.vllmperf writes NAME.1.vllmperf and so on",
    )


def add_output(option: Any) -> None:
    note = settings(option)
    json_option.add(option, "the summary")
    option("--mlperf", action="store_true", help=MLPERF)
    option("--no-trim", action="store_true", help=NO_TRIM)
    fail_if.add(option)
    option("--html", metavar="FILE", help="write the report as a page of HTML to FILE")
    option("--csv", metavar="FILE", help="write one row a request to FILE, - for stdout instead of the table")
    note(
        "--percentile-metrics",
        metavar="NAMES",
        help=f"rows of the table, of {','.join(NAMES)} (default: those that there are)",
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
        help=f"count requests within limits, like ttft:200 tpot:50; of {', '.join(OBJECTIVES)}",
    )
    option("--save-result", action="store_true", help="write a result JSON like that of vllm bench serve")
    option(
        "--save-detailed", action="store_true", help="the same with an entry for each request, texts included"
    )
    option("--result-dir", type=Path, metavar="DIR", help="folder of the result JSON (default: here)")
    option("--result-filename", metavar="NAME", help="its name (default: made of settings and time)")
    note(
        "--metadata",
        type=pair,
        nargs="+",
        action=Pairs,
        metavar="K=V",
        help="kept with the run",
    )
    note("--label", metavar="TEXT", help="name of this run, kept with it")
    option("--no-progress", "--disable-tqdm", action="store_true", help="no live figures on stderr")
    note(
        "--report-interval",
        metavar="T",
        help="print every 10s, 1m a line to stderr: what ended in that time, its rate, TTFT, ITL, errors; also with "
        "--no-progress (default: never)",
    )


def add_engine(option: Any) -> None:
    option = settings(option)
    option(
        "--warm-connections",
        type=int,
        nargs="?",
        const=AS_MANY_AS_IN_FLIGHT,
        metavar="N",
        help="connections opened before the start, 0 = none (default: all that a closed loop will use; an open loop keeps "
        "a few ahead of its need)",
    )
    option(
        "--fresh-connections",
        action="store_true",
        help="a new connection for each request, for servers that close kept ones without a word",
    )
    option("--threads", type=int, metavar="N", help="engine threads, 0 = chosen")
    option(
        "--spin-us",
        type=float,
        metavar="US",
        help="before a send is due, spin instead of sleeping",
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
        help="of which requests the run file keeps the gaps between tokens, its bulk: all, a uniform sample of at most "
        "10,000 requests, or none (ITL by a histogram)",
    )
