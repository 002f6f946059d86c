"""A run to be made: the plan, and what goes beside it and is no part of it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vllmperf.loadgen.notes import Notes
from vllmperf.plan import settings
from vllmperf.plan.credentials import SECRETS, Credentials, usual_key
from vllmperf.plan.knobs import Knobs
from vllmperf.plan.part import names
from vllmperf.plan.plan import PART_OF, Plan

KNOBS, NOTES = names(Knobs), names(Notes)
HIDDEN = "***"
SETTINGS = frozenset((*PART_OF, *KNOBS, *NOTES, *SECRETS))
"""Every name that Task.of knows, beside short names and the lengths of one data set."""


@dataclass(frozen=True, slots=True)
class Task:
    """credentials: sent, but never written. knobs: of the engine. notes: kept in the run file for those who read it."""

    plan: Plan
    credentials: Credentials = Credentials()
    knobs: Knobs = Knobs()
    notes: Notes = field(default_factory=Notes)

    def __post_init__(self) -> None:
        if self.plan.load.until is not None:
            from vllmperf.metrics.precise import checked

            checked(self.described())

    @classmethod
    def of(cls, given: Mapping[str, Any], base: Plan | None = None) -> Task:
        """A task of settings by name, as in Plan.of(); of a base plan, which they change.

        The API key is OPENAI_API_KEY unless api_key or api_key_file is given. Raises UsageError, which names the setting.
        """
        found = settings.named(given, SETTINGS)
        credentials = Credentials.taken_from(found, usual_key())
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
            "tokenizer": plan.tokenizer,
        }


def _of(known: Container[str], found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name in known}
