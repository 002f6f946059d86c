"""A set-up: a server that a sweep starts, measures and stops.

setup = read_setup({"name": "tp2", "command": "vllm serve MODEL -tp 2 --port {port}"})
server = setup.start(logs=Path("logs"))
try:
    wait_up(server, setup.ready_timeout)
    model = wait_ready(server, setup.task(server.base_url, {}), setup.ready_timeout)
    ...
finally:
    server.stop()
"""

from vllmperf.sweeps.setups.leftover import end_leftover, is_leftover
from vllmperf.sweeps.setups.ready import wait_ready, wait_up
from vllmperf.sweeps.setups.server import EndedError, Server, SetupError
from vllmperf.sweeps.setups.setup import Setup, read_setup, read_setups

__all__ = [
    "EndedError",
    "Server",
    "Setup",
    "SetupError",
    "end_leftover",
    "is_leftover",
    "read_setup",
    "read_setups",
    "wait_ready",
    "wait_up",
]
