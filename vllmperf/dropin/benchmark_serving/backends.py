"""What each backend is sent, byte for byte, and how its answers are read: one table.

Bodies are `json.dumps` of a dict whose keys stand in the original's order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vllmperf.datasets.dataset import Sample
from vllmperf.errors import UsageError


@dataclass(frozen=True, slots=True)
class Common:
    """What all requests of a run share. extra: sampling parameters and --extra-body, merged last."""

    logprobs: int | None = None
    ignore_eos: bool = False
    best_of: int = 1
    extra: Mapping[str, Any] = field(default_factory=dict)


Body = Callable[[str, Sample, Common], dict[str, Any]]
"""model, sample, what is common → the body's fields"""


# ---- completions and chat ----


def _completions_06(model: str, sample: Sample, common: Common) -> dict[str, Any]:
    return {
        "model": model,
        "prompt": sample.prompt,
        "temperature": 0.0,
        "best_of": common.best_of,
        "max_tokens": sample.output_len,
        "logprobs": common.logprobs,
        "stream": True,
        "ignore_eos": common.ignore_eos,
    }


def _chat_06(model: str, sample: Sample, common: Common) -> dict[str, Any]:
    return {
        "model": model,
        "messages": _messages(sample),
        "temperature": 0.0,
        "max_completion_tokens": sample.output_len,
        "stream": True,
        "ignore_eos": common.ignore_eos,
    }


STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


def _completions(more: Mapping[str, float]) -> Body:
    """Since 0.8. more: what the version sends behind the prompt."""

    def body(model: str, sample: Sample, common: Common) -> dict[str, Any]:
        fields = {"model": model, "prompt": sample.prompt, **more, "max_tokens": sample.output_len}
        return _ended({**fields, "logprobs": common.logprobs, **STREAMED}, common)

    return body


def _chat(more: Mapping[str, float]) -> Body:
    def body(model: str, sample: Sample, common: Common) -> dict[str, Any]:
        fields = {"model": model, "messages": _messages(sample), **more}
        return _ended({**fields, "max_completion_tokens": sample.output_len, **STREAMED}, common)

    return body


def _messages(sample: Sample) -> list[dict[str, Any]]:
    if isinstance(sample.prompt, list) and sample.prompt and isinstance(sample.prompt[0], dict):
        return sample.prompt
    return [{"role": "user", "content": [{"type": "text", "text": sample.prompt}]}]


def _ended(fields: dict[str, Any], common: Common) -> dict[str, Any]:
    if common.ignore_eos:
        fields["ignore_eos"] = True
    return {**fields, **common.extra}


# ---- other generation servers ----


def _tgi_06(model: str, sample: Sample, common: Common) -> dict[str, Any]:  # noqa: ARG001
    parameters = {
        "best_of": common.best_of,
        "max_new_tokens": sample.output_len,
        "do_sample": True,
        "temperature": 0.01,
        "top_p": 0.99,
    }
    return {"inputs": sample.prompt, "parameters": parameters}


def _tgi_08(model: str, sample: Sample, common: Common) -> dict[str, Any]:  # noqa: ARG001
    parameters = {
        "max_new_tokens": sample.output_len,
        "do_sample": True,
        "temperature": 0.01,
        "top_p": 0.99,
        "truncate": sample.prompt_len,
        "ignore_eos_token": common.ignore_eos,
    }
    return {"inputs": sample.prompt, "parameters": parameters}


def _tensorrt(model: str, sample: Sample, common: Common) -> dict[str, Any]:  # noqa: ARG001
    fields = {
        "accumulate_tokens": True,
        "text_input": sample.prompt,
        "temperature": 0.0,
        "top_p": 1.0,
        "max_tokens": sample.output_len,
        "stream": True,
    }
    return {**fields, "min_length": sample.output_len} if common.ignore_eos else fields


def _deepspeed(model: str, sample: Sample, common: Common) -> dict[str, Any]:  # noqa: ARG001
    return {
        "prompt": sample.prompt,
        "max_tokens": sample.output_len,
        "temperature": 0.01,
        "top_p": 1.0,
    }


# ---- pooling ----


def _embeddings(model: str, sample: Sample, common: Common) -> dict[str, Any]:
    return _ended({"model": model, "input": sample.prompt, "truncate_prompt_tokens": -1}, common)


def _embeddings_chat(model: str, sample: Sample, common: Common) -> dict[str, Any]:
    return _ended({"model": model, "messages": _messages(sample), "truncate_prompt_tokens": -1}, common)


