"""What a run is to do: target, load, data, limits, output. Frozen, checked once, kept in the run file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vllmperf import datasets
from vllmperf.datasets import DataSet, Lengths
from vllmperf.errors import UsageError
from vllmperf.metrics.definitions import NAMES, OBJECTIVES

BACKENDS = {
    "openai": "/v1/completions",
    "vllm": "/v1/completions",
    "openai-chat": "/v1/chat/completions",
}
"""Kind of request and the path that goes with it when none is given."""

ARRIVALS = ("constant", "poisson", "gamma", "trace", "dataset")
MOST = 1e9
"""No number of seconds, requests or tokens lies above it."""
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
SECRET_HEADERS = ("authorization", "x-api-key", "api-key", "cookie", "proxy-authorization")
SECRET_WORDS = ("token", "secret", "password", "api-key", "apikey", "credential")
"""A header with one of these in its name is taken for a secret too."""


def is_secret(header: str) -> bool:
    """Whether the value of a header of this name must not be written anywhere."""
    name = header.lower()
    return name in SECRET_HEADERS or any(word in name for word in SECRET_WORDS)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run. Times in the unit of their name; None means "not given"."""

    # target
    base_url: str
    model: str | None = None
    backend: str = "openai"
    endpoint: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    api_key: str | None = field(default=None, repr=False)
    insecure: bool = False
    cacert: str | None = None
    # load
    request_rate: float = math.inf
    burstiness: float = 1.0
    arrival: str | None = None
    arrival_file: str | None = None
    max_concurrency: int | None = None
    num_prompts: int | None = 1000
    num_warmups: int = 0
    duration_s: float | None = None
    seed: int = 0
    # data
    dataset_name: str = "random"
    dataset_path: str | None = None
    tokenizer: str | None = None
    input_len: int | None = None
    output_len: int | None = None
    random_range_ratio: float = 0.0
    prefix_len: int | None = None
    dataset_options: Mapping[str, Any] = field(default_factory=dict)
    ignore_eos: bool = False
    stream: bool = True
    n: int = 1
    logprobs: int | None = None
    sampling: Mapping[str, float] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    text_prompts: bool = False
    string_content: bool = False
    chat_max_tokens: bool = False
    # limits
    connect_timeout_s: float = 10.0
    first_token_timeout_s: float = 300.0
    stall_timeout_s: float = 30.0
    total_timeout_s: float = 3600.0
    grace_period_s: float = 30.0
    # engine
    warm_connections: int | None = None
    fresh_connections: bool = False
    threads: int = 0
    spin_us: float = 50.0
    kernel_stamps: bool = True
    keep_text: bool = False
    record_chunks: bool = False
    request_id_prefix: str | None = None
    # report
    percentile_metrics: tuple[str, ...] = ()
    metric_percentiles: tuple[float, ...] = ()
    goodput: Mapping[str, float] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None
    simulator: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        _check_target(self)
        _check_load(self)
        _check_data(self)
        _check_limits(self)
        _check_report(self)

    @property
    def url(self) -> str:
        """Where the requests go."""
        return self.base_url.rstrip("/") + (self.endpoint or BACKENDS[self.backend])

    @property
    def is_chat(self) -> bool:
        return self.backend == "openai-chat"

    @property
    def limit_field(self) -> str:
        """The field of a request that limits its answer."""
        return "max_completion_tokens" if self.is_chat and not self.chat_max_tokens else "max_tokens"

    @property
    def sends_words(self) -> bool:
        """Made-up prompts are common words, about a token each: chats take no ids, and some servers neither."""
        is_made_up = self.dataset.is_made_up and not self.tokenizer
        return is_made_up and (self.is_chat or self.text_prompts)

    @property
    def dataset(self) -> DataSet:
        return datasets.table()[self.dataset_name]

    @property
    def is_open_loop(self) -> bool:
        """Requests have times of their own."""
        return self.arrival in ("trace", "dataset") or math.isfinite(self.request_rate)

    @property
    def secrets(self) -> list[str]:
        """Texts that must not be written anywhere."""
        hidden = [value for name, value in self.headers.items() if is_secret(name)]
        # "Bearer abc": a server may echo the last word alone
        words = [value.split()[-1] for value in hidden if value.strip()]
        return [*([self.api_key] if self.api_key else []), *hidden, *words]

    @property
    def lengths(self) -> Lengths:
        """What is asked for, else the data set's defaults."""
        usual = self.dataset.lengths
        return Lengths(
            self.input_len or usual.input,
            self.output_len or usual.output,
            usual.prefix if self.prefix_len is None else self.prefix_len,
        )

    def to_dict(self) -> dict[str, Any]:
        """For the run file: everything but secrets, lengths as they are used."""
        plan = asdict(self)
        del plan["api_key"]
        plan["headers"] = {name: "***" if is_secret(name) else value for name, value in self.headers.items()}
        lengths = self.lengths
        plan |= {"input_len": lengths.input, "output_len": lengths.output, "prefix_len": lengths.prefix}
        authorized = self.api_key is not None or any(name.lower() == "authorization" for name in self.headers)
        return {**plan, "url": self.url, "authorized": authorized}


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _positive(name: str, value: float | None, *, zero: bool = False) -> None:
    if value is None:
        return
    wanted = f"a number {'of 0 or more' if zero else 'above 0'}"
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UsageError(f"{name} is {value!r}: give {wanted}")
    if math.isnan(value) or value < 0 or (value == 0 and not zero):
        raise UsageError(f"{name} is {value:g}: give {wanted}")


