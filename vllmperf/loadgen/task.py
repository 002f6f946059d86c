"""A run to be made: the plan, and what goes beside it and is no part of it."""

from __future__ import annotations

import os
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vllmperf import text_file
from vllmperf.errors import UsageError
from vllmperf.loadgen.notes import Notes
from vllmperf.plan import settings
from vllmperf.plan.checks import header_fields
from vllmperf.plan.credentials import Credentials
from vllmperf.plan.knobs import Knobs
from vllmperf.plan.part import names
from vllmperf.plan.plan import PART_OF, Plan

KNOBS, NOTES = names(Knobs), names(Notes)
HIDDEN = "***"
SECRETS = ("api_key", "api_key_file")
SETTINGS = frozenset((*PART_OF, *KNOBS, *NOTES, *SECRETS))
"""Every name that Task.of knows, beside short names and the lengths of one data set."""


@dataclass(frozen=True, slots=True)
class Task:
    """credentials: sent, but never written. knobs: of the engine. notes: kept in the run file for those who read it."""

    plan: Plan
    credentials: Credentials = Credentials()
    knobs: Knobs = Knobs()
    notes: Notes = field(default_factory=Notes)

    @classmethod
    def of(cls, given: Mapping[str, Any], base: Plan | None = None) -> Task:
        """A task of settings by name, as in Plan.of(); of a base plan, which they change.

        The API key is OPENAI_API_KEY unless api_key or api_key_file is given. Raises UsageError, which names the setting.
        """
        found = settings.named(given, SETTINGS)
        credentials = _credentials(found)
        own = _of(PART_OF, found)
        return cls(
            Plan.of(**own) if base is None else base.replace(**own),
            credentials,
            Knobs(**_of(KNOBS, found)),
            Notes(**_of(NOTES, found)),
        )

    def replace(self, **given: object) -> Task:
        """The same with other values for some settings of the plan, the knobs or the notes."""
        found = settings.named(given, SETTINGS)
        knobs, notes = _of(KNOBS, found), _of(NOTES, found)
        return Task(
            self.plan.replace(**_of(PART_OF, found)),
            self.credentials,
            replace(self.knobs, **knobs),
            replace(self.notes, **notes),
        )

    @property
    def headers(self) -> dict[str, str]:
        """Of the plan, and secret ones as ***."""
        return {**dict.fromkeys(self.credentials.headers, HIDDEN), **self.plan.target.headers}

    def described(self) -> dict[str, Any]:
        """Everything but secrets, by name: what a run file gives to those who read it."""
        return {**self.plan.flat(), **self.facts()}

    def facts(self) -> dict[str, Any]:
        """By name, for the run file: what is beside the plan and not secret, lengths as they are used."""
        plan, lengths = self.plan, self.plan.workload.lengths
        return {
            **self.knobs.to_dict(),
            **self.notes.to_dict(),
            "headers": self.headers,
            "authorized": self.credentials.authorized,
            "base_url": plan.target.base_url,
            "url": plan.url,
            "sampling": plan.workload.sampling,
            "input_len": lengths.input,
            "output_len": lengths.output,
            "prefix_len": lengths.prefix,
        }


def _of(known: Container[str], found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name in known}


def _credentials(found: dict[str, Any]) -> Credentials:
    """Takes what is secret out of the settings."""
    headers = header_fields("headers", found.pop("headers", None) or {})
    plain, secret = Credentials.apart(headers)
    if plain:
        found["headers"] = plain
    file, key = found.pop("api_key_file", None), found.pop("api_key", None)
    key = _key_in(file) if file else key or os.environ.get("OPENAI_API_KEY") or None
    return Credentials(api_key=key, headers=secret)


def _key_in(path: str | Path) -> str:
    try:
        key = text_file.read(path).strip()
    except (OSError, text_file.NoTextError) as error:
        raise UsageError(f"the API key file {path} cannot be read: {error}") from None
    if not key:
        raise UsageError(f"the API key file {path} is empty")
    return key
