"""A set-up as it is written: its name, what kind of server it is, what its requests need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vllmperf.errors import SettingError, UsageError
from vllmperf.loadgen.task import SETTINGS, Task
from vllmperf.plan import checks
from vllmperf.plan.checks import refused, seconds, setting
from vllmperf.plan.json_object import JsonObject
from vllmperf.plan.part import Part, jsonable, names
from vllmperf.plan.settings import named, unknown
from vllmperf.sweeps.axes import GRID, Values, combinations, label
from vllmperf.sweeps.setups.command import Command
from vllmperf.sweeps.setups.helm import Helm
from vllmperf.sweeps.setups.kubernetes import Kubernetes
from vllmperf.sweeps.setups.ray_serve import ONCE_MORE, RayServe
from vllmperf.sweeps.setups.server import Server
from vllmperf.sweeps.setups.simulator import Simulator
from vllmperf.sweeps.setups.url import Url

Kind = Command | RayServe | Kubernetes | Helm | Simulator | Url
KINDS: dict[str, type[Kind]] = {
    "command": Command,
    "ray_serve": RayServe,
    "kubernetes": Kubernetes,
    "helm": Helm,
    "simulator": Simulator,
    "url": Url,
}
"""What a server may be started by. The setting of this name makes a set-up one of the kind; others of its class go beside it."""
ALIASES = {"sim": "simulator"}
METRICS = "/metrics"
NO_SERVER_YET = "http://server.invalid"
"""Stands for the address of a server that is not started; a name that never has one."""
NOT_ITS_OWN = ("base_url", "other_urls", "weights", "simulator", "seed", "label")
"""Settings of a run that a set-up or the sweep decides."""


def paths(name: str, value: Any) -> tuple[str, ...]:
    """One path or URL, or several; none: the server is not asked."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, Sequence) or not all(isinstance(one, str) and one for one in found):
        raise refused(name, "a path like /metrics or a URL, or a list of them", value)
    if wrong := next((one for one in found if not one.startswith("/") and "://" not in one), None):
        raise refused(name, "a path that begins with / or a URL", wrong)
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Common(Part):
    """What all kinds have. plan: settings of the runs at this server. metrics: where it tells its counts, a path of its own or a
    URL. ready_timeout: seconds from the start to the first completion."""

    plan: Mapping[str, object] = setting(JsonObject(), checks.json_object)
    metrics: tuple[str, ...] = setting((METRICS,), paths)
    ready_timeout: float = setting(1800.0, seconds())

    def check(self) -> None:
        object.__setattr__(self, "plan", JsonObject(plan_settings("plan", self.plan)))


@dataclass(frozen=True, slots=True)
class Setup:
    """values: those of its axes."""

    name: str
    kind: str
    how: Kind
    common: Common = field(default_factory=Common)
    values: JsonObject = JsonObject()

    @property
    def ready_timeout(self) -> float:
        return self.common.ready_timeout

    @property
    def reads_text(self) -> bool:
        """Its router may look at texts: the simulator's then sees nothing in token ids, and Ray's lets the request hang."""
        if isinstance(self.how, Simulator):
            return self.how.simulator.get("router") == "prefix_aware"
        return isinstance(self.how, RayServe)

    @property
    def why_again(self) -> str | None:
        """Why a server that ended before it was ready is worth a second start; None where it is not."""
        return ONCE_MORE if isinstance(self.how, RayServe) else None

    def start(self, logs: Path) -> Server:
        """Start the server; it is not ready yet. logs: the folder for NAME_stdout.log and NAME_stderr.log of those that print.

        Raises SetupError, UsageError.
        """
        return self.how.start(slug(self.name), logs)

    def task(self, base_url: str, settings: Mapping[str, Any]) -> Task:
        """A run at this server. settings: by their own names; those of the set-up go before. Raises UsageError."""
        return Task.of({**settings, **self.common.plan, "base_url": base_url})

    def draft(self, settings: Mapping[str, Any]) -> Task:
        """The run before the server is started, for what does not depend on its address. Raises UsageError."""
        return self.task(NO_SERVER_YET, settings)

    def metrics(self, roots: Sequence[str]) -> list[str]:
        """URLs of the server's metrics. roots: its metrics_roots."""
        bare = [root.rstrip("/").removesuffix("/v1") for root in roots]
        found = [[one] if "://" in one else [root + one for root in bare] for one in self.common.metrics]
        return [url for urls in found for url in urls]

    def to_dict(self) -> dict[str, Any]:
        """As read_setup() takes it, every setting in it; values of axes are filled in, and told beside."""
        values = {"values": self.values.to_dict()} if self.values else {}
        return {"name": self.name, **self.how.to_dict(), **self.common.to_dict(), **values}


