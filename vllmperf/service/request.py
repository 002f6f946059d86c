"""What a client asks for, checked before it is queued: the same object as the worker makes a run of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vllmperf.api.stress_runs import stress_task
from vllmperf.errors import UsageError
from vllmperf.loadgen.task import Task
from vllmperf.plan import Plan
from vllmperf.plan.checks import shown
from vllmperf.plan.credentials import is_secret, usual_key
from vllmperf.plan.plan import PARTS
from vllmperf.plan.settings import ALIASES
from vllmperf.service import payload as payloads
from vllmperf.service.errors import FieldError, field_of
from vllmperf.sweeps.definition import Definition, definition_of
from vllmperf.sweeps.setups.setup import Setup
from vllmperf.sweeps.setups.simulator import Simulator
from vllmperf.sweeps.setups.url import Url

START_LOAD, BENCH, SWEEP, FIT, CAPACITY, STRESS = "start-load", "bench", "sweep", "fit", "capacity", "stress"
PLACE = {BENCH: "plan", SWEEP: "sweep", FIT: "fit", CAPACITY: "capacity", STRESS: "stress"}
"""Where the body of POST /runs has what each kind is about."""
OWN = {
    FIT: ("budget", "max_num_seqs", "shapes"),
    CAPACITY: ("budget", "max_num_seqs", "ttft", "tpot", "goodput_share"),
}
"""Settings beside those of a plan."""
BEGIN_AGAIN = (FIT,)
"""Kinds that a restart of the service begins from the start: what came before is thrown away."""
HIDDEN = "***"
IN_HERE = "simulator"


@dataclass(frozen=True)
class Request:
    """content: what was asked for, as it may be written. secrets: keys of it that may not be, with their values.
    urls: every server that the run talks to."""

    kind: str
    content: Mapping[str, Any]
    secrets: Mapping[str, Any] = field(default_factory=dict, repr=False)
    label: str | None = None
    urls: tuple[str, ...] = ()
    asked: int | None = None
    duration_s: float | None = None
    model: str | None = None

    @property
    def target(self) -> str:
        return self.urls[0] if self.urls else IN_HERE


def request_of(body: object) -> Request:
    """What the body of POST /runs asks for. Raises UsageError, which names the field."""
    if not isinstance(body, Mapping):
        raise FieldError("the body must be a JSON object with kind and what it is about", None)
    kind = body.get("kind", BENCH)
    if kind == START_LOAD:
        return start_load(
            {name: value for name, value in body.items() if name not in ("kind", "label")}, _label(body)
        )
    if not isinstance(kind, str) or kind not in PLACE:
        raise FieldError(f"kind must be one of {', '.join([START_LOAD, *PLACE])} (got {shown(kind)})", "kind")
    place = PLACE[kind]
    for name in body:
        if name not in ("kind", "label", place):
            raise FieldError(f"no such field {name}: a {kind} has kind, label and {place}", str(name))
    content = body.get(place)
    if not isinstance(content, Mapping):
        raise FieldError(f"{place} must be an object", place)
    made = {BENCH: _bench, SWEEP: _sweep, FIT: _search, CAPACITY: _search, STRESS: _stress}[kind]
    try:
        return made(kind, content, _label(body))
    except UsageError as error:
        raise FieldError(str(error), field_of(error) or place) from None


def start_load(payload: object, label: str | None = None) -> Request:
    """What a payload of /start-load asks for. Raises UsageError, which names the field."""
    if not isinstance(payload, Mapping):
        raise FieldError("the body must be a JSON object with the flags of benchmark_serving.py", None)
    is_stress = payload.get(payloads.STRESS)
    if is_stress is not None and payloads.truth(payloads.STRESS, is_stress):
        return _stress(STRESS, _stress_of(payload), label)
    load = payloads.checked(payload)
    content, secrets = payloads.redacted(payload)
    name = label or getattr(load.args, "label", None)
    return Request(
        START_LOAD,
        content,
        secrets,
        name,
        (load.base_url,),
        load.args.num_prompts,
        model=load.args.model,
    )


LOST = (
    "its key was in memory only: give the service OPENAI_API_KEY and start it again, or send the same request with its "
    "Idempotency-Key again"
)


def whole(content: Mapping[str, Any], secrets: Mapping[str, Any]) -> dict[str, Any]:
    """The content with its secrets in it again. A bearer token that a restart has lost is left out where OPENAI_API_KEY takes its
    place. Raises UsageError when a secret is not known any more."""
    found = {**content, **secrets}
    for name in content.keys() - secrets.keys():
        if not _hidden(name, content[name]):
            continue
        if usual_key() is None or any(map(_is_other, _hidden(name, content[name]))):
            raise UsageError(LOST)
        del found[name]
        if left := _not_hidden(content[name]):
            found[name] = left
    return found


def lacks_secret(content: Mapping[str, Any], secrets: Mapping[str, Any]) -> bool:
    """Whether whole() raises."""
    try:
        whole(content, secrets)
    except UsageError:
        return True
    return False


def _hidden(name: str, value: Any) -> list[str]:
    """Headers of this setting whose values a file does not hold; authorization for the API key."""
    own = ALIASES.get(name, name)
    if own == "api_key" and value == HIDDEN:
        return ["authorization"]
    if own == "headers" and isinstance(value, Mapping):
        return [header for header, text in value.items() if text == HIDDEN]
    if own == "headers" and isinstance(value, list):
        pairs = [str(one).partition("=") for one in value]
        return [header.strip() for header, _, text in pairs if text == HIDDEN]
    return []


def _is_other(header: str) -> bool:
    return header.lower() != "authorization"


def _not_hidden(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {header: text for header, text in value.items() if text != HIDDEN}
    return [one for one in value if not one.endswith(f"={HIDDEN}")] if isinstance(value, list) else None


def _label(body: Mapping[str, Any]) -> str | None:
    label = body.get("label")
    if label is not None and not isinstance(label, str):
        raise FieldError("label must be a text", "label")
    return label


# ---- kinds ----


def task_of(content: Mapping[str, Any]) -> Task:
    """The task of a plan in either form: parts as Plan.to_json() writes them, or settings by name."""
    if "api_key_file" in content:
        raise FieldError("api_key_file is a file of the service's machine: give api_key", "api_key_file")
    if {*PARTS, "version"} & content.keys():
        return Task.of({}, Plan.from_dict(content))
    return Task.of(content)


def _bench(kind: str, content: Mapping[str, Any], label: str | None) -> Request:
    return _of_task(kind, content, label, task_of(content))


def _stress(kind: str, content: Mapping[str, Any], label: str | None) -> Request:
    if "api_key_file" in content:
        raise FieldError("api_key_file is a file of the service's machine: give api_key", "api_key_file")
    task, _ = stress_task(content)
    return _of_task(kind, content, label, task)


def _of_task(kind: str, content: Mapping[str, Any], label: str | None, task: Task) -> Request:
    load = task.plan.load
    return Request(
        kind,
        *_apart(content),
        label=label or task.notes.label,
        urls=_urls(task),
        asked=load.num_prompts,
        duration_s=load.duration,
        model=task.plan.target.model,
    )


def _stress_of(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a payload with "stress": true: its own override the preset."""
    found = {name.replace("-", "_"): value for name, value in payload.items() if value is not None}
    del found[payloads.STRESS]
    host, port = found.pop("host", "127.0.0.1"), found.pop("port", 8000)
    if not isinstance(host, str):
        raise FieldError(f"host must be a text (got {shown(host)})", "host")
    return {"base_url": f"http://{f'[{host}]' if ':' in str(host) else host}:{port}", **found}


