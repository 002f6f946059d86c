"""What is to be measured of starts, and how: the settings of `vllmperf.startup`, named as the command's flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllmperf.errors import SettingError
from vllmperf.plan import checks, settings
from vllmperf.plan.checks import flag, seconds, setting, text, whole
from vllmperf.plan.credentials import SECRETS, Credentials, usual_key
from vllmperf.plan.json_object import JsonObject
from vllmperf.plan.part import Part, names
from vllmperf.starts.live.probe import Access
from vllmperf.starts.result import Start

Update = Callable[[list[Start]], None]

OF_PODS = (
    "config",
    "context",
    "label",
    "deployment",
    "containername",
    "namespace",
    "watch",
    "scale",
    "restart",
    "grace",
)
OF_A_COMMAND = ("cold", "warm", "cache_dir", "stop_timeout", "echo")


def _words(name: str, value: Any) -> str | tuple[str, ...]:
    """A command line, or its words."""
    if isinstance(value, str):
        return value
    if not isinstance(value, Sequence) or not all(isinstance(word, str) for word in value):
        raise checks.refused(name, "a text or a list of words", value)
    return tuple(value)


def _as_it_is(_name: str, value: Any) -> Any:
    return value


def _folder(name: str, value: Any) -> Path:
    return Path(checks.path(name, value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement(Part):
    """command starts a server here; label or deployment choose pods of a cluster. vllmperf.startup describes the rest.

    on_update: takes the starts so far, a few times a second.
    """

    command: str | tuple[str, ...] | None = setting(None, _words)
    config: str | None = setting(None, checks.path)
    context: str | None = setting(None, text)
    namespace: str = setting("default", text)
    label: str | None = setting(None, text)
    deployment: str | None = setting(None, text)
    containername: str | None = setting(None, text)
    watch: bool = setting(False, flag)
    scale: int | None = setting(None, whole())
    restart: bool = setting(False, flag)
    grace: float = setting(30.0, seconds())
    cold: bool = setting(False, flag)
    warm: bool = setting(False, flag)
    cache_dir: Path | None = setting(None, _folder)
    stop_timeout: float = setting(30.0, seconds())
    echo: bool = setting(False, flag)
    repeat: int = setting(1, whole())
    timeout: float = setting(1800.0, seconds())
    probe_first_token: bool | None = setting(None, flag)
    sleep_wake: int = setting(0, whole(0))
    url: str | None = setting(None, text)
    headers: Mapping[str, str] = setting(JsonObject(), checks.header_fields)
    cacert: str | None = setting(None, checks.path)
    insecure: bool = setting(False, flag)
    output: Path | None = setting(None, _folder)
    log_timestamps: bool = setting(False, flag)
    credentials: Credentials = setting(Credentials(), _as_it_is)
    on_update: Update | None = setting(None, _as_it_is)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Measurement:
        """The measurement of these settings; api_key and api_key_file as in bench(). Raises SettingError."""
        found = dict(given)
        for name in found:
            if name not in SETTINGS:
                raise settings.unknown(name, SETTINGS)
        usual = None if found.get("command") is not None else usual_key()  # a command has its own
        return cls(credentials=Credentials.taken_from(found, usual), **found)

    def check(self) -> None:
        if self.command is not None:
            self._refuse(
                OF_PODS, "{{{name}}} is for pods of a cluster, {{command}} is not: leave one of them out"
            )
            return
        self._refuse(OF_A_COMMAND, "{{{name}}} is for {{command}} alone")
        self._check_pods()

    def _refuse(self, foreign: Sequence[str], words: str) -> None:
        defaults = type(self).__dataclass_fields__
        for name in foreign:
            if getattr(self, name) != defaults[name].default:
                raise SettingError(words.format(name=name))

    def _check_pods(self) -> None:
        causes = self.scale is not None or self.restart
        if not self.label and not self.deployment:
            raise SettingError("nothing says what to measure: give {label}, {deployment} or {command}")
        if self.label and self.deployment:
            raise SettingError("{label} and {deployment} both choose pods: give one of them")
        if self.scale is not None and self.restart:
            raise SettingError("{scale} and {restart} both cause starts: give one of them")
        if causes and not self.deployment:
            raise SettingError(f"{'{restart}' if self.restart else '{scale}'} needs {{deployment}}")
        if self.repeat > 1 and not causes:
            raise SettingError(
                "{repeat} needs {scale}, {restart} or {command}: something has to cause the starts"
            )
        if self.url and not (self.probe_first_token or self.sleep_wake):
            raise SettingError("{url} is for {probe_first_token}, {sleep_wake} or {command}")

    @property
    def access(self) -> Access:
        """How the server is asked."""
        headers = {**self.credentials.headers, **self.headers}
        return Access(self.credentials.api_key, headers, self.cacert, self.insecure)


SETTINGS = (*(name for name in names(Measurement) if name not in ("credentials", "on_update")), *SECRETS)
"""Every name that Measurement.of knows."""