def plan_settings(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of runs under their own names. Raises SettingError for unknown ones and for those that are decided elsewhere."""
    found = {name: jsonable(value) for name, value in named(given, SETTINGS).items()}
    for name in NOT_ITS_OWN:
        if name in found:
            raise SettingError(
                "{where} cannot have {setting}: the sweep decides it", where=where, setting=name
            )
    return found


def read_setup(given: object) -> Setup:
    """One set-up without axes. Raises SettingError."""
    found = read_setups([given])
    if len(found) != 1:
        raise SettingError("{axes} make several set-ups of one: leave them out")
    return found[0]


def read_setups(given: object) -> list[Setup]:
    """All set-ups of a list, one for each combination of their axes. Raises SettingError, which says in which one."""
    if isinstance(given, str | Mapping) or not isinstance(given, Sequence) or not given:
        raise refused("setups", "a list of set-ups", given)
    found: list[Setup] = []
    for number, one in enumerate(given, 1):
        try:
            found += _expanded(one, number)
        except (SettingError, UsageError) as error:
            name = one.get("name", number) if isinstance(one, Mapping) else number
            why = error.told(str) if isinstance(error, SettingError) else str(error)
            raise SettingError("set-up {which}: {error}", which=name, error=why) from None
    _check_names([one.name for one in found])
    return found


def _check_names(given: Sequence[str]) -> None:
    """They name files."""
    seen: dict[str, str] = {}
    for name in given:
        other = seen.get(slug(name))
        if other == name:
            raise SettingError("two set-ups are called {called}: give each a name", called=name)
        if other is not None:
            raise SettingError(
                "set-ups {one} and {other} would have the same files: rename one", one=other, other=name
            )
        seen[slug(name)] = name


def _expanded(given: object, number: int) -> Iterator[Setup]:
    if not isinstance(given, Mapping):
        raise refused("setups", "a list of objects", given)
    own = {ALIASES.get(str(name), str(name)): value for name, value in given.items()}
    kind = _kind(own)
    name = str(own.pop("name", f"{kind}{number}"))
    if not name.strip():
        raise refused("name", "a text", name)
    told = JsonObject(checks.json_object("values", own.pop("values", {})))
    rows = combinations("axes", own.pop("axes", {}), own.pop("combine", GRID))
    if any(row in rows[:i] for i, row in enumerate(rows)):
        raise SettingError("{axes} give the same set-up twice: leave one value out")
    parts = {part: {key: own.pop(key) for key in names(part) if key in own} for part in (KINDS[kind], Common)}
    if own:
        known = [*names(KINDS[kind]), *names(Common), "name", "axes", "combine"]
        raise unknown(next(iter(own)), known)
    how, common = KINDS[kind](**parts[KINDS[kind]]), Common(**parts[Common])
    for values in rows:
        called = f"{name} {label(values)}" if values else name
        yield Setup(called, kind, _with(how, values), common, JsonObject(values) if values else told)


def _kind(given: Mapping[str, Any]) -> str:
    kinds = [kind for kind in KINDS if kind in given]
    if len(kinds) != 1:
        has = f", and it has {' and '.join(kinds)}" if kinds else ""
        raise SettingError("it must have one of {kinds}{has}", kinds=", ".join(KINDS), has=has)
    return kinds[0]


def _with(how: Kind, values: Values) -> Kind:
    return how.with_values(values) if values else how


def slug(name: str) -> str:
    """As a part of a file's name."""
    return "".join(char if char.isalnum() or char in "._=-" else "_" for char in name)
