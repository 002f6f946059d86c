"""The options of one run, read and checked."""

from __future__ import annotations

from dataclasses import dataclass

OLD = "2024-10"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says. Times in the unit of their name; None means "not given"."""

    profile: str
    host: str
    users: int
    spawn_rate: float
    run_time: float | None
    stop_timeout: float
    headless: bool
    only_summary: bool
    exit_code_on_error: int
    loglevel: str
    locustfile: str | None
    provider: str | None
    model: str | None
    chat: bool
    prompt_tokens: int
    max_tokens: int
    max_tokens_cap: int | None
    max_tokens_distribution: str
    max_tokens_range: float
    stream: bool
    api_key: str | None
    temperature: float
    logprobs: int | None
    summary_file: str | None
    qps: float | None
    qps_distribution: str
    burst: float | None
    tokenizer: str | None
    show_response: bool
    prompt_cache_max_len: int
    header: tuple[str, ...]
    n: int
    locust_rounding: bool
    # 2024-10
    prompt_chars: int | None = None
    prompt_text: str | None = None
    prompt_file: str | None = None
    prompt_randomize: bool = False
    # 2026-06
    dataset: str = "limericks"
    dataset_shuffle_seed: int | None = None
    dataset_limit: int | None = None
    prompt: str | None = None
    top_k: int | None = None
    show_request: bool = False
    prompt_cache_max_pct: float | None = None
    max_requests: int | None = None
    reasoning_effort: str | None = None
    clear_assistant: bool = False
    embeddings: bool = False
    normalize: bool = False

    @property
    def is_old(self) -> bool:
        """The version of the guide's time."""
        return self.profile == OLD

    @property
    def streams(self) -> bool:
        """Answers come as events."""
        return self.stream and not self.embeddings

    @property
    def headers(self) -> dict[str, str]:
        """The headers that were asked for, by name."""
        return {name: value.strip() for name, value in (header.split(":", 1) for header in self.header)}
