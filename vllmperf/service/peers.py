"""The generators of the replicas, as a client sees them: who is there, and a run at each."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vllmperf.errors import TargetError
from vllmperf.service.jobs import ENDED
from vllmperf.target import AnswerError, Client

PATIENCE_S = 60.0
"""How long a generator may be silent before its share is lost."""
ASK_EVERY_S = 1.0

Find = Callable[[], list[str]]
"""Gives the URLs of the generators that are there now. Raises NoAddressError."""


class NoAddressError(TargetError):
    """A name that leads nowhere: so far, or for ever."""


class Peer:
    """One generator."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url.rstrip("/")
        self._client = Client(self.url, headers={"Authorization": f"Bearer {token}"} if token else {})

    @property
    def host(self) -> str:
        """As a URL has it."""
        host = urlsplit(self.url).hostname or ""
        return f"[{host}]" if ":" in host else host

    def why_not_ready(self) -> str | None:
        try:
            self._client.get("/readyz")
        except AnswerError as error:
            return error.why
        return None

    def start(self, body: Mapping[str, Any]) -> str:
        """The id of the run. Raises TargetError."""
        try:
            answer = self._client.post("/runs", json.dumps(body).encode())
        except AnswerError as error:
            if error.status == 401:
                raise TargetError(f"{self.url}: VLLMPERF_TOKEN is not the token of this generator") from None
            raise TargetError(f"{self.url}: {error.why}: {error.words}") from None
        return str(self._json(answer)["id"])

    def run(self, run_id: str) -> dict[str, Any]:
        """As GET /runs lists it. Raises TargetError when the generator stays silent."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self._json(self._client.get(f"/runs/{run_id}"))
            except AnswerError as error:
                if error.status or time.monotonic() > deadline:
                    raise TargetError(f"{self.url}: its share of the run is lost ({error.why})") from None
                time.sleep(ASK_EVERY_S)

    def cancel(self, run_id: str) -> None:
        """It keeps what came. A run that has ended stays as it is."""
        try:
            with self._client.ask("DELETE", f"/runs/{run_id}") as answer:
                answer.read()
        except AnswerError:
            return

    def fetch(self, run_id: str, path: Path) -> None:
        """The run file. Raises TargetError when there is none."""
        with self._client.ask("GET", f"/runs/{run_id}/run", timeout_s=PATIENCE_S) as answer:
            if answer.status != 200:
                raise TargetError(
                    f"{self.url} has no file of run {run_id}: {answer.read()[:200].decode(errors='replace')}"
                )
            with path.open("wb") as file:
                file.writelines(answer.pieces())

    @staticmethod
    def _json(body: bytes) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(body)
        return found


def has_ended(run: Mapping[str, Any]) -> bool:
    return run["phase"] in ENDED


def pods(selector: str, namespace: str | None, port: int) -> Find:
    """The generators of the ready pods with these labels; the API server of this pod, or of the kubeconfig, knows them."""
    from vllmperf import kube

    cluster = kube.connect()

    def find() -> list[str]:
        found = cluster.list_pods(namespace or cluster.namespace, selector)
        return [_url(pod["status"]["podIP"], port) for pod in found if _is_ready(pod)]

    return find


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod["status"].get("conditions") or []
    is_ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return is_ready and not pod["metadata"].get("deletionTimestamp")


def named(name: str, port: int) -> Find:
    """The generators at the addresses of this name: a headless Service has those of its ready pods."""

    def find() -> list[str]:
        try:
            found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NoAddressError(f"{name} has no address ({error.strerror})") from None
        first = found[0][0]  # a pod with IPv4 and IPv6 counts once
        addresses = sorted({str(where[0]) for family, *_, where in found if family == first})
        return [_url(address, port) for address in addresses]

    return find


def _url(address: str, port: int) -> str:
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def wait_for(
    find: Find, n: int, token: str | None, timeout_s: float, say: Callable[[str], object]
) -> list[Peer]:
    """The first n generators that are there and answer. Raises TargetError when there are fewer in time."""
    deadline, told = time.monotonic() + timeout_s, None
    while True:
        peers, missing = _look(find, token)
        if not missing and len(peers) >= n:
            return peers[:n]
        words = f"{len(peers)} of {n} generators are ready" + (f", {missing[0]}" if missing else "")
        if time.monotonic() > deadline:
            raise TargetError(f"{words}, after {timeout_s:g} s")
        if words != told:
            say(told := words)
        time.sleep(ASK_EVERY_S)


def _look(find: Find, token: str | None) -> tuple[list[Peer], list[str]]:
    """Generators that are ready, and what is wrong with the others."""
    try:
        peers = [Peer(url, token) for url in find()]
    except NoAddressError as error:
        return [], [str(error)]
    why = [peer.why_not_ready() for peer in peers]
    ready = [peer for peer, reason in zip(peers, why, strict=True) if not reason]
    return ready, [f"not {peer.url} ({reason})" for peer, reason in zip(peers, why, strict=True) if reason]
