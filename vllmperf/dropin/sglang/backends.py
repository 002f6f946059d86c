"""What each backend is sent, byte for byte, and where: one table.

Source: sglang/bench_serving.py of 0.4.4.post1. Bodies are `json.dumps` of a dict whose keys stand in its order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vllmperf.datasets.dataset import Sample


@dataclass(frozen=True, slots=True)
class Common:
    """What all requests of a run share. extra: --extra-request-body, merged last."""

    stream: bool = True
    ignore_eos: bool = True
    lora_name: str | None = None
    return_logprob: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)


Body = Callable[[str, Sample, Common], dict[str, Any]]
"""model, sample, what is common → the body's fields"""


def _completions(model: str, sample: Sample, common: Common) -> dict[str, Any]:
    fields = {
        "model": model,
        "prompt": sample.prompt,
        "temperature": 0.0,
        "best_of": 1,
        "max_tokens": sample.output_len,
        "stream": common.stream,
        "ignore_eos": common.ignore_eos,
    }
    return {**fields, **common.extra}


def _generate(model: str, sample: Sample, common: Common) -> dict[str, Any]:  # noqa: ARG001
    sampling = {
        "temperature": 0.0,
        "max_new_tokens": sample.output_len,
        "ignore_eos": common.ignore_eos,
    }
    fields = {
        "text": sample.prompt,
        "sampling_params": sampling,
        "stream": common.stream,
        "lora_path": common.lora_name,
        "return_logprob": common.return_logprob,
        "logprob_start_len": -1,
    }
    return {**fields, **common.extra}


def _tensorrt(model: str, sample: Sample, common: Common) -> dict[str, Any]:  # noqa: ARG001
    fields = {
        "accumulate_tokens": True,
        "text_input": sample.prompt,
        "temperature": 0.000001,
        "top_p": 1.0,
        "max_tokens": sample.output_len,
        "stream": True,
        "min_length": sample.output_len,
        "end_id": 1048576,
        **common.extra,
    }
    left_out = () if common.ignore_eos else ("min_length", "end_id")
    return {name: value for name, value in fields.items() if name not in left_out}


@dataclass(frozen=True, slots=True)
class Backend:
    """How one backend is spoken to. port: where none is given. answer: "completions" (events of the OpenAI API, a chat's
    too), "generate" (SGLang's own), "tensorrt". authorized: OPENAI_API_KEY is sent. is_sglang: its cache is flushed
    before the run, and it is asked about itself after it."""

    body: Body
    path: str
    port: int
    answer: str = "completions"
    authorized: bool = True
    is_sglang: bool = False

    def rendered(self, model: str, sample: Sample, common: Common) -> bytes:
        """The body as it is sent."""
        return json.dumps(self.body(model, sample, common)).encode()


_NATIVE = Backend(_generate, "/generate", 30000, "generate", is_sglang=True)

BACKENDS: Mapping[str, Backend] = {
    "sglang": _NATIVE,
    "sglang-native": _NATIVE,
    "sglang-oai": Backend(_completions, "/v1/completions", 30000, is_sglang=True),
    "vllm": Backend(_completions, "/v1/completions", 8000),
    "lmdeploy": Backend(_completions, "/v1/completions", 23333),
    "trt": Backend(_tensorrt, "/v2/models/ensemble/generate_stream", 8000, "tensorrt", authorized=False),
    "truss": Backend(_completions, "/v1/models/model:predict", 8080),
}
