"""Everything that `vllmperf check` looks at in a run: our own by identities over its requests, the
sums of its figures and the rules of the verdict, others by the sums of their figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vllmperf.metrics.entries import Entries
from vllmperf.metrics.figure_spans import Figures
from vllmperf.metrics.sums import SUMS, Checked, checked
from vllmperf.metrics.verdict import RULES
from vllmperf.numbers import plural

Summary = Mapping[str, Any]
STATUS = {"caution": "doubt", "untrusted": "broken"}
BY_REQUEST = ("e2el_itl", "e2el_tpot", "little", "little_peak", "not_zero", "entries", "recounted")
"""Sums that identities and rules look at request by request in our own runs, whatever a chunk or an answer holds."""
OF_OURS = tuple(one for one in SUMS if not one.is_doubt and one.name not in BY_REQUEST)


@dataclass(frozen=True, slots=True)
class CheckedRun:
    """A run and what was looked at in it. name: its file, with the line of a pasted table."""

    name: str
    tool: str
    completed: int
    checks: Sequence[Checked]

    @property
    def holds(self) -> bool:
        """Nothing is broken. (There may be doubts.)"""
        return not any(one.status == "broken" for one in self.checks)

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def of_run(
    summary: Summary,
    rounding: Mapping[str, float],
    remarks: Sequence[str],
    entries: Entries | None = None,
) -> list[Checked]:
    """rounding, remarks, entries: of a foreign run, see ForeignRun."""
    noted = [Checked("remark", text, "doubt") for text in remarks]
    figures = Figures(summary, rounding, entries)
    if summary["identities"]:
        return [*_identities(summary), *checked(figures, OF_OURS), *_rules(summary)]
    return [*checked(figures), *noted]


def _identities(summary: Summary) -> Iterator[Checked]:
    for name, one in summary["identities"].items():
        status = "broken" if one["broken"] else "ok" if one["checked"] else "unknown"
        looked = f"{plural(one['checked'], 'case')}"
        why = "" if not one["broken"] else f"the {one['blames']}'s figures disagree"
        yield Checked(name, str(one["statement"]), status, f"{one['broken']:,} broken", looked, why)


def _rules(summary: Summary) -> Iterator[Checked]:
    """A rule that cannot be measured is unknown. The thresholds stand on the right."""
    found = {finding["name"]: finding for finding in summary["verdict"].get("findings", ())}
    for rule in RULES:
        if rule.name in found:
            finding = found[rule.name]
            sides = f"{finding['value']:.3g}", f"at most {finding['caution_above']:g}"
            yield Checked(rule.name, rule.what, STATUS[finding["level"]], *sides, finding["reason"])
        else:
            value = rule.measure(summary)
            status = "unknown" if value is None else "ok"
            if status == "ok" and not rule.caution:
                yield Checked(rule.name, f"not seen: {rule.what}", status)
                continue
            side = "" if value is None else f"{value:.3g}"
            yield Checked(rule.name, rule.what, status, side, f"at most {rule.caution:g}")