def _infinity(model: str, sample: Sample, common: Common) -> dict[str, Any]:
    return _ended({"model": model, "input": sample.prompt}, common)


def _pooling(model: str, sample: Sample, common: Common) -> dict[str, Any]:
    return _ended({"model": model, "truncate_prompt_tokens": -1, "input": sample.prompt}, common)


def _rerank(model: str, sample: Sample, common: Common) -> dict[str, Any]:  # noqa: ARG001
    query, *documents = sample.prompt if isinstance(sample.prompt, list) else [sample.prompt]
    return {"model": model, "query": query, "documents": documents, "truncate_prompt_tokens": -1}


# ---- the table ----


@dataclass(frozen=True, slots=True)
class Backend:
    """How one backend is spoken to.

    answer: "completions", "chat" (events of the OpenAI API), "tgi", "tensorrt", "plain" (one JSON), "pooling".
    suffix: how the URL must end. authorized: whether the original sends Authorization. is_one_input: several texts
    of a prompt are one input.
    """

    body: Body
    answer: str
    suffix: tuple[str, ...]
    authorized: bool = True
    is_one_input: bool = False

    @property
    def is_openai(self) -> bool:
        """Takes sampling parameters, and answers with the OpenAI API's events."""
        return self.answer in ("completions", "chat")

    @property
    def is_pooling(self) -> bool:
        return self.answer == "pooling"


_COMPLETIONS_URL, _CHAT_URL = ("completions",), ("chat/completions",)
_TGI = ("generate_stream",)


def _table_06() -> dict[str, Backend]:
    completions = Backend(_completions_06, "completions", _COMPLETIONS_URL)
    return {
        **dict.fromkeys(("vllm", "openai", "lmdeploy", "scalellm", "sglang"), completions),
        "openai-chat": Backend(_chat_06, "chat", _CHAT_URL),
        "tgi": Backend(_tgi_06, "tgi", _TGI, authorized=False),
        "tensorrt-llm": Backend(_tensorrt, "tensorrt", _TGI, authorized=False),
        "deepspeed-mii": Backend(_deepspeed, "plain", (), authorized=False),
    }


def _table_08() -> dict[str, Backend]:
    completions = Backend(_completions({"temperature": 0.0}), "completions", _COMPLETIONS_URL)
    names = ("vllm", "openai", "lmdeploy", "scalellm", "sglang", "llama.cpp")
    return {
        **_table_06(),
        **dict.fromkeys(names, completions),
        "openai-chat": Backend(_chat({"temperature": 0.0}), "chat", _CHAT_URL),
        "tgi": Backend(_tgi_08, "tgi", _TGI, authorized=False),
    }


def _table_2026() -> dict[str, Backend]:
    completions = Backend(_completions({"repetition_penalty": 1.0}), "completions", _COMPLETIONS_URL)
    return {
        **dict.fromkeys(("vllm", "openai"), completions),
        "openai-chat": Backend(_chat({}), "chat", _CHAT_URL),
        "openai-embeddings": Backend(_embeddings, "pooling", ("embeddings",)),
        "openai-embeddings-chat": Backend(_embeddings_chat, "pooling", ("embeddings",), is_one_input=True),
        "infinity-embeddings": Backend(_infinity, "pooling", ("embeddings",)),
        "vllm-pooling": Backend(_pooling, "pooling", ("pooling",)),
        "vllm-rerank": Backend(_rerank, "pooling", ("rerank",)),
    }


TABLE: Mapping[str, Mapping[str, Backend]] = {"0.6": _table_06(), "0.8": _table_08(), "2026": _table_2026()}


def check_url(name: str, backend: Backend, url: str) -> None:
    """UsageError when a URL is none of the backend's. The originals notice it at the first request."""
    if backend.suffix and not url.endswith((*backend.suffix, "profile")):
        raise UsageError(
            f"--endpoint: for --backend {name} the URL must end in {' or '.join(backend.suffix)}, not {url}"
        )


def rendered(backend: Backend, model: str, sample: Sample, common: Common) -> bytes:
    """The body as it is sent."""
    return json.dumps(backend.body(model, sample, common)).encode()


def check_best_of(name: str, best_of: int) -> None:
    """UsageError for a --best-of that 0.6 does not let a backend have; it too notices it at the first request."""
    if name in ("tensorrt-llm", "deepspeed-mii") and best_of != 1:
        raise UsageError(f"--best-of {best_of}: --backend {name} has one answer only, leave it out")
