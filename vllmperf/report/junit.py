"""Conditions and how they came out as JUnit XML, which GitLab, Jenkins and GitHub actions show: a test case each.

Elements and attributes are those of Jenkins' schema (junit-10.xsd), which GitLab reads too: testsuites, testsuite, testcase with
failure (the condition holds) or error (nobody can tell).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree

from vllmperf.comparison.conditions import CANNOT_TELL, FAILED, Judged

KINDS = {FAILED: "failure", CANNOT_TELL: "error"}
"""GitLab, Jenkins and GitHub's reporters show both apart. `skipped` would let a gate that cannot judge look green."""
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml(judged: Sequence[Judged], suite: str) -> str:
    """The file. suite: the command."""
    counts = {
        "tests": str(len(judged)),
        "failures": str(sum(one.outcome == FAILED for one in judged)),
        "errors": str(sum(one.outcome == CANNOT_TELL for one in judged)),
        "time": "0",
    }
    root = ElementTree.Element("testsuites", {"name": "vllmperf", **counts})
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    inner = ElementTree.SubElement(
        root, "testsuite", {"name": suite, **counts, "skipped": "0", "timestamp": stamp}
    )
    for one in judged:
        _case(inner, one, suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, one: Judged, name: str) -> None:
    classname = f"{name}.{one.run}" if one.run else name
    case = ElementTree.SubElement(
        suite, "testcase", {"classname": _clean(classname), "name": _clean(one.condition), "time": "0"}
    )
    if kind := KINDS.get(one.outcome):
        detail = ElementTree.SubElement(case, kind, {"message": _clean(one.words), "type": "condition"})
        detail.text = _clean(str(one))
    else:
        ElementTree.SubElement(case, "system-out").text = _clean(str(one))


def _clean(text: str) -> str:
    """Without characters that XML 1.0 does not have."""
    return NOT_XML.sub("�", text)
