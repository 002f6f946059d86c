"""An OpenAI server on Ray Serve that waits instead of computing, behind Serve's own routers. It counts as vLLM does there, and
each replica remembers the prompts it has seen, as a prefix cache does.

Run by Ray's Python (test_strategies_ray.py, tests/sweeps/test_ray.py), which need not have vllmperf.
"""

import asyncio
import json
from dataclasses import dataclass

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from ray import serve
from ray.util.metrics import Counter, Histogram

api = FastAPI()
TTFT_S, ITL_S = 0.02, 0.002
BLOCK = 64
"""Characters that the cache keeps together; each counts as a token."""


@dataclass
class Asked:
    """The prefix router wants an object with `prompt` as the argument of the call."""

    prompt: str
    tokens: int


class Counts:
    """As the names of vLLM's statistics come out of Ray."""

    def __init__(self):
        tags = ("ReplicaId", "model_name")
        self.done = Counter("vllm_request_success", description="requests", tag_keys=tags)
        self.queries = Counter("vllm_prefix_cache_queries", description="looked up", tag_keys=tags)
        self.hits = Counter("vllm_prefix_cache_hits", description="found", tag_keys=tags)
        self.prompt_tokens = Counter("vllm_prompt_tokens", description="tokens", tag_keys=tags)
        self.tokens = Counter("vllm_generation_tokens", description="tokens", tag_keys=tags)
        self.ttft_s = Histogram(
            "vllm_time_to_first_token_seconds",
            description="TTFT",
            boundaries=[0.001, 0.01, 0.1],
            tag_keys=tags,
        )
        replica = serve.get_replica_context().replica_id.unique_id
        for one in (self.done, self.queries, self.hits, self.prompt_tokens, self.tokens, self.ttft_s):
            one.set_default_tags({"ReplicaId": replica, "model_name": "tiny"})


@serve.deployment
class Model:
    def __init__(self):
        self.counts, self.seen = Counts(), set()

    def look_up(self, prompt: str):
        """What the cache has of its beginning; then it has all of it."""
        heads = [prompt[:end] for end in range(BLOCK, len(prompt) + 1, BLOCK)]
        hits = sum(BLOCK for head in heads if head in self.seen)
        self.seen.update(heads)
        for counter in (self.counts.queries, self.counts.prompt_tokens):
            counter.inc(len(prompt))
        if hits:
            self.counts.hits.inc(hits)

    async def answer(self, asked: Asked):
        self.look_up(asked.prompt)
        await asyncio.sleep(TTFT_S)
        self.counts.ttft_s.observe(TTFT_S)
        for _ in range(asked.tokens):
            yield "word "
            await asyncio.sleep(ITL_S)
        self.counts.tokens.inc(asked.tokens)
        self.counts.done.inc()


async def events(words):
    async for word in words:
        yield f"data: {json.dumps({'choices': [{'index': 0, 'text': word, 'finish_reason': None}]})}\n\n"
    yield "data: [DONE]\n\n"


@serve.deployment
@serve.ingress(api)
class Ingress:
    def __init__(self, model):
        self.model = model.options(stream=True)

    @api.post("/v1/completions")
    async def completions(self, request: Request):
        body = await request.json()
        words = self.model.answer.remote(Asked(body["prompt"], body["max_tokens"]))
        if body.get("stream"):
            return StreamingResponse(events(words), media_type="text/event-stream")
        text = "".join([word async for word in words])
        return JSONResponse({"choices": [{"index": 0, "text": text, "finish_reason": "length"}]})


def build(_args):
    return Ingress.bind(Model.bind())
