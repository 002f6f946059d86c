"""A sweep as it is written: set-ups, loads, repeats, and what happens between points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vllmperf.data_file import File
from vllmperf.errors import SettingError, UsageError
from vllmperf.plan import Plan, checks
from vllmperf.plan.checks import refused, setting, whole
from vllmperf.plan.credentials import SECRETS, is_secret
from vllmperf.plan.json_object import JsonObject
from vllmperf.plan.part import Part, names
from vllmperf.plan.settings import unknown
from vllmperf.scrape.watch import EVERY_S
from vllmperf.sweeps.axes import GRID, Values, combinations, listed
from vllmperf.sweeps.setups import Setup, read_setups
from vllmperf.sweeps.setups.ray_serve import NO_IDS, RayServe
from vllmperf.sweeps.setups.setup import plan_settings

CACHE, RESTART, SALT, NOTHING = "cache", "restart", "salt", "none"
RESETS = (NOTHING, CACHE, RESTART, SALT)
RANDOM, WRITTEN = "random", "written"
SEEDS = 2**32
HIDDEN = "***"
NAMED_FREELY = ("env", "env_vars", "headers")
"""Settings in which people choose the names: those that look secret hold secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course(Part):
    """How the points follow each other.

    repeat: how often each is measured, with seeds from seed on. order: of set-ups and of their loads within each repeat. reset:
    what the server forgets before each point: cache (POST /reset_prefix_cache), restart, salt (the prompts of each point begin
    otherwise), none. metrics_interval: seconds between two looks at the servers' metrics during a run.
    """

    repeat: int = setting(1, whole(1, 1000))
    seed: int = setting(0, whole(0, SEEDS - 1))
    order: str = setting(RANDOM, checks.one_of(RANDOM, WRITTEN))
    reset: str = setting(NOTHING, checks.one_of(*RESETS))
    metrics_interval: float = setting(EVERY_S, checks.seconds(least=0.01))


@dataclass(frozen=True, slots=True)
class Definition:
    """plan: settings of every run. loads: settings of each load beside them, by their own names; {} where there are no axes."""

    setups: tuple[Setup, ...]
    plan: JsonObject = JsonObject()
    loads: tuple[JsonObject, ...] = (JsonObject(),)
    course: Course = Course()

    def to_dict(self) -> dict[str, Any]:
        """As definition_of() takes it, without secrets and with set-ups and loads written out."""
        given = {
            "setups": [setup.to_dict() for setup in self.setups],
            "plan": self.plan.to_dict(),
            "points": [load.to_dict() for load in self.loads],
            **self.course.to_dict(),
        }
        found: dict[str, Any] = _hidden(given)
        return found


KEYS = ("setups", "plan", "axes", "points", "combine", *names(Course))


def definition_of(source: object) -> Definition:
    """The sweep of a file (YAML or JSON) or of the same as a dictionary. Raises UsageError."""
    if not isinstance(source, str | Path):
        return _checked(defined(source))
    try:
        return _checked(defined(_data(Path(source))))
    except SettingError as error:
        raise UsageError(f"{source}: {error}") from None


def with_course(definition: Definition, changes: Mapping[str, object]) -> Definition:
    """With another repeat, seed, order or reset. Raises SettingError."""
    for name in changes:
        if name not in names(Course):
            raise unknown(name, names(Course))
    for name in changes:
        if name not in names(Course):
            raise unknown(name, names(Course))
    return replace(definition, course=replace(definition.course, **dict[str, Any](changes)))


def _data(path: Path) -> dict[str, Any]:
    file = File(path)
    if not file.data:
        raise UsageError(
            f"{path} is no sweep{file.why_no_data}: write an object in YAML or JSON with {', '.join(KEYS)}"
        )
    return file.data


def defined(given: object) -> Definition:
    """The sweep of a dictionary, for reading: its files and its keys may be gone. Raises SettingError."""
    if not isinstance(given, Mapping):
        raise refused("a sweep", f"an object with {', '.join(KEYS)}", given)
    for key in given:
        if key not in KEYS:
            raise unknown(str(key), KEYS, "a sweep has no")
    course = Course(**{name: given[name] for name in names(Course) if name in given})
    shared = given.get("plan") or {}
    if not isinstance(shared, Mapping):
        raise refused("plan", "an object of settings", shared)
    plan = plan_settings("plan", shared)
    if "setups" not in given:
        raise SettingError(
            "a sweep needs {setups}: a list of servers, each with a command, a simulator or a url"
        )
    return Definition(
        tuple(read_setups(given["setups"])), JsonObject(plan), tuple(map(JsonObject, _loads(given))), course
    )


def _loads(given: Mapping[str, Any]) -> list[Values]:
    if "points" in given:
        if "axes" in given:
            raise SettingError("{axes} and {points} both give the loads: leave one out")
        rows = listed("points", given["points"])
    else:
        rows = combinations("axes", given.get("axes", {}), given.get("combine", GRID))
    found = [plan_settings("axes", row) for row in rows]
    if any(row in found[:i] for i, row in enumerate(found)):
        raise SettingError("{axes} have the same load twice: leave one out")
    return found


def _checked(given: Definition) -> Definition:
    """Each load at each set-up must be a run; what is wrong is said before the first server starts."""
    found = _as_texts(given)
    for setup in found.setups:
        for load in found.loads:
            if decided := next((name for name in load if name in setup.common.plan), None):
                raise SettingError(
                    "set-up {which} decides {axis}: no axis can have it", which=setup.name, axis=decided
                )
            task = setup.draft({**found.plan, **load})
            if isinstance(setup.how, RayServe) and _makes_ids(task.plan):
                raise SettingError("set-up {which}: {why}", which=setup.name, why=NO_IDS)
    return found


def _as_texts(found: Definition) -> Definition:
    """Made-up prompts as text at all set-ups when the router of one reads texts only: it would find no common prefix in token
    ids, and set-ups are compared by the same requests."""
    plans = (setup.common.plan for setup in found.setups)
    is_said = any("text_prompts" in each for each in (found.plan, *found.loads, *plans))
    if is_said or not any(setup.reads_text for setup in found.setups):
        return found
    work = [
        setup.draft({**found.plan, **load}).plan.workload for setup in found.setups for load in found.loads
    ]
    if not any(each.makes_ids for each in work):
        return found
    return replace(found, plan=JsonObject({**found.plan, "text_prompts": True}))


def _makes_ids(plan: Plan) -> bool:
    return plan.workload.makes_ids and not (plan.target.is_chat or plan.workload.text_prompts)


def _hidden(value: Any, name: str = "", within: str = "") -> Any:
    """With *** for what must not be written anywhere."""
    if isinstance(value, Mapping):
        return {key: _hidden(one, key, name) for key, one in value.items()}
    if isinstance(value, list):
        return [_hidden(one, within=name) for one in value]
    is_hidden = name in SECRETS or (within in NAMED_FREELY and is_secret(name.replace("_", "-")))
    return HIDDEN if is_hidden else value
