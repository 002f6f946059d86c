"""The server: where requests go, with which headers and bodies, and what the report says of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vllmperf.dropin import own_words
from vllmperf.dropin.guidellm.options import Options
from vllmperf.dropin.guidellm.settings import ROUTES
from vllmperf.dropin.guidellm.source import Item
from vllmperf.errors import TargetError, UsageError
from vllmperf.loadgen.request_id import uuid_prefix
from vllmperf.loadgen.task import Task
from vllmperf.plan import MOST, Credentials, Knobs, Plan
from vllmperf.target import AnswerError, client_of, models

ARGUMENTS = (
    "api_key",
    "organization",
    "project",
    "timeout",
    "http2",
    "follow_redirects",
    "max_output_tokens",
    "extra_body",
    "remove_from_body",
    "headers",
    "verify",
)
"""What --backend-args may say. http2 changes nothing: the engine speaks HTTP/1.1."""


@dataclass(frozen=True)
class Target:
    """A server and how it is asked."""

    task: Task
    route: str
    model: str
    limit_key: str
    max_output_tokens: int
    timeout_s: float
    follows_redirects: bool
    extra_body: Mapping[str, Any]
    remove_from_body: tuple[str, ...] = ()

    def body(self, item: Item) -> bytes:
        """The request of a prompt, with guidellm's fields."""
        fields = {
            **self.extra_body,
            "model": self.model,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        fields[self.limit_key] = item.output_tokens or self.max_output_tokens
        if item.output_tokens:
            fields |= {"stop": None, "ignore_eos": True}
        key, content = ("prompt", item.content)
        if self.route == "chat_completions":
            key, content = "messages", f'[{{"role":"user","content":{item.content}}}]'
        kept = [
            _member(name, value)
            for name, value in fields.items()
            if name not in (key, *self.remove_from_body)
        ]
        prompt = [] if key in self.remove_from_body else [f'"{key}":{content}']
        return ("{" + ",".join([*prompt, *kept]) + "}").encode()

    def renamed(self) -> Target:
        """The same with UUIDs that nobody else uses: vLLM refuses one that is already running."""
        return replace(self, task=self.task.replace(request_id_prefix=uuid_prefix()))

    def description(self) -> dict[str, Any]:
        """The report's "worker"."""
        return {
            "type_": "generative_requests_worker",
            "backend_type": "openai_http",
            "backend_target": self.task.plan.target.base_url,
            "backend_model": self.model,
            "backend_info": {
                "max_output_tokens": self.max_output_tokens,
                "timeout": self.timeout_s,
                "http2": False,
                "follow_redirects": self.follows_redirects,
                "headers": self.task.headers,
                "text_completions_path": ROUTES["text_completions"],
                "chat_completions_path": ROUTES["chat_completions"],
            },
        }


def _member(name: str, value: Any) -> str:
    return f"{json.dumps(name)}:{json.dumps(value, separators=(',', ':'))}"


def find(options: Options) -> Target:
    """The target, once the server has listed its models. Raises UsageError, and TargetError without it."""
    arguments, settings = dict(options.backend_args), options.settings
    unknown = next((name for name in arguments if name not in ARGUMENTS), None)
    if unknown is not None:
        raise UsageError(f"--backend-args: {unknown} is not known here; there are {', '.join(ARGUMENTS)}")
    timeout_s = _number(arguments, "timeout", settings.request_timeout)
    headers, secret = Credentials.apart(_headers(options))
    plan = Plan.of(
        base_url=_base_url(options.target),
        backend="openai-chat" if options.is_chat else "openai",
        headers=headers,
        insecure=not _flag(arguments, "verify", settings.openai__verify),
        cacert=own_words.bundle(own_words.OPENSSL_BUNDLE, options.target),
        num_prompts=1,
        ignore_eos=True,
        connect_timeout=timeout_s,
        first_token_timeout=timeout_s,
        stall_timeout=timeout_s,
        total_timeout=MOST,
        grace_period=0.0,
        request_id_prefix=uuid_prefix(),
    )
    task = Task(plan, Credentials(headers=secret), Knobs(keep_text=True))
    extra_body = _extra_body(arguments, settings.preferred_route)
    follows = _flag(arguments, "follow_redirects", settings.request_follow_redirects)
    model = _model(task, options.model, follows)
    return Target(
        task=task.replace(model=model),
        route=settings.preferred_route,
        model=model,
        limit_key=settings.openai__max_output_key[settings.preferred_route],
        max_output_tokens=int(_number(arguments, "max_output_tokens", settings.openai__max_output_tokens)),
        timeout_s=timeout_s,
        follows_redirects=follows,
        extra_body=extra_body,
        remove_from_body=tuple(map(str, arguments.get("remove_from_body") or ())),
    )


def _base_url(target: str) -> str:
    """Without /v1 and without a slash at the end. Raises UsageError when it is no address."""
    if not target.startswith(("http://", "https://")):
        raise UsageError(f"guidellm: --target is {target!r}: give http://HOST:PORT or https://HOST")
    return target.rstrip("/").removesuffix("/v1").rstrip("/")


def _number(arguments: Mapping[str, Any], name: str, usual: float) -> float:
    value = arguments.get(name)
    if value is None:
        return usual
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise UsageError(f"--backend-args: {name} is {value!r}; give a number above 0")
    return value


def _flag(arguments: Mapping[str, Any], name: str, usual: bool) -> bool:
    value = arguments.get(name)
    return usual if value is None else bool(value)


def _headers(options: Options) -> dict[str, str]:
    """Those of the key, then of the environment, then of --backend-args; null takes one out."""
    arguments, settings = options.backend_args, options.settings
    key = arguments.get("api_key") or settings.openai__api_key
    usual = {
        "Authorization": f"Bearer {key}" if key else settings.openai__bearer_token,
        "OpenAI-Organization": arguments.get("organization") or settings.openai__organization,
        "OpenAI-Project": arguments.get("project") or settings.openai__project,
    }
    own = arguments.get("headers") or {}
    if not isinstance(own, Mapping):
        raise UsageError('--backend-args: headers is no object; write {"headers": {"x-team": "a"}}')
    merged = {**usual, **settings.openai__headers, **own}
    return {name: str(text) for name, text in merged.items() if text is not None}


def _extra_body(arguments: Mapping[str, Any], route: str) -> dict[str, Any]:
    """Fields for every body, or those for this route where they are given by route."""
    found = arguments.get("extra_body") or {}
    if not isinstance(found, Mapping):
        raise UsageError('--backend-args: extra_body is no object; write {"extra_body": {"temperature": 0}}')
    if any(name in found for name in (*ROUTES, "models")):
        found = found.get(route) or {}
    return dict(found)


def _model(task: Task, asked: str | None, follow: bool) -> str:
    """The model asked for, which the server must have, or its first one. follow: redirects."""
    try:
        with client_of(task.plan.target, task.credentials, follow=follow) as client:
            names = [str(entry["id"]) for entry in models(client)]
    except AnswerError as error:
        raise TargetError(own_words.told(str(error), own_words.GUIDELLM)) from None
    if asked is not None and asked not in names:
        raise TargetError(
            f"{task.plan.target.base_url} has no model {asked}: give --model with one of {', '.join(names[:5])}"
        )
    return asked or names[0]
