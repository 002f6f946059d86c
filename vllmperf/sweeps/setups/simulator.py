"""The simulated server, inside this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllmperf.errors import SettingError
from vllmperf.plan import checks
from vllmperf.plan.checks import setting
from vllmperf.plan.json_object import JsonObject
from vllmperf.plan.part import Part
from vllmperf.sweeps.setups.url import UrlServer

if TYPE_CHECKING:
    from vllmperf.sim import Server


def simulator_settings(name: str, value: Any) -> JsonObject:
    """Settings of the simulator, as of `vllmperf sim`; also as text, and true for none."""
    from vllmperf.sim import parse_settings
    from vllmperf.sim.config import checked

    if isinstance(value, str):
        value = parse_settings(value)
    found = checks.json_object(name, {} if value is True else value)
    checked({"port": 0, **found})
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulator(Part):
    """simulator: its settings (`vllmperf sim --help`); any free port unless one is given."""

    simulator: Mapping[str, object] = setting(JsonObject(), simulator_settings)

    def with_values(self, values: Mapping[str, Any]) -> Simulator:
        """With the values of axes as further settings."""
        if twice := values.keys() & self.simulator.keys():
            raise SettingError("{axes} and {simulator} both have {name}", name=", ".join(sorted(twice)))
        return Simulator(simulator={**self.simulator, **values})

    def start(self, _name: str, _logs: Path) -> SimulatorServer:
        from vllmperf.sim import Server

        return SimulatorServer(Server(**dict[str, Any](self.simulator)))


class SimulatorServer(UrlServer):
    """A simulator that runs here; it goes with this process."""

    def __init__(self, server: Server) -> None:
        self._server = server.start()
        super().__init__(self._server.url)

    def stop(self) -> None:
        self._server.stop()
