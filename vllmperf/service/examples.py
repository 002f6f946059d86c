"""Examples of requests: the OpenAPI page, the manual and the tests have the same ones."""

from __future__ import annotations

from typing import Any

PAYLOAD: dict[str, Any] = {
    "host": "localhost",
    "port": 8000,
    "num_prompts": 1000,
    "request_rate": 12,
    "model": "meta-llama/Llama-3.1-405B-Instruct-FP8",
    "backend": "openai-chat",
    "endpoint": "/v1/chat/completions",
    "dataset_path": "app/sonnet.txt",
    "dataset_name": "sonnet",
    "sonnet_input_len": 512,
    "sonnet_prefix_len": 128,
    "sonnet_output_len": 2,
}
"""Of the vllm-inference-benchmark chart."""

BODIES: dict[str, dict[str, Any]] = {
    "a plan, by settings": {
        "kind": "bench",
        "label": "first look",
        "plan": {"base_url": "http://127.0.0.1:8000", "request_rate": 4, "duration": "30s"},
    },
    "a plan, as vllmperf bench --print-plan prints it": {
        "kind": "bench",
        "plan": {
            "version": 1,
            "target": {"base_url": "http://127.0.0.1:8000"},
            "load": {"max_concurrency": 8, "num_prompts": 200},
        },
    },
    "a sweep": {
        "kind": "sweep",
        "sweep": {
            "setups": [
                {"name": "a", "url": "http://127.0.0.1:8000"},
                {"name": "b", "url": "http://127.0.0.1:8001"},
            ],
            "axes": {"max_concurrency": [1, 16]},
            "plan": {"num_prompts": 100},
            "repeat": 3,
        },
    },
    "a fit": {"kind": "fit", "fit": {"base_url": "http://127.0.0.1:8000", "max_num_seqs": 64, "budget": 300}},
    "a search for capacity": {
        "kind": "capacity",
        "capacity": {"base_url": "http://127.0.0.1:8000", "ttft": 500, "tpot": "p99:20", "budget": "5m"},
    },
}

KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "The same key with the same body gives the run that it made before (200), with another body 409.",
}


def _takes(description: str, examples: dict[str, dict[str, Any]]) -> dict[str, Any]:
    named = {name: {"value": value} for name, value in examples.items()}
    return {
        "parameters": [KEY],
        "requestBody": {
            "required": True,
            "description": description,
            "content": {"application/json": {"schema": {"type": "object"}, "examples": named}},
        },
        "responses": RESPONSES,
    }


RESPONSES: dict[str, Any] = {
    "200": {"description": "The run that the Idempotency-Key made before; of ?wait=true, the result."},
    "202": {"description": "The run, in the queue. Location says where it is."},
    "400": {"description": 'What is wrong, and where: {"error": "…", "field": "num_prompts"}'},
    "409": {"description": "The Idempotency-Key was used for another body."},
    "429": {"description": "The queue is full; Retry-After says when to come again."},
}

START_LOAD = _takes(
    "Flags of benchmark_serving.py by name, - or _ in them. Beside them: profile (vllm-0.6, vllm-0.8, vllm-2026).",
    {"the chart's payload": PAYLOAD},
)
RUNS = _takes("kind, label, and what the run is: plan, sweep, fit or capacity.", BODIES)
LIST: dict[str, Any] = {
    "responses": {
        "200": {
            "description": '{"runs": […], "next": id or null, "total": 230, "active": [ids], "queue": [ids], "queue_limit": 20}'
        },
        "400": {"description": "limit is no number from 1 to 1000, or there is no run `before`."},
    }
}
