"""Run files that are shares of one plan (share 0/3, 1/3, 2/3): each machine may have loaded a server of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vllmperf.errors import UsageError
from vllmperf.record.reader import Header

Meta = Mapping[str, Any]
Pages = Mapping[str, Mapping[str, float]]


def share(meta: Meta) -> str | None:
    """Like 0/3; None for a whole run."""
    return (meta.get("facts") or {}).get("share")


def check(headers: Sequence[Header]) -> None:
    """Raises UsageError when a share is there twice, or is not of as many as the others."""
    seen: dict[str, Header] = {}
    for one in headers:
        mine = share(one.meta)
        if mine is None:
            continue
        if mine in seen:
            raise UsageError(f"{seen[mine].path} and {one.path} are both share {mine}: give each share once")
        other = next(iter(seen), mine)
        if _of(other) != _of(mine):
            raise UsageError(f"{seen[other].path} is share {other} and {one.path} share {mine} of other ones")
        seen[mine] = one


def comparable(meta: Meta) -> Any:
    """The plan without what each share has for itself."""
    plan = meta.get("plan") or {}
    if share(meta) is None or "target" not in plan:
        return plan
    return {**plan, "target": {name: value for name, value in plan["target"].items() if name != "base_url"}}


def whole(metas: Sequence[Meta]) -> dict[str, Any]:
    """Plan and facts of what these shares are together. Servers of their own are its targets, in turn, as a request's number
    says; that is so only when all shares are there."""
    first = metas[0]
    plan, facts = dict(first["plan"]), {**first["facts"], "share": None}
    counts = [meta["facts"].get("num_prompts") for meta in metas]
    facts["num_prompts"] = sum(counts) if None not in counts else None
    ordered = sorted(metas, key=lambda meta: _index(str(share(meta))))
    urls = [meta["plan"]["target"]["base_url"] for meta in ordered]
    if len(metas) == _of(str(share(first))) and len(set(urls)) > 1:
        plan["target"] = {**plan["target"], "base_url": urls[0], "other_urls": urls[1:]}
        facts["base_url"] = urls[0]
    return {"plan": plan, "facts": facts}


def pages(metas: Sequence[Meta], of_one_server: Callable[[list[Pages]], Pages]) -> Pages | None:
    """What the servers had counted before and after: added up over servers. None where a part does not know."""
    of: dict[Any, list[Pages]] = {}
    for meta in metas:
        page = (meta.get("counters") or {}).get("server")
        if not page:
            return None
        of.setdefault(((meta.get("plan") or {}).get("target") or {}).get("base_url"), []).append(page)
    each = [of_one_server(found) for found in of.values()]
    return {when: _sum([page[when] for page in each]) for when in ("before", "after")}


def _sum(pages: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for page in pages for name in page)
    return {name: sum(page.get(name, 0.0) for page in pages) for name in names}


def _index(share: str) -> int:
    return int(share.partition("/")[0])


def _of(share: str) -> int:
    return int(share.partition("/")[2])