def _finite(name: str, value: float | None, *, zero: bool = False) -> None:
    _positive(name, value, zero=zero)
    if value is not None and value > MOST:
        raise UsageError(f"{name} is {value:g}: give a number up to {MOST:g}")


def _whole(name: str, value: int | None, *, zero: bool = False) -> None:
    _finite(name, value, zero=zero)
    if value is not None and value != int(value):
        raise UsageError(f"{name} is {value:g}: give a whole number")


def _one_of(name: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise UsageError(f"{name} is {value!r}: choose one of {', '.join(known)}")


def _check_target(plan: Plan) -> None:
    _one_of("--backend", plan.backend, tuple(BACKENDS))
    try:
        parts = urlsplit(plan.base_url)
        parts.port  # noqa: B018 raises for a port that is no number
    except ValueError as error:
        raise UsageError(f"--base-url is no URL ({error}): give http://HOST:PORT or https://HOST") from None
    if parts.username or parts.password:
        raise UsageError("--base-url holds a user name or password: give --api-key or --header in its place")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"--base-url is {plan.base_url!r}: give http://HOST:PORT or https://HOST")
    if plan.endpoint is not None and not plan.endpoint.startswith("/"):
        raise UsageError(f"--endpoint is {plan.endpoint!r}: it must begin with /")
    if plan.url.endswith("/chat/completions") != plan.is_chat and plan.url.endswith("completions"):
        raise UsageError(
            f"--endpoint {plan.endpoint} is not one of --backend {plan.backend}: change one of them"
        )
    if not _is_plain(plan.url) or " " in plan.url or parts.query or parts.fragment:
        raise UsageError(f"{plan.url!r} is no URL to send to: leave out blanks, ? and #, write others as %XX")
    for name, value in plan.headers.items():
        if not HEADER_NAME.fullmatch(name) or not _is_plain(value):
            raise UsageError(f"--header {name!r}: a header is NAME=VALUE without line breaks, in ASCII")
    if plan.request_id_prefix is not None and not _is_plain(plan.request_id_prefix):
        raise UsageError(f"--request-id-prefix is {plan.request_id_prefix!r}: give printable ASCII")
    if plan.api_key is not None and not _is_plain(plan.api_key):
        raise UsageError("the API key holds what no header can carry: check --api-key or OPENAI_API_KEY")
    if plan.cacert and not Path(plan.cacert).is_file():
        raise UsageError(f"--cacert {plan.cacert}: there is no such file")


