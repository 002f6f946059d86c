"""Which server, which kind, which model: from the options, the host's name, or the server's own list."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vllmperf.dropin import own_words
from vllmperf.dropin.llm_bench import providers
from vllmperf.dropin.llm_bench.options import Options
from vllmperf.errors import TargetError
from vllmperf.loadgen.task import Task
from vllmperf.plan import MOST, Credentials, Knobs, Plan
from vllmperf.target import client_of, models

TIMEOUT_S = 3600.0
"""The original waits without end; a request that takes an hour is lost."""


@dataclass(frozen=True)
class Target:
    """Where requests go. models_s: how long the question for the models took; None when it was not asked."""

    provider: str
    model: str
    path: str
    task: Task
    models_s: float | None


def find(options: Options) -> Target:
    """The target. Raises UsageError for a provider that is not here, TargetError when the server must be asked
    and does not answer."""
    provider = options.provider or providers.provider_of_host(options.host)
    if provider is not None:
        providers.check(provider, options)  # before the server is asked
    model = options.model or (providers.PROVIDERS[provider].model if provider else None)
    models_s = None
    if model is None or provider is None:
        asked = task(options, "/v1/completions", chat=False)
        with client_of(asked.plan.target, asked.credentials, follow=True) as client:
            client.prepare()
            began_s = time.perf_counter()
            listed = models(client)
        models_s = time.perf_counter() - began_s
        entry = _entry(listed, model)
        model = str(entry.get("id") or model)
        if provider is None:
            provider = _owner(entry, model)
            providers.check(provider, options)
    path = providers.path(provider, options)
    return Target(provider, model, path, task(options, path, path.endswith("/chat/completions")), models_s)


def task(options: Options, path: str, chat: bool) -> Task:
    """What the engine is told of the target."""
    headers, secret = Credentials.apart(options.headers)
    plan = Plan.of(
        base_url=options.host,
        backend="openai-chat" if chat else "openai",
        endpoint=path,
        headers=headers,
        cacert=own_words.bundle(own_words.REQUESTS_BUNDLE, options.host),
        max_concurrency=options.users,
        duration=MOST,
        stream=options.streams,
        first_token_timeout=TIMEOUT_S,
        stall_timeout=TIMEOUT_S,
        total_timeout=TIMEOUT_S,
        grace_period=options.stop_timeout,
        request_id_prefix="",
    )
    return Task(plan, Credentials(api_key=options.api_key, headers=secret), Knobs(keep_text=True))


def _entry(listed: list[Mapping[str, Any]], model: str | None) -> Mapping[str, Any]:
    if model is None:
        return listed[0]
    return next((entry for entry in listed if entry.get("id") == model), {})


def _owner(entry: Mapping[str, Any], model: str) -> str:
    owner = entry.get("owned_by")
    if not isinstance(owner, str) or owner not in providers.PROVIDERS:
        raise TargetError(f"/v1/models does not tell what kind of server has {model}: give --provider")
    return owner
