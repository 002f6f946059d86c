"""Commands to run after a run: its own, out of its plan, with as much load, less, or more; and how its server is looked at.

Commands of an advice have {placeholders}. Where one has no value for this run, the command does not fit it and is left out.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from string import Formatter
from typing import Any
from urllib.parse import urlsplit

from vllmperf import datasets
from vllmperf.parser import flag
from vllmperf.place import CLUSTER, LOOPBACK, NETWORK, SIMULATOR, host_of, place_of, service_of
from vllmperf.plan.limits import Limits
from vllmperf.plan.load import HAVE_TIMES
from vllmperf.plan.part import Part
from vllmperf.plan.plan import PARTS
from vllmperf.plan.target import Target

Plan = Mapping[str, Any]
Summary = Mapping[str, Any]
REPEATED = ("--base-url", "--header")
LONGER, ENOUGH = 4, 200
"""A longer run is so many times as long, and has at least so many requests."""


def commands(
    templates: Sequence[str], summary: Summary, path: str, figures: Mapping[str, float]
) -> tuple[str, ...]:
    """Those that fit the run, filled in. figures: of the pattern, for placeholders of its own."""
    words = {**_words(summary), "run": shlex.quote(path), **{k: f"{v:.0f}" for k, v in figures.items()}}
    if summary["state"] in ("interrupted", "killed"):
        words["resume"] = f"vllmperf bench --resume {words['run']}"
    fitting = (one for one in templates if all(words.get(name) is not None for name in _names(one)))
    return tuple(dict.fromkeys(_without_repeats(one.format(**words)) for one in fitting))


def _names(template: str) -> Iterator[str]:
    return (name for _, name, _, _ in Formatter().parse(template) if name)


def _without_repeats(command: str) -> str:
    """A flag that comes again overrides the earlier one."""
    program, pairs = list[str](), list[list[str]]()
    for word in shlex.split(command):
        if word.startswith("--"):
            pairs.append([word])
        else:
            (pairs[-1] if pairs else program).append(word)
    if program[:1] != ["vllmperf"]:
        return command
    last = {pair[0]: at for at, pair in enumerate(pairs)}
    kept = [pair for at, pair in enumerate(pairs) if pair[0] in REPEATED or last[pair[0]] == at]
    return shlex.join([*program, *(word for pair in kept for word in pair)])


# ---- placeholders ----


def _words(summary: Summary) -> dict[str, str | None]:
    plan, place = summary["plan"], place_of(summary["plan"])
    body, own = shlex.join(_request(plan)), shlex.join(_limits(plan))
    where = shlex.join(_where(plan, _urls(plan)))
    parts = urlsplit(str(plan.get("base_url") or ""))
    service = service_of(host_of(plan))
    behind = {CLUSTER: f"POD_IP:{parts.port or 8000}", NETWORK: "SERVER:8000"}.get(place)
    busiest = summary["in_flight"]["max"] or 1
    return {
        "bench": f"vllmperf bench {where} {body} {own}",
        "direct": None if behind is None else f"vllmperf bench {_direct(plan, behind)} {body} {own}",
        "capacity": f"vllmperf capacity {where} {body}",
        "load": _load(summary, 1.0),
        "lighter": _load(summary, 0.5),
        "longer": _load(summary, 1.0, max(LONGER, ENOUGH / max(summary["requests"]["completed"], 1))),
        "seed": f"--seed {(plan.get('seed') or 0) + 1}",
        "short": "--output-len 32" + (" --input-len 32" if plan.get("input_len") else ""),
        "warmups": f"--num-warmups {max(2 * (plan.get('num_warmups') or 0), 50)}",
        "grace": f"--grace-period {max(2 * (plan.get('grace_period') or 0), 60):g}",
        "ahead": f"--warm-connections {busiest}",
        "slots": f"--max-concurrency {10 * (plan.get('max_concurrency') or busiest)}",
        "one_prefix": "--prefix-repetition-num-prefixes 1"
        if plan.get("dataset_name") == "prefix_repetition"
        else None,
        "curl": None if place == SIMULATOR else _curl(plan),
        "metrics": None if place == SIMULATOR or not summary.get("server") else f"{_curl(plan)}/metrics",
        "listener": None if place != LOOPBACK else f"ss -ltnp 'sport = :{parts.port or _usual_port(plan)}'",
        "endpoints": None
        if service is None
        else f"kubectl -n {service[1]} get endpointslices -l kubernetes.io/service-name={service[0]}",
        "exec": None if service is None else f"kubectl -n {service[1]} exec POD --",
    }


def _usual_port(plan: Plan) -> int:
    return 443 if str(plan.get("base_url")).startswith("https:") else 80


def _curl(plan: Plan) -> str:
    root = str(plan.get("base_url") or "http://HOST:8000").rstrip("/").removesuffix("/v1")
    trust = "k" if plan.get("insecure") else ""
    cacert = f" --cacert {shlex.quote(plan['cacert'])}" if plan.get("cacert") else ""
    return f"curl -sS{trust}{cacert} {shlex.quote(root)}"


# ---- the run's own command ----


def _urls(plan: Plan) -> list[str]:
    urls = [str(plan.get("base_url") or "URL"), *(plan.get("other_urls") or ())]
    return [f"{url}={n}" for url, n in zip(urls, plan.get("weights") or (), strict=False)] or urls


def _where(plan: Plan, urls: Sequence[str]) -> list[str]:
    if plan.get("simulator") is not None:
        settings = ",".join(f"{name}={_sim_value(value)}" for name, value in plan["simulator"].items())
        return ["--sim", *([settings] if settings else [])]
    return [word for url in urls for word in ("--base-url", url)]


def _sim_value(value: object) -> str:
    if isinstance(value, list | tuple):
        return ("," if all(isinstance(one, int) for one in value) else ";").join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _direct(plan: Plan, host: str) -> str:
    return shlex.join(["--base-url", f"http://{host}{urlsplit(str(plan.get('base_url'))).path.rstrip('/')}"])


ELSEWHERE = (
    "base_url",
    "simulator",
    "other_urls",
    "weights",
    "prefix_len",
    "dataset_options",
    "seed",
    "request_id_prefix",
)
"""Settings that become flags elsewhere. Ids of requests are drawn anew."""


def _request(plan: Plan) -> list[str]:
    """What is sent, and how: flags of the target, the data and the requests."""
    words = [*_flags(plan, Target), *_flags(plan, PARTS["workload"])]
    dataset = datasets.table().get(str(plan.get("dataset_name")))
    own = dataset is not None and "prefix" in dataset.own_lengths and plan.get("prefix_hit_rate") is None
    if own and plan.get("prefix_len"):
        words += [f"--{str(plan['dataset_name']).replace('_', '-')}-prefix-len", str(plan["prefix_len"])]
    for name, value in (plan.get("dataset_options") or {}).items():
        words += [flag(name), str(value)]
    return [*words, *(("--seed", str(plan["seed"])) if plan.get("seed") else ())]


def _limits(plan: Plan) -> list[str]:
    think = ["--think-time", f"{plan['think_time']:g}"] if plan.get("think_time") else []
    return [
        *think,
        *(["--fresh-connections"] if plan.get("fresh_connections") else []),
        *_flags(plan, Limits),
    ]


def _flags(plan: Plan, part: type[Part]) -> Iterator[str]:
    """Of what is not left at its default."""
    for name, each in part.__dataclass_fields__.items():
        value = plan.get(name)
        if name in ELSEWHERE or value is None or value == each.default:
            continue
        if name == "ignore_eos" and plan.get("dataset_name", "random") == "random":
            continue  # goes without saying
        if isinstance(value, bool):
            yield flag(name)
        elif name == "headers":
            yield from (word for key, text in value.items() for word in ("--header", f"{key}={text}"))
        elif value != {}:
            yield from (flag(name), json.dumps(value) if isinstance(value, Mapping) else f"{value}")


# ---- load ----


def _rate(plan: Plan) -> float:
    return float(plan.get("request_rate") or math.inf)


def _load(summary: Summary, share: float, longer: float = 1.0) -> str:
    """The flags of the run's load, of a share of it, for so many times as long."""
    plan = summary["plan"]
    return shlex.join([*_intensity(summary, share), *_end(plan, longer)])