def _check_load(plan: Plan) -> None:
    _positive("--request-rate", plan.request_rate)
    if MOST < plan.request_rate < math.inf:
        raise UsageError(f"--request-rate is {plan.request_rate:g}: give inf for as fast as possible")
    _positive("--burstiness", plan.burstiness)
    _finite("--duration", plan.duration_s)
    _finite("--spin-us", plan.spin_us, zero=True)
    for name in ("max_concurrency", "num_prompts", "n"):
        _whole(f"--{name.replace('_', '-')}", getattr(plan, name))
    for name in ("num_warmups", "threads", "warm_connections"):
        _whole(f"--{name.replace('_', '-')}", getattr(plan, name), zero=True)
    if not isinstance(plan.seed, int) or not 0 <= plan.seed < 2**32:
        raise UsageError(f"--seed is {plan.seed!r}: give a whole number from 0 to 2^32 - 1")
    _one_of("--arrival", plan.arrival, ARRIVALS)
    if (plan.arrival == "trace") != (plan.arrival_file is not None):
        raise UsageError("--arrival trace and --arrival-file FILE go together: give both or none")
    if plan.arrival in ("constant", "poisson", "gamma") and not math.isfinite(plan.request_rate):
        raise UsageError(f"--arrival {plan.arrival} needs a --request-rate")
    if plan.arrival in ("trace", "dataset") and math.isfinite(plan.request_rate):
        raise UsageError(f"--arrival {plan.arrival} has its own times: leave --request-rate out")
    if plan.arrival is None and plan.burstiness != 1 and not math.isfinite(plan.request_rate):
        raise UsageError("--burstiness needs a --request-rate")
    if plan.num_prompts is None and plan.duration_s is None and plan.arrival not in ("trace", "dataset"):
        raise UsageError("a run needs an end: give --num-prompts, --duration, or both")
    if plan.num_prompts is None and not plan.is_open_loop and plan.max_concurrency is None:
        raise UsageError("--duration alone would send without limit: add --request-rate or --max-concurrency")


def _check_data(plan: Plan) -> None:
    _one_of("--dataset-name", plan.dataset_name, tuple(datasets.table()))
    name, path = plan.dataset_name, plan.dataset.path
    if path is None and plan.dataset_path:
        raise UsageError(f"--dataset-path does not go with --dataset-name {name}: remove one of them")
    if path is not None and not plan.dataset_path:
        raise UsageError(f"--dataset-name {name} needs --dataset-path {path}")
    if plan.text_prompts and (not plan.dataset.is_made_up or plan.tokenizer):
        raise UsageError("--text-prompts is of random prompts without --tokenizer: leave it out")
    if plan.arrival == "dataset" and plan.dataset.times_s is None:
        timed = ", ".join(each.name for each in datasets.table().values() if each.times_s)
        raise UsageError(f"--arrival dataset needs a data set with times of its own: {timed}")
    datasets.checked(name, plan.dataset_options)
    for name in ("string_content", "chat_max_tokens"):
        if getattr(plan, name) and not plan.is_chat:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} is of chats: add --backend openai-chat or leave it out")
    _whole("--input-len", plan.input_len)
    _whole("--output-len", plan.output_len)
    _whole("--random-prefix-len", plan.prefix_len, zero=True)
    _whole("--logprobs", plan.logprobs, zero=True)
    if not 0 <= plan.random_range_ratio < 1:
        raise UsageError(f"--random-range-ratio is {plan.random_range_ratio:g}: it must be within 0 and 1")


def _check_limits(plan: Plan) -> None:
    for name in ("connect_timeout", "first_token_timeout", "stall_timeout", "total_timeout"):
        _finite(f"--{name.replace('_', '-')}", getattr(plan, name + "_s"))
    _finite("--grace-period", plan.grace_period_s, zero=True)


def _check_report(plan: Plan) -> None:
    for name in plan.percentile_metrics:
        _one_of("--percentile-metrics", name, NAMES)
    for value in plan.metric_percentiles:
        if not 0 <= value <= 100:
            raise UsageError(f"--metric-percentiles has {value:g}: percentiles lie within 0 and 100")
    for name, limit in plan.goodput.items():
        _one_of("--goodput", name, OBJECTIVES)
        _positive(f"--goodput {name}", limit)
