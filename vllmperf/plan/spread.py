"""How requests are spread over several targets: in turn, by weight."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from vllmperf.plan.checks import refused

WEIGHTED = re.compile(r"(.*?)=(\d+)")
MOST_WEIGHT = 1000
A_TARGET = f"a URL or, of several, URL=WEIGHT with a whole number from 1 to {MOST_WEIGHT}"


def parted(urls: Sequence[Any]) -> dict[str, Any]:
    """The settings base_url, other_urls and weights of a list like ["http://a", "http://b=2"]."""
    if not urls or not all(isinstance(url, str) for url in urls):
        raise refused("base_url", "a URL or a list of URLs", list(urls))
    found = [match.groups() if (match := WEIGHTED.fullmatch(url)) else (url, "1") for url in urls]
    weights = tuple(int(weight) for _, weight in found)
    wrong = [url for url, weight in zip(urls, weights, strict=True) if not 1 <= weight <= MOST_WEIGHT]
    if wrong:
        raise refused("base_url", A_TARGET, wrong[0])
    return {
        "base_url": found[0][0],
        "other_urls": tuple(url for url, _ in found[1:]),
        "weights": weights if set(weights) != {1} else (),
    }


def urls(name: str, value: Any) -> tuple[str, ...]:
    """A list of texts."""
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise refused(name, "a list of URLs", value)
    return tuple(value)


def weights(name: str, value: Any) -> tuple[int, ...]:
    """A list of whole numbers from 1 on."""
    is_list = isinstance(value, list | tuple)
    if not is_list or not all(type(one) is int and 1 <= one <= MOST_WEIGHT for one in value):
        raise refused(name, f"a list of whole numbers from 1 to {MOST_WEIGHT}", value)
    return tuple(value)


def cycle(weighted: Sequence[int]) -> list[int]:
    """Whose turn it is, over and over: each target as often as its weight says, spread evenly (the smooth weighted round robin
    of nginx)."""
    credit, turns = [0] * len(weighted), []
    for _ in range(sum(weighted)):
        credit = [have + weight for have, weight in zip(credit, weighted, strict=True)]
        chosen = credit.index(max(credit))
        credit[chosen] -= sum(weighted)
        turns.append(chosen)
    return turns
