"""What servers are asked: which models, whether they are ready, whether something listens."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from vllmperf.server_words import said
from vllmperf.target.answer import MOST_WORDS_BYTES
from vllmperf.target.client import Client
from vllmperf.target.errors import AnswerError, CertificateError


def models(client: Client) -> list[Mapping[str, Any]]:
    """The entries of /v1/models, at least one, each with an "id". Raises AnswerError."""
    body = client.get("/v1/models")
    try:
        listed = [entry for entry in json.loads(body)["data"] if "id" in entry]
        listed[0]["id"]
    except (ValueError, LookupError, TypeError):
        words = said(body[:MOST_WORDS_BYTES].decode(errors="replace")) or "its answer is empty"
        raise AnswerError(
            f"{client.base_url}/v1/models names no model ({words}); give --model", "it names no model"
        ) from None
    return listed


def first_model(client: Client) -> str:
    """The id of the first model that the server lists, as `vllm bench serve` takes it. Raises AnswerError."""
    return str(models(client)[0]["id"])


def wait_ready(client: Client, timeout_s: float) -> None:
    """Ask for the models every second until there is an answer. After timeout_s: the last AnswerError."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            client.get("/v1/models")
            return
        except CertificateError:
            raise
        except AnswerError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1.0)


def is_listening(url: str) -> bool:
    """Whether something accepts connections there."""
    import socket

    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=1.0).close()
    except OSError:
        return False
    return True