def _search(kind: str, content: Mapping[str, Any], label: str | None) -> Request:
    settings, own = split(kind, content)
    task = task_of({**settings, "request_rate": 1.0, "duration": 1.0})
    budget = own.get("budget")
    return Request(
        kind,
        *_apart(content),
        label=label,
        urls=_urls(task),
        duration_s=float(budget) if isinstance(budget, int | float) else None,
        model=task.plan.target.model,
    )


def split(kind: str, content: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the plan, and those of a fit or a search for capacity."""
    own = {name: value for name, value in content.items() if name in OWN[kind]}
    return {name: value for name, value in content.items() if name not in own}, own


def _sweep(kind: str, content: Mapping[str, Any], label: str | None) -> Request:
    found = definition_of(content)
    if HIDDEN in str(found.to_dict()):
        raise FieldError("a sweep must not hold a secret: give OPENAI_API_KEY to the service", "sweep")
    urls = [url for number, setup in enumerate(found.setups) for url in _urls_of(setup, number)]
    return Request(kind, dict(content), {}, label, tuple(dict.fromkeys(urls)), *_amount(found))


def _amount(found: Definition) -> tuple[int | None, float | None]:
    """Requests and seconds of all points together; None where one of them has another end."""
    loads = [setup.draft({**found.plan, **load}).plan.load for setup in found.setups for load in found.loads]
    prompts, seconds = [load.num_prompts for load in loads], [load.duration for load in loads]
    asked = None if None in prompts else found.course.repeat * sum(filter(None, prompts))
    return asked, None if None in seconds else found.course.repeat * sum(filter(None, seconds))


def _urls_of(setup: Setup, number: int) -> list[str]:
    """What is asked at a set-up. One that starts a program is refused: the service starts none."""
    if not isinstance(setup.how, Url | Simulator):
        raise FieldError(
            f"sweep.setups[{number}] starts a program, which the service does not: give a url or a simulator",
            "setups",
        )
    own = [setup.how.url] if isinstance(setup.how, Url) else []
    return [*own, *(one for one in setup.common.metrics if "://" in one)]


def _urls(task: Task) -> tuple[str, ...]:
    return tuple(one.base_url for one in task.plan.target.each if one.base_url)


def _apart(content: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """As it may be written, and what of it may not be."""
    shown, secrets = dict(content), {}
    for name in content:
        own = ALIASES.get(name, name)
        if own == "api_key" and content[name]:
            shown[name], secrets[name] = HIDDEN, content[name]
        elif own == "headers" and any(map(is_secret, content[name])):
            shown[name] = {each: HIDDEN if is_secret(each) else text for each, text in content[name].items()}
            secrets[name] = dict(content[name])
    return shown, secrets
