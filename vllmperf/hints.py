"""What to do about an error: hints that fit its cause, from what was asked and what the server said.

`plan` is a Plan as plan.to_dict() writes it. A hint is a clause without a full stop; None where there is nothing to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from vllmperf import datasets
from vllmperf.place import CLUSTER, place_of

Plan = Mapping[str, Any]

KEY = "--api-key KEY, --api-key-file FILE or OPENAI_API_KEY"
REFUSING = (400, 415, 422, 500, 501)
"""Statuses with which servers refuse a field or its type."""

# Patterns are compiled when an error needs them: most runs have none.
TWICE = r"(/v\d+)(?:/[^/?]+)*\1(?:/|$)"
FROM_VERSION_ON = r"/v\d+(/.*)?$"
NO_MODEL = r"(?i)\bmodel\b.*\b(not found|not exist|unknown|no such|not available|invalid model)|no model"
TOO_LONG = r"(?i)context (length|size|window)|too (long|large|many tokens)|maximum.*tokens|exceed.*tokens"
STRING_WANTED = (
    r"(?i)(str|string|text)\b.*\b(list|array|int|sequence)|(list|array|int|sequence)\b.*(str|string|text|attribute)"
    r"|valid string|str type|must be (a )?str|not a string|string_type|of type string"
)
CERTIFICATE = r"(?i)certificate|self.signed|issuer|CERT_|unable to get local"
NO_TLS = r"(?i)wrong version|packet length|record layer|http request"
TLS_WANTED = r"(?i)http request (was )?(sent )?to (an? )?https|plain http|https (port|server)"
SAYS_NOTHING = (
    r"(?i)((\d{3} )?(the body is empty|internal server error|bad request|unprocessable (entity|content)|"
    r"(internal |invalid |unknown )?(error|request)|not implemented|unsupported media type)\W*)*"
)
SEND_TEXT = "--tokenizer DIR sends text, --text-prompts sends words without a tokenizer"
FIELD_FLAGS = {"max_completion_tokens": "--chat-max-tokens sends max_tokens instead of max_completion_tokens"}


def of_failure(
    plan: Plan,
    outcome: str,
    status: int,
    text: str,
    *,
    was_kept: bool = False,
    others_completed: bool = False,
) -> str | None:
    """The hint for requests that ended so. was_kept: no byte of an answer came, on a connection that had carried a
    request before; others_completed: the server takes what is sent, as a rule."""
    if outcome == "http_error":
        return of_status(plan, status, text, others_completed=others_completed)
    if outcome == "tls_failed":
        return of_tls(text)
    if outcome == "local_fault":
        return of_local_fault(text)
    if outcome == "reset" and not others_completed and not was_kept:
        return "does that port speak HTTP, or does it expect TLS (https://)?"
    if outcome == "reset" and was_kept and not plan.get("fresh_connections"):
        return "the server closed a connection that it had kept open: --fresh-connections opens one for each request"
    if outcome in ("stream_error", "no_tokens"):
        return _of_refusal(plan, text)
    if outcome == "malformed":
        return _use_https(plan) if re.search(TLS_WANTED, text) else None
    if outcome in ("first_token_timeout", "stalled") and _may_have_no_limit(plan) and not others_completed:
        return f"{OF_OUTCOME[outcome]}; the server may not know max_completion_tokens: --chat-max-tokens sends max_tokens"
    if outcome in ("first_token_timeout", "total_timeout") and _sends_ids(plan) and not others_completed:
        return f"{OF_OUTCOME[outcome]}; if Ray Serve's prefix router stands there, it lets token ids hang: {SEND_TEXT}"
    if outcome == "dns_failed" and place_of(plan) == CLUSTER:
        return "names of services resolve inside their cluster alone: run vllmperf in a pod of it, or check --base-url"
    return OF_OUTCOME.get(outcome)


OF_OUTCOME = {
    "refused": "nothing listens there: is the server running, and is --base-url right?",
    "dns_failed": "check the host of --base-url",
    "connect_timeout": "nothing answers there: check --base-url and the firewall, or raise --connect-timeout",
    "first_token_timeout": "raise --first-token-timeout to wait longer",
    "stalled": "raise --stall-timeout to wait longer",
    "total_timeout": "raise --total-timeout to wait longer",
}


def of_status(plan: Plan, status: int, text: str, *, others_completed: bool = False) -> str | None:
    """The hint for an HTTP status and the words that came with it."""
    if 300 <= status < 400:
        return _of_redirect(plan, text)
    if status in (401, 403):
        return _of_key(plan)
    if status in (404, 405):
        return _of_missing(plan, text)
    if status in REFUSING:
        may_guess = re.fullmatch(SAYS_NOTHING, text.strip()) and not others_completed
        return _of_refusal(plan, text) or (_of_what_is_sent(plan) if may_guess else None)
    return OF_STATUS.get(status)


def of_question(plan: Plan, url: str, status: int, text: str) -> str:
    """The hint for a GET of url, like that of the models, that was answered with this status."""
    asked = {**plan, "url": url}
    is_twice = re.search(TWICE, urlsplit(url).path)
    if status in (401, 403) or (status in (404, 405) and is_twice) or re.search(TLS_WANTED, text):
        return of_status(asked, status, text) or GIVE_MODEL
    if 300 <= status < 400 and (hint := _of_redirect(asked, text)) and "--base-url http" in hint:
        return hint
    return GIVE_MODEL


GIVE_MODEL = "check --base-url, or give --model"

OF_STATUS = {
    407: "a proxy asks for credentials: connect to the server directly",
    413: "the request is too large: shorten --input-len",
    429: "the server limits the load: lower --request-rate or --max-concurrency",
    502: "a gateway cannot reach the server behind it",
    503: "the server, or a gateway in front of it, refuses requests now: is it still loading, or overloaded?",
    504: "a gateway gave up waiting for the server behind it",
}


def _of_key(plan: Plan) -> str:
    if plan.get("authorized") or plan.get("api_key"):
        return f"the server rejects the key: check {KEY}"
    return f"the server requires a key: give {KEY}"


# ---- addresses ----


def _of_missing(plan: Plan, text: str) -> str:
    base = str(plan.get("base_url") or "")
    if re.search(TWICE, urlsplit(_url(plan)).path):
        return f"the address has {re.findall(TWICE, _url(plan))[0]} twice: give --base-url {re.sub(FROM_VERSION_ON, '', base)}"
    endpoint = _endpoint(plan)
    if endpoint and base.rstrip("/").endswith(endpoint):
        return f"--base-url already contains the path of the requests: give {base.rstrip('/').removesuffix(endpoint)}"
    if re.search(NO_MODEL, text):
        return "the server does not serve this model: give --model a name of its /v1/models"
    return "the server does not know this path: check --base-url, --endpoint and --backend (openai-chat for chats)"


def _of_redirect(plan: Plan, text: str) -> str | None:
    found = re.search(r"redirected to (\S+)", text)
    if not found:
        return "vllmperf does not follow redirects: give --base-url the address that they lead to"
    place, url, endpoint = urlsplit(found[1]), urlsplit(_url(plan)), _endpoint(plan)
    base_path = urlsplit(str(plan.get("base_url") or "")).path.rstrip("/")
    same_server = not place.netloc or (place.scheme, place.netloc) == (url.scheme, url.netloc)
    if same_server and place.path.startswith(base_path + "/"):
        return f"vllmperf does not follow redirects: give --endpoint {place.path[len(base_path) :]}"
    path = place.path.rstrip("/")
    if not same_server and endpoint and path.endswith(endpoint):
        return f"vllmperf does not follow redirects: give --base-url {place.scheme}://{place.netloc}{path.removesuffix(endpoint)}"
    return "vllmperf does not follow redirects: give --base-url and --endpoint the address that they lead to"


def _url(plan: Plan) -> str:
    return str(plan.get("url") or plan.get("base_url") or "")


def _endpoint(plan: Plan) -> str:
    return _url(plan).removeprefix(str(plan.get("base_url") or "").rstrip("/"))


def _use_https(plan: Plan) -> str | None:
    base = str(plan.get("base_url") or "")
    return (
        f"that port speaks TLS: give --base-url {base.replace('http:', 'https:', 1)}"
        if base[:5] == "http:"
        else None
    )


def of_tls(text: str) -> str:
    """The hint for a TLS connection that did not come about."""
    if re.search(NO_TLS, text):
        return "that port does not speak TLS: give --base-url http://…"
    if re.search(CERTIFICATE, text):
        return "this machine does not trust the certificate: --cacert FILE trusts one, --insecure trusts any"
    return "does that port speak TLS? If not, give --base-url http://…"


def of_local_fault(text: str) -> str | None:
    """The hint for a failure on this side of the wire."""
    words = text.lower()
    if "open files" in words:
        return "this machine gives the client too few file descriptors: raise ulimit -n, or lower --max-concurrency"
    if "assign requested address" in words or "address already in use" in words:
        return (
            "this machine has no local port left: widen net.ipv4.ip_local_port_range, lower --max-concurrency, or leave "
            "out --fresh-connections"
        )
    if "memory" in words or "buffer space" in words:
        return "this machine has no memory left for connections: lower --max-concurrency"
    return "the fault is on this machine, not the server's"


# ---- bodies ----


def _of_refusal(plan: Plan, text: str) -> str | None:
    """The server named what it does not like."""
    if re.search(TLS_WANTED, text):
        return _use_https(plan)
    if re.search(TOO_LONG, text):
        return "prompt and answer are longer than the server's context: shorten --input-len or --output-len"
    if re.search(STRING_WANTED, text) and (hint := _of_string(plan, text)):
        return hint
    fields = [name for name in sent_fields(plan) if re.search(rf"\b{name}\b", text)]
    flags = [FIELD_FLAGS[name] for name in fields if name in FIELD_FLAGS]
    if flags:
        return flags[0]
    if fields:
        patch = json.dumps(dict.fromkeys(fields))
        return f"--extra-body '{patch}' leaves {'them' if len(fields) > 1 else 'it'} out"
    if re.search(NO_MODEL, text):
        return "the server does not serve this model: give --model a name of its /v1/models"
    return None


def _of_string(plan: Plan, text: str) -> str | None:
    if _sends_parts(plan) and not re.search(r"\bprompt\b", text):
        return "the server accepts only plain strings: --string-content sends the content as one"
    if _sends_ids(plan) and not re.search(r"\bmessages\b", text):
        return f"the server does not accept token ids: {SEND_TEXT}"
    return None


def _of_what_is_sent(plan: Plan) -> str | None:
    """It did not: what most often is the cause."""
    if _sends_ids(plan):
        return f"if the server does not accept token ids, {SEND_TEXT}"
    if _sends_parts(plan):
        return "if the server accepts content only as a string, --string-content sends it that way"
    return None


def _is_chat(plan: Plan) -> bool:
    return plan.get("backend") == "openai-chat"


def _may_have_no_limit(plan: Plan) -> bool:
    return _is_chat(plan) and not plan.get("chat_max_tokens")


def _sends_parts(plan: Plan) -> bool:
    return _is_chat(plan) and not plan.get("string_content")


def _sends_ids(plan: Plan) -> bool:
    dataset = datasets.table().get(str(plan.get("dataset_name")))
    is_talk = dataset is not None and dataset.conversations is not None
    has_ids = not is_talk and (dataset is None or dataset.is_made_up or dataset.name == "custom")
    is_text = plan.get("tokenizer") or plan.get("text_prompts") or not has_ids
    return not _is_chat(plan) and not is_text


def sent_fields(plan: Plan) -> Iterator[str]:
    """Names of the fields of a request that it could do without."""
    patch = plan.get("extra_body") or {}
    usual = ["max_tokens" if not _is_chat(plan) or plan.get("chat_max_tokens") else "max_completion_tokens"]
    usual += ["stream_options", "include_usage"] if plan.get("stream", True) else []
    usual += ["ignore_eos"] if plan.get("ignore_eos") else []
    usual += (
        ["logprobs", "top_logprobs"]
        if plan.get("logprobs") is not None or plan.get("backend") == "vllm"
        else []
    )
    usual += ["repetition_penalty"] if plan.get("backend") == "vllm" else []
    usual += ["n"] if (plan.get("n") or 1) > 1 else []
    for name in dict.fromkeys([*usual, *(plan.get("sampling") or {}), *patch]):
        if patch.get(name, "") is not None and name not in ("model", "prompt", "messages"):
            yield name
