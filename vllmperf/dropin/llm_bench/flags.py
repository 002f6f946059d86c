"""The flags of both versions of llm_bench and of locust's own that make sense here, as one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vllmperf.dropin.llm_bench.duration import duration_s
from vllmperf.dropin.llm_bench.providers import PROVIDERS

PROFILES = ("2024-10", "2026-06")
DISTRIBUTIONS = ("constant", "uniform", "exponential", "normal")
QPS_DISTRIBUTIONS = ("constant", "uniform", "exponential")


@dataclass(frozen=True)
class Flag:
    """One flag. `kind` is what turns its text into a value; bool means --NAME and --no-NAME, None a switch."""

    names: tuple[str, ...]
    kind: Any
    default: Any = None
    env: str | None = None
    choices: Sequence[str] | None = None
    profiles: tuple[str, ...] = PROFILES
    is_list: bool = False
    help: str = ""

    @property
    def dest(self) -> str:
        """The name of its value."""
        return next(name for name in self.names if name.startswith("--"))[2:].replace("-", "_")


OLD, NEW = ("2024-10",), ("2026-06",)

FLAGS = (
    # locust's
    Flag(("-H", "--host"), str, "http://localhost:80", "LOCUST_HOST", help="server, up to /v1"),
    Flag(
        ("-u", "--users"),
        int,
        1,
        "LOCUST_USERS",
        help="users: each waits for its answer before it asks again",
    ),
    Flag(("-r", "--spawn-rate"), float, 1.0, "LOCUST_SPAWN_RATE", help="users that start in a second"),
    Flag(
        ("-t", "--run-time"), duration_s, None, "LOCUST_RUN_TIME", help="20, 20s, 3m, 2h, 1h30m; none: Ctrl-C"
    ),
    Flag(("-s", "--stop-timeout"), duration_s, 0.0, "LOCUST_STOP_TIMEOUT", help="time for what is in flight"),
    Flag(("--headless",), None, help="there is no web page here, with it or without"),
    Flag(("--only-summary",), None, help="no tables while it runs"),
    Flag(
        ("--exit-code-on-error",), int, 1, "LOCUST_EXIT_CODE_ON_ERROR", help="exit code after failed requests"
    ),
    Flag(
        ("-L", "--loglevel"),
        str,
        "INFO",
        "LOCUST_LOGLEVEL",
        ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
    ),
    Flag(("-f", "--locustfile"), str, None, "LOCUST_LOCUSTFILE", help="taken and not read"),
    # llm_bench's
    Flag(("--provider",), str, None, choices=tuple(PROVIDERS), help="kind of server, else guessed"),
    Flag(("-m", "--model"), str, None, "MODEL", help="else the first one that the server lists"),
    Flag(("--chat",), bool, None, help="chat completions (default: no in 2024-10, yes in 2026-06)"),
    Flag(("-p", "--prompt-tokens"), int, 512, "PROMPT_TOKENS", help="length of the prompt"),
    Flag(("--prompt-chars",), int, None, "PROMPT_CHARS", profiles=OLD, help="its length in characters"),
    Flag(
        ("--prompt-text",),
        str,
        None,
        "PROMPT_TEXT",
        profiles=OLD,
        help="the prompt, or @FILE, or @FILE.jsonl",
    ),
    Flag(("--prompt-file",), str, None, profiles=OLD, help="the same as --prompt-text @FILE"),
    Flag(
        ("--prompt-randomize",), bool, False, profiles=OLD, help="letters drawn anew in place of the padding"
    ),
    Flag(
        ("-d", "--dataset"), str, "limericks", "DATASET", profiles=NEW, help="limericks, code, or @FILE.jsonl"
    ),
    Flag(("--dataset-shuffle-seed",), int, None, profiles=NEW, help="shuffle the file's rows"),
    Flag(("--dataset-limit",), int, None, profiles=NEW, help="the first rows only"),
    Flag(("--prompt",), str, None, profiles=NEW, help="the question behind the text of a data set"),
    Flag(("-o", "--max-tokens"), int, 64, "MAX_TOKENS", help="tokens to generate, or their mean"),
    Flag(("--max-tokens-cap",), int, None, "MAX_TOKENS_CAP", help="no drawn length is above it"),
    Flag(("--max-tokens-distribution",), str, "constant", "MAX_TOKENS_DISTRIBUTION", DISTRIBUTIONS),
    Flag(
        ("--max-tokens-range",), float, 0.3, "MAX_TOKENS_RANGE", help="width of the distribution, as a share"
    ),
    Flag(("--top-k",), int, None, "TOP_K", profiles=NEW),
    Flag(("--stream",), bool, True, help="streamed answers"),
    Flag(("-k", "--api-key"), str, None, "API_KEY"),
    Flag(("--temperature",), float, 1.0, "TEMPERATURE"),
    Flag(("--logprobs",), int, None, help="ask for log probabilities; they tell the number of tokens"),
    Flag(("--summary-file",), str, None, help="CSV that gets one more line"),
    Flag(("--qps",), float, None, help="requests a second, by whatever user is free"),
    Flag(("--qps-distribution",), str, "constant", choices=QPS_DISTRIBUTIONS),
    Flag(("--burst",), float, None, help="seconds between the bursts of all users"),
    Flag(("--tokenizer",), str, None, profiles=OLD, help="folder with a tokenizer.json"),
    Flag(("--tokenizer",), str, None, "TOKENIZER", profiles=NEW, help="folder with a tokenizer.json"),
    Flag(("--show-response",), bool, False, help="print each answer"),
    Flag(("--show-request",), bool, False, profiles=NEW, help="print each request"),
    Flag(("-pcml", "--prompt-cache-max-len"), int, 0, "PROMPT_CACHE_MAX_LEN", help="see docs/llm_bench.md"),
    Flag(("--prompt-cache-max-pct",), float, None, "PROMPT_CACHE_MAX_PCT", profiles=NEW, help="fireworks"),
    Flag(("--header",), str, None, is_list=True, help="NAME:VALUE, may be given several times"),
    Flag(("-n", "--n"), int, 1, help="answers to each request"),
    Flag(("--max-requests",), int, None, profiles=NEW, help="stop when so many have succeeded"),
    Flag(("--reasoning-effort",), str, None, profiles=NEW),
    Flag(("--clear-assistant",), bool, False, profiles=NEW, help="drop a last message of the assistant"),
    Flag(("--embeddings",), bool, False, profiles=NEW, help="ask for embeddings"),
    Flag(("--normalize",), bool, False, profiles=NEW, help="of embeddings"),
    # ours
    Flag(
        ("--locust-rounding",),
        None,
        help="round as locust does: 1 ms, from 100 ms on 10 ms, from 1 s on 100 ms",
    ),
)

REFUSED = {
    **dict.fromkeys(("--csv", "--csv-full-history", "--html", "--json"), "write --summary-file"),
    "--logfile": "send the standard error to a file",
    "--skip-log-setup": "leave it out",
    "--config": "write its settings as flags",
    "--class-picker": "there are no classes here",
    **dict.fromkeys(("--web-host", "--web-port"), "there is no web page here"),
    "--autostart": "use --headless",
    "--autoquit": "use --headless and -t",
    **dict.fromkeys(
        ("--master", "--worker", "--processes", "--expect-workers"), "one process is enough here"
    ),
    "--reset-stats": "the statistics are reset as llm_bench does it",
    **dict.fromkeys(("--tags", "--exclude-tags"), "there is one task only"),
    **dict.fromkeys(("--prompt-images-with-resolutions", "--prompt-images-positioning"), "images come later"),
    "--return-logits": "use --embeddings without it",
    "--rerank": "use vllmperf bench",
    **dict.fromkeys(("--ramping-time", "--ramping-warmup-time"), "use -r for a ramp"),
}
"""Flags of locust or llm_bench that are not here, and what to do in their place."""
