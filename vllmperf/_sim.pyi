"""The simulated server as Python sees it. vllmperf.sim.Server is the one for people."""

from typing import Any

FAULTS: tuple[tuple[str, str, tuple[tuple[str, int, str], ...], bool], ...]
"""The table of faults: (name, meaning, ((parameter, default, meaning), ...), is it one of connections)."""

REPLAY_REQUEST: str
"""Names of the columns of replay()'s first table, all int64, with blanks between them."""
REPLAY_STEP: str
"""Those of the second."""

def replay(
    config: dict[str, Any],
    arrival_ns: Any,
    prompt_tokens: Any,
    output_tokens: Any,
    prefix: Any,
    prefix_tokens: Any,
    priority: Any,
    concurrency: int,
    want_steps: bool,
    /,
) -> tuple[int, int, bytes, bytes]:
    """The batching engine in virtual time: (number of steps, visits, rows of requests, rows of steps).

    visits: how often it looked at a request in all steps: that is what a replay costs.

    Arrays are int64 with one element a request, or None where they are not needed (vllmperf.sim.replay says
    what they mean). ValueError names the request that cannot be. The GIL is released.
    """

class Server:
    """config: dict with all keys of vllmperf.sim.config.SETTINGS; ValueError or TypeError for a bad one.

    It answers on a thread of its own, which never takes the GIL.
    """

    def __init__(self, config: dict[str, Any]) -> None: ...
    def start(self) -> None:
        """Listen and answer. OSError when that is not possible; its message says why."""
    def stop(self) -> None:
        """End all connections and close the truth file; OSError when it is not whole. Again is no error."""
    def stats(self) -> dict[str, int]:
        """Counters since the start.

        connections accepted, open_connections, windows_refused (times that nothing listened), requests (POSTs
        of completions and chat), answers begun, finished, client_gone, running, chunks (token chunks written)
        and their tokens, lateness_sum_ns and lateness_max_ns (written minus planned, over chunks), blocked
        (times that an answer waited for a client that did not read), cpu_ns of its thread, sleeps and wakes
        (calls of /sleep and /wake_up that changed something, counted when they begin).
        """
    def set_ready(self, ready: bool) -> None:
        """Before it is ready (a new server is) it answers 503 to all requests. At any time."""
    @property
    def port(self) -> int:
        """Port that it listens on, 0 when it is not running."""
    @property
    def running(self) -> bool: ...