def _intensity(summary: Summary, share: float) -> Iterator[str]:
    plan, limit = summary["plan"], summary["plan"].get("max_concurrency")
    rate, arrival = _rate(plan), plan.get("arrival")
    if arrival in HAVE_TIMES and share != 1:
        rate, arrival = summary["throughput"].get("sent_per_s") or math.inf, None
    if math.isfinite(rate):
        yield from ("--request-rate", f"{rate * share:.4g}")
        burstiness = float(plan.get("burstiness") or 1)
        yield from (("--burstiness", f"{burstiness:g}") if burstiness != 1 else ())
    elif not arrival and share != 1:
        limit = max(round((limit or summary["in_flight"]["max"] or 2) * share), 1)
    if arrival:
        yield from ("--arrival", arrival)
    if arrival and plan.get("arrival_file"):
        yield from ("--arrival-file", plan["arrival_file"])
    if limit:
        yield from ("--max-concurrency", str(limit))


def _end(plan: Plan, longer: float) -> Iterator[str]:
    n, seconds = plan.get("num_prompts"), plan.get("duration")
    if plan.get("until"):
        yield from ("--until", str(plan["until"]))
    if seconds:
        yield from ("--duration", f"{math.ceil(seconds * longer) if longer > 1 else seconds:g}")
    if n:
        yield from ("--num-prompts", str(math.ceil(n * longer)))
    if plan.get("num_warmups"):
        yield from ("--num-warmups", str(plan["num_warmups"]))
