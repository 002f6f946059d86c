"""0.33 asks the server for the tokens of the first prompt, and cuts all prompts when it counts otherwise."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from vllmperf.datasets.dataset import Sample
from vllmperf.target import AnswerError, Client

AT_ONCE = 16


def aligned(server: Client, model: str, samples: list[Sample]) -> list[Sample]:
    """The samples, prompts with too many tokens of the server's cut through /tokenize and /detokenize.

    Says so on stdout in the original's words; without /tokenize the samples stay as they are.
    """
    first = samples[0]
    if not isinstance(first.prompt, str):
        return samples
    try:
        tokens = _tokenized(server, model, first.prompt)
    except AnswerError as refused:
        print(f"WARNING: /tokenize unavailable ({_why(refused, model)}), skipping alignment.", flush=True)
        return samples
    if len(tokens) == first.prompt_len:
        return samples
    print(
        f"WARNING: tokenizer mismatch (server={len(tokens)}, expected={first.prompt_len}), re-aligning prompts.",
        flush=True,
    )
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda sample: _cut(server, model, sample), samples))


def _cut(server: Client, model: str, sample: Sample) -> Sample:
    try:
        tokens = _tokenized(server, model, str(sample.prompt))
        if len(tokens) <= sample.prompt_len:
            return sample
        asked = {"model": model, "tokens": tokens[: sample.prompt_len]}
        return sample._replace(prompt=str(_answer(server, "/detokenize", asked)["prompt"]))
    except AnswerError:
        return sample


def _tokenized(server: Client, model: str, prompt: str) -> list[int]:
    asked = {"model": model, "prompt": prompt, "add_special_tokens": False}
    tokens: list[int] = _answer(server, "/tokenize", asked)["tokens"]
    return tokens


def _answer(server: Client, path: str, asked: dict[str, Any]) -> dict[str, Any]:
    body = server.post(path, json.dumps(asked).encode())
    try:
        answer = json.loads(body)
        return answer if "tokens" in answer or "prompt" in answer else _none(path)
    except (ValueError, TypeError):
        return _none(path)


def _none(path: str) -> dict[str, Any]:
    why = f"{path} did not answer with JSON"
    raise AnswerError(why, why)


def _why(refused: AnswerError, model: str) -> str:
    if refused.status != 404:
        return refused.why
    return (
        "404 Not Found: either this server has no /tokenize route, or it does not serve a model named "
        f"`{model}` (its served names are listed by GET /v1/models)"
    )
