"""An OpenAI server on Ray Serve that waits instead of computing, behind Serve's own routers. It counts as vLLM does there, and
each replica remembers the prompts it has seen, as a prefix cache does.

Run by Ray's Python (test_strategies_ray.py, tests/sweeps/test_ray.py), which need not have vllmperf.
"""

import asyncio
import json
import os
from dataclasses import dataclass

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from ray import serve
from ray.util.metrics import Counter, Histogram

api, direct_api, choice_api = FastAPI(), FastAPI(), FastAPI()
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


async def events(words):
    async for word in words:
        yield f"data: {json.dumps({'choices': [{'index': 0, 'text': word, 'finish_reason': None}]})}\n\n"
    yield "data: [DONE]\n\n"


class Engine:
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


Model = serve.deployment(Engine, name="Model")


async def answered(words, stream):
    """What a request gets."""
    if stream:
        return StreamingResponse(events(words), media_type="text/event-stream")
    text = "".join([word async for word in words])
    return JSONResponse({"choices": [{"index": 0, "text": text, "finish_reason": "length"}]})


@serve.deployment
@serve.ingress(api)
class Ingress:
    def __init__(self, model):
        self.model = model.options(stream=True)

    @api.post("/v1/completions")
    async def completions(self, request: Request):
        body = await request.json()
        words = self.model.answer.remote(Asked(body["prompt"], body["max_tokens"]))
        return await answered(words, body.get("stream"))


# ---- direct streaming: HAProxy asks Choice for a replica, then sends it the request ----


@serve.deployment(name="Model")
@serve.ingress(direct_api)
class Direct(Engine):
    @direct_api.post("/v1/completions")
    async def completions(self, request: Request):
        body = await request.json()
        return await answered(self.answer(Asked(body["prompt"], body["max_tokens"])), body.get("stream"))


@serve.deployment
@serve.ingress(choice_api)
class Choice:
    def __init__(self, model):
        self.model = model
        model._init()

    @choice_api.post("/internal/route")
    async def route(self, request: Request):
        asked = Asked((await request.json())["prompt"], 0)
        async with self.model.choose_replica(asked, _reserve=False) as chosen:
            host, port = chosen._replica.backend_http_endpoint
            return {"host": host, "port": port, "replica_id": chosen._replica.replica_id.to_full_id_str()}


def build(args):
    """model: options of the deployment that answers."""
    options = args.get("model", {})
    few = {"ray_actor_options": {"num_cpus": 0.1}}
    if os.environ.get("RAY_SERVE_LLM_ENABLE_DIRECT_STREAMING") != "1":
        return Ingress.bind(Model.options(**options).bind())
    model = Direct.options(**options).bind()
    return model._with_ingress_request_router(Choice.options(**few).bind(model))
