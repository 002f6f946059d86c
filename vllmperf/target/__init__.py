"""The HTTP client for everything that is not load: models, tokens, metrics, health, settings, probes.

    with Client("http://127.0.0.1:8000") as client:
        client.get("/metrics")                      # bytes, or AnswerError with one line that says what to do
        with client.ask("POST", "/v1/completions", body, timeout_s=300) as answer:
            for line in answer.lines(): ...         # as they arrive

Requests go straight to the server, as those of a run do: a proxy of the environment would be measured with it
(docs/transport.md).
"""

from vllmperf.target.answer import Answer
from vllmperf.target.client import ANSWER_S, Client, client_of, headers_of
from vllmperf.target.errors import AnswerError, CertificateError, innermost, text_of
from vllmperf.target.questions import first_model, is_listening, models, wait_ready

__all__ = [
    "ANSWER_S",
    "Answer",
    "AnswerError",
    "CertificateError",
    "Client",
    "client_of",
    "first_model",
    "headers_of",
    "innermost",
    "is_listening",
    "models",
    "text_of",
    "wait_ready",
]
