"""Asks for pages of metrics before, during and after a run, from a thread of its own; they are read when it is over."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from urllib.parse import urlsplit

from vllmperf.errors import VllmperfError
from vllmperf.plan import Credentials, Target
from vllmperf.scrape import totals
from vllmperf.scrape.page import kept, parse
from vllmperf.scrape.window import ScrapedPage, replicas

EVERY_S = 1.0
FIRST_S, SLOWER = 0.1, 1.25
"""The first page is read soon, and the next ones ever later, so that short runs are seen too."""
RAY = re.compile(r"^ray_\w", re.MULTILINE)
SETTLE_S = 12.0
FINISHED = "request_success_total"
Raw = tuple[int, str, str, bool]
"""Ns since 1970, URL, the lines that count, whether they are the brief ones."""


class Watch:
    """pages: what was seen, in the order of time. Enter it around the run, and call it just before the first request and just
    after the last one: it then gives what the server has counted, for the run file."""

    def __init__(
        self, urls: Sequence[str], target: Target, credentials: Credentials, every_s: float = EVERY_S
    ) -> None:
        self._urls, self._target, self._credentials, self._every_s = urls, target, credentials, every_s
        self.pages: list[Raw] = []
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="metrics", daemon=True)

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2 * totals.PATIENCE_S * max(len(self._urls), 1))

    def __call__(self) -> Mapping[str, float] | None:
        """Ask now, for the whole pages. The first call begins the watch, with what was seen before left out."""
        found: dict[str, float] = {}
        for page in self._ask(is_brief=False):
            for name, value in totals.totals(page).items():
                found[name] = found.get(name, 0.0) + value
        if found and not self._thread.is_alive() and not self._stop.is_set():
            self._thread.start()
        return found or None

    def is_of_ray(self) -> bool:
        """Whether one of the pages is Ray's, by the names of its metrics. Asks now, and keeps nothing."""
        return any(RAY.search(self._page(url)) for url in self._urls)

    def await_counts(self) -> None:
        """Ray's pages are up to 10 s old: wait until they count a request, at most SETTLE_S. For a server that has answered."""
        deadline_s = time.monotonic() + SETTLE_S
        while self._urls and all(_is_uncounted(self._page(url)) for url in self._urls):
            if time.monotonic() >= deadline_s:
                return
            time.sleep(self._every_s)

    def settle(self, requests: int) -> None:
        """Ray's pages are up to 10 s old: ask again until they have counted so many requests, at most SETTLE_S."""
        deadline_s = time.monotonic() + SETTLE_S
        while self._is_behind(requests) and time.monotonic() < deadline_s:
            time.sleep(self._every_s)
            self._ask(is_brief=False)

    def _is_behind(self, requests: int) -> bool:
        whole = [
            ScrapedPage(at_ns, url, parse(page)) for at_ns, url, page, is_brief in self.pages if not is_brief
        ]
        if not any(one.page.is_ray for one in whole):
            return False
        return sum(one.counters.get(FINISHED, 0.0) for one in replicas(whole)) < requests

    def _watch(self) -> None:
        pause_s = min(FIRST_S, self._every_s)
        while not self._stop.wait(pause_s):
            self._ask(is_brief=True)
            pause_s = min(pause_s * SLOWER, self._every_s)

    def _ask(self, is_brief: bool) -> list[str]:
        found = []
        for url in self._urls:
            at_ns = time.time_ns()
            page = self._page(url)
            if lines := kept(page, is_brief):
                with self._lock:
                    self.pages.append((at_ns, url, lines, is_brief))
                found.append(lines)
        return found

    def _page(self, url: str) -> str:
        """ "" where there is none. Credentials go to the plan's server alone."""
        is_its_own = urlsplit(url).netloc == urlsplit(self._target.root).netloc
        try:
            return totals.page(url, self._target, self._credentials if is_its_own else Credentials())
        except (VllmperfError, OSError, ValueError):
            return ""


def _is_uncounted(page: str) -> bool:
    """Whether it is Ray's, and has no finished request yet."""
    return RAY.search(page) is not None and FINISHED not in totals.totals(page)
