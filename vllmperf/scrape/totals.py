"""What a server has counted so far, by its page of metrics; the difference of two pages is what it did between them."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import urlsplit

from vllmperf.errors import VllmperfError
from vllmperf.plan import Credentials, Target
from vllmperf.scrape.names import own_name
from vllmperf.target import client_of

SAMPLE = re.compile(r"^((?:ray_)?vllm[:_]\w+_(?:total|sum|count))(?:\{.*\})? (\S+)", re.MULTILINE)
"""A counter, or the sum or count of a histogram; a time may stand behind the value."""
NO_SUM = "_sum"
"""Of Ray: its sums of histograms add up the middles of buckets."""
PATIENCE_S = 2.0
"""A page that takes longer is left out: a run must not wait for it."""


def totals(text: str) -> dict[str, float]:
    """vLLM's counters, and sums and counts of its histograms, by name, each summed over its labels (engines, models, reasons).

    Raises ValueError when a value is no number.
    """
    found: dict[str, float] = {}
    for raw, value in SAMPLE.findall(text):
        name, is_ray = own_name(raw) or ("", False)
        if name and not (is_ray and name.endswith(NO_SUM)):
            found[name] = found.get(name, 0.0) + float(value)
    return found


def ask(target: Target, credentials: Credentials) -> dict[str, float] | None:
    """The totals of a server now; None when it has no such page, or none of vLLM's."""
    try:
        return totals(page(target.root + "/metrics", target, credentials)) or None
    except (VllmperfError, OSError, ValueError):
        return None


def ask_all(target: Target, credentials: Credentials) -> dict[str, float] | None:
    """The totals of all of its servers, added up; None when one of them has none."""
    pages = [ask(one, credentials) for one in target.each]
    known = [page for page in pages if page is not None]
    if len(known) < len(pages):
        return None
    names = dict.fromkeys(name for page in known for name in page)
    return {name: sum(page.get(name, 0.0) for page in known) for name in names}


def page(address: str, target: Target, credentials: Credentials) -> str:
    """The text of a page of metrics, asked for as the plan's server is. Raises VllmperfError, OSError, ValueError."""
    url = urlsplit(address)
    there = replace(target, base_url=f"{url.scheme}://{url.netloc}", simulator=None)
    return client_of(there, credentials).get(url.path, timeout_s=PATIENCE_S).decode(errors="replace")
