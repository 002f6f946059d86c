"""The service from its start to its end: the lock on its folder, uvicorn, signals."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

import uvicorn

from vllmperf.errors import UsageError
from vllmperf.exit_codes import OK
from vllmperf.service.app import create_app
from vllmperf.service.guard.patience import uvicorn_settings
from vllmperf.service.queue import Queue, Settings
from vllmperf.service.specs import Spec
from vllmperf.service.store import Store

CLOSING_S = 5


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: runs end before the answers do. words: what to say as soon as it answers."""

    words = ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(self.words, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(
    settings: Settings,
    host: str,
    port: int,
    specs: Sequence[Spec] = (),
    help_texts: Mapping[str, str] | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT; a second one cuts what is in flight. UsageError for a folder or port that is taken."""
    store = Store(settings.data)
    with store.locked():
        return asyncio.run(_serve(settings, store, host, port, list(specs), dict(help_texts or {})))


async def _serve(
    settings: Settings, store: Store, host: str, port: int, specs: list[Spec], help_texts: dict[str, str]
) -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    queue = Queue(settings, store)
    app = create_app(queue, specs, help_texts)
    config = uvicorn.Config(
        app,
        host,
        port,
        log_level="warning",
        access_log=False,
        **uvicorn_settings(settings.whole_guard.limits),
        timeout_graceful_shutdown=CLOSING_S,
        lifespan="on",
    )
    server = Server(config)
    stop = _stopper(queue, server)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        sockets = [config.bind_socket()]
    except SystemExit:  # uvicorn has said why
        raise UsageError(f"--host {host} --port {port} cannot be listened on: choose another port") from None
    shown = sockets[0].getsockname()
    address = f"[{shown[0]}]" if ":" in shown[0] else shown[0]
    server.words = f"vllmperf: http://{address}:{shown[1]}, data in {settings.data.absolute()}"
    await server.serve(sockets)
    return OK


def _stopper(queue: Queue, server: Server) -> Callable[[], None]:
    tasks: set[asyncio.Task[None]] = set()

    async def close() -> None:
        await queue.close()
        server.should_exit = True

    def stop() -> None:
        if queue.is_closing:
            queue.cut()
            return
        task = asyncio.get_running_loop().create_task(close())
        tasks.add(task)

    return stop
