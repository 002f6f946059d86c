"""What a run is: frozen, hashable, to and from JSON. Equal plans send equal traffic.

Nothing of how results are shown, nothing secret, and nothing of the engine that a server would not see. Ids of requests
are drawn for each run unless request_id_prefix is given.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vllmperf import datasets
from vllmperf.errors import SettingError, UsageError
from vllmperf.plan import settings
from vllmperf.plan.checks import refused, shown
from vllmperf.plan.limits import Limits
from vllmperf.plan.load import Load
from vllmperf.plan.part import Part, names
from vllmperf.plan.target import Target
from vllmperf.plan.workload import NO_TOKENIZER, Workload

# History of the plan's JSON. A reader refuses a newer number than its own and reads every older one.
#   1  first version: target, workload, load, limits
VERSION = 1

PARTS: dict[str, type[Part]] = {"target": Target, "workload": Workload, "load": Load, "limits": Limits}
PART_OF = {name: part for part, kind in PARTS.items() for name in names(kind)}
"""Every setting of a plan, and the part that it is in. No two parts have one of the same name."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run. Parts may be given whole; `Plan.of` takes settings by their own names.

    >>> plan = Plan.of(base_url="http://127.0.0.1:8000", request_rate=4, duration="30s")
    >>> plan.replace(request_rate=8).load.request_rate
    8.0
    """

    target: Target
    workload: Workload = Workload()
    load: Load = Load()
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        for name, kind in PARTS.items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} must be a {kind.__name__}: Plan.of(...) takes single settings")
        if self.load.arrival == "dataset" and self.workload.dataset.times_s is None:
            raise SettingError(
                "{arrival} dataset needs a data set with times of its own: {names}",
                names=", ".join(each.name for each in datasets.table().values() if each.times_s),
            )
        self._check_sessions()
        for name in ("string_content", "chat_max_tokens"):
            if getattr(self.workload, name) and not self.target.is_chat:
                raise SettingError(f"{{{name}}} is of chats: add {{backend}} openai-chat or leave it out")

    def _check_sessions(self) -> None:
        work, load = self.workload, self.load
        if work.dataset.conversations is None:
            names_of = [each.name for each in datasets.table().values() if each.conversations]
            for name, is_given in (("session_header", work.session_header), ("think_time", load.think_time)):
                if is_given:
                    raise SettingError(
                        f"{{{name}}} needs a data set of conversations: {{names}}", names=", ".join(names_of)
                    )
        elif load.is_open_loop:
            raise SettingError(
                "{dataset_name} {name} is closed by session, a turn follows an answer: give {max_concurrency} (sessions at "
                "once) instead of {request_rate} and {arrival}",
                name=work.dataset_name,
            )
        elif self.target.other_urls:
            raise SettingError("{dataset_name} {name} goes to one {base_url}", name=work.dataset_name)
        elif work.n > 1:
            raise SettingError("{n}: a turn of a conversation follows one answer: leave it out")

    @classmethod
    def of(cls, **given: object) -> Plan:
        """A plan of these settings, or of their short and command-line names; durations also as text like "30s".

        Where nothing else is said: num_prompts is 1000 unless something else ends the run, random prompts ask for
        answers of full length, and a simulator gets 32 requests at a time. Raises SettingError.
        """
        return cls._of_settings(settings.with_defaults(settings.named(given, PART_OF)))

    @classmethod
    def _of_settings(cls, given: Mapping[str, object]) -> Plan:
        parts: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
        for name, value in given.items():
            parts[PART_OF[name]][name] = value
        return cls(
            Target(**parts["target"]),
            Workload(**parts["workload"]),
            Load(**parts["load"]),
            Limits(**parts["limits"]),
        )

    def replace(self, **given: object) -> Plan:
        """The same with other values for some settings. Raises SettingError."""
        changes: dict[str, dict[str, Any]] = {}
        for name, value in _one_server(settings.named(given, PART_OF)).items():
            changes.setdefault(PART_OF[name], {})[name] = value
        parts = {part: dataclasses.replace(getattr(self, part), **new) for part, new in changes.items()}
        return dataclasses.replace(self, **parts)

    @property
    def url(self) -> str:
        """Where the requests go."""
        return self.target.url

    @property
    def limit_field(self) -> str:
        """The field of a request that limits its answer."""
        is_new = self.target.is_chat and not self.workload.chat_max_tokens
        return "max_completion_tokens" if is_new else "max_tokens"

    @property
    def tokenizer(self) -> str | None:
        """What counts tokens: `workload.tokenizer`; without it, for texts, the model's own where the model is named as on
        the Hugging Face hub. None: nothing does, lengths are drawn or estimated."""
        given, model = self.workload.tokenizer, self.target.model or ""
        if given is not None:
            return None if given == NO_TOKENIZER else given
        return model if "/" in model and not self.workload.dataset.is_made_up else None

    # ---- JSON ----

    def flat(self) -> dict[str, object]:
        """All settings by name, as JSON has them."""
        return {name: value for part in PARTS for name, value in getattr(self, part).to_dict().items()}

    def to_dict(self) -> dict[str, object]:
        """{"version": 1, "target": {…}, "workload": {…}, "load": {…}, "limits": {…}}, every setting in it."""
        return {"version": VERSION, **{part: getattr(self, part).to_dict() for part in PARTS}}

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Plan:
        """The plan that to_dict() gave; what is left out has its default, as in Plan.of().

        Raises UsageError that names the place: load.max_concurrency must be at least 1 (got 0)
        """
        try:
            return cls._of_settings(settings.with_defaults(_flat(data)))
        except SettingError as error:
            raise UsageError(
                error.told(lambda name: f"{PART_OF[name]}.{name}" if name in PART_OF else name)
            ) from None

    def to_json(self) -> str:
        """The plan as a JSON text, without anything secret."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan of a JSON text. Raises UsageError."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"the plan is no JSON: {error}") from None
        return cls.from_dict(data)

    def _repr_html_(self) -> str:
        """For notebooks: the settings that differ from their defaults."""
        import html

        return f"<code>{html.escape(repr(self))}</code>"

    def __repr__(self) -> str:
        default = {each.name: each.default for kind in PARTS.values() for each in dataclasses.fields(kind)}
        own = ((name, getattr(getattr(self, part), name)) for name, part in PART_OF.items())
        return f"Plan({', '.join(f'{name}={value!r}' for name, value in own if value != default[name])})"


