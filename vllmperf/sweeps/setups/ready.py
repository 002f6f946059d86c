"""When a server is ready: when it has answered a completion. Lists of models and health come too early in some of them."""

from __future__ import annotations

import json
import time

from vllmperf.loadgen.bodies import fixed_fields
from vllmperf.loadgen.task import Task
from vllmperf.sweeps.setups.server import EndedError, Server, SetupError
from vllmperf.target import AnswerError, Client, client_of, first_model

POLL_S, MOST_POLL_S = 0.05, 1.0
ANSWER_S, MOST_ANSWER_S = 10.0, 60.0
"""What takes longer is asked for again, each time twice as long: a router that is not ready may lose a request, and a first
completion may compile."""
HOPELESS = (401, 403)
REFUSALS, REFUSED_S = (400, 422), 60.0
"""A server that has refused the request for so long will go on to: it is up, and does not like what it is asked."""
PROMPT = "Hello"


def wait_up(server: Server, timeout_s: float) -> None:
    """Wait until it can be asked. Raises SetupError when that takes too long, or the server ends."""
    deadline = time.monotonic() + timeout_s
    while (why := server.unready()) is not None:
        if how := server.ended():
            raise EndedError(f"the server {how}")
        if time.monotonic() >= deadline:
            raise SetupError(f"the server was not ready within {timeout_s:g} s: {why}")
        time.sleep(MOST_POLL_S)


def wait_ready(server: Server, task: Task, timeout_s: float) -> str:
    """Wait for a completion; gives the name of the model. Raises SetupError when there is none in time, or the server ends."""
    deadline, pause_s = time.monotonic() + timeout_s, POLL_S
    client = client_of(task.plan.target, task.credentials)
    refused_since_s, answer_s = None, ANSWER_S
    while True:
        if how := server.ended():
            raise EndedError(f"the server {how}")
        asked_s = time.monotonic()
        try:
            return _asked(client, task, max(min(answer_s, deadline - asked_s), 1.0))
        except AnswerError as error:
            if error.status in HOPELESS:
                raise SetupError(str(error)) from None
            last = error
        now_s = time.monotonic()
        if now_s - asked_s >= answer_s:
            answer_s = min(2 * answer_s, MOST_ANSWER_S)
        refused_since_s = (refused_since_s or now_s) if last.status in REFUSALS else None
        if refused_since_s is not None and now_s - refused_since_s >= REFUSED_S:
            raise SetupError(f"the server refuses a completion: {last}")
        if time.monotonic() >= deadline:
            raise SetupError(f"the server was not ready within {timeout_s:g} s: {last}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, MOST_POLL_S)


def _asked(client: Client, task: Task, timeout_s: float) -> str:
    """The model that answered. Raises AnswerError."""
    plan = task.plan
    model = plan.target.model or first_model(client)
    fields = {**fixed_fields(plan, model), "stream": False, plan.limit_field: 1}
    fields.pop("stream_options", None)
    asked = {"messages": [{"role": "user", "content": PROMPT}]} if plan.target.is_chat else {"prompt": PROMPT}
    path = plan.url.removeprefix(client.base_url)
    client.post(path, json.dumps({**fields, **asked}).encode(), timeout_s=timeout_s)
    return model
