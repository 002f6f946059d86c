"""The server in the spelling of guidellm 0.7: --backend, and --request-format of 0.4 to 0.6."""

from __future__ import annotations

from typing import Any

from vllmperf.dropin.guidellm import pairs
from vllmperf.dropin.guidellm.pairs import Pairs
from vllmperf.dropin.guidellm.settings import ROUTES
from vllmperf.dropin.guidellm.values import is_on
from vllmperf.errors import UsageError

Flags = dict[str, Any]
BACKEND_ARGUMENTS = ("api_key", "timeout", "verify", "http2", "follow_redirects")
"""What means the same in --backend of 0.7 and in --backend-args."""
BACKEND = ("kind", "target", "model", "request_format", "stream", "validate_backend", "max_tokens",
           "max_completion_tokens", "extras", *BACKEND_ARGUMENTS)  # fmt: skip


def backend(text: str) -> Flags:
    """--backend: where the server is, which route is asked, and --backend-args. Raises UsageError by name."""
    given = pairs.read("backend", text)
    advice = ": start the model by vllm serve and give its address as target"
    pairs.kind_of("backend", {"kind": "openai_http"} | given, ("openai_http",), advice)
    pairs.only("backend", given, BACKEND)
    if not is_on(str(given.get("stream", True))):
        raise UsageError(
            "guidellm: --backend: stream=false is not here: without a stream there is no TTFT and no ITL"
        )
    found: Flags = {name: str(given[name]) for name in ("target", "model") if given.get(name)}
    found |= (
        route(given.get("request_format"))
        if given.get("request_format")
        else {"usual_route": "chat_completions"}
    )
    found["is_probed"] = is_on(str(given.get("validate_backend", True)))
    return {**found, "backend_args": _backend_arguments(given)}


def route(value: Any) -> Flags:
    """/v1/completions or /v1/chat/completions, or by the names of 0.3."""
    routes = {path: name for name, path in ROUTES.items()}
    name = routes.get(str(value), str(value))
    if name not in ROUTES:
        raise UsageError(f"guidellm: request_format {value} is not here; there are {', '.join(routes)}")
    return {"route": name}


def _backend_arguments(given: Pairs) -> dict[str, Any]:
    found = {name: pairs.plain(given[name]) for name in BACKEND_ARGUMENTS if given.get(name) is not None}
    if "api_key" in found:
        found["api_key"] = str(given["api_key"])
    if "verify" in found:
        found["verify"] = is_on(str(given["verify"]))
    most = given.get("max_tokens") or given.get("max_completion_tokens")
    if most is not None:
        found["max_output_tokens"] = pairs.plain(most)
    return found | _extras(pairs.mapping("backend", given.get("extras"), "extras"))


def _extras(given: Pairs) -> dict[str, Any]:
    pairs.only("backend", given, ("body", "headers"), " in extras")
    names = {"body": "extra_body", "headers": "headers"}
    return {
        names[name]: pairs.plain(pairs.mapping("backend", value, f"extras.{name}"))
        for name, value in given.items()
    }