def _one_server(changes: dict[str, Any]) -> dict[str, Any]:
    """A new server replaces the one of the other kind."""
    if changes.get("base_url") is not None:
        return {"simulator": None, "other_urls": (), "weights": (), **changes}
    alone = {"base_url": None, "other_urls": (), "weights": ()}
    return {**alone, **changes} if changes.get("simulator") is not None else changes


def _flat(data: object) -> dict[str, Any]:
    """The settings of a plan's JSON, parts and names checked."""
    if not isinstance(data, Mapping):
        raise UsageError(f"a plan must be an object with {', '.join(PARTS)} (got {shown(data)})")
    _check_version(data.get("version", VERSION))
    found: dict[str, Any] = {}
    for part, members in data.items():
        if part == "version":
            continue
        if part not in PARTS:
            raise settings.unknown(part, PARTS, "the plan has no part")
        if not isinstance(members, Mapping):
            raise refused(part, "an object", members)
        for name in members:
            if PART_OF.get(name) != part:
                raise settings.unknown(f"{part}.{name}", [f"{home}.{each}" for each, home in PART_OF.items()])
        found |= members
    return found


def _check_version(version: object) -> None:
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise refused("version", "a whole number", version)
    if version > VERSION:
        raise UsageError(
            f"the plan was written by a newer vllmperf (version {version}, this one reads up to {VERSION}): upgrade "
            "vllmperf to read it"
        )
