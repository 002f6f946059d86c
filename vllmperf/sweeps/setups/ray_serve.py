"""A server by Ray Serve: a Ray of its own, started and ended with the server.

The tree of the prefix router outlives replicas and then sends requests to dead ones, so that routers must not share a Ray.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vllmperf.data_file import File
from vllmperf.errors import SettingError
from vllmperf.plan import checks
from vllmperf.plan.checks import number, seconds, setting, whole
from vllmperf.plan.json_object import JsonObject
from vllmperf.plan.part import Part
from vllmperf.sweeps.setups.command import HOST, Command, CommandServer, free_port, texts
from vllmperf.sweeps.setups.ray_config import routing, with_port, with_router, yaml_text
from vllmperf.sweeps.setups.ray_paths import DATA_PATHS, HAPROXY_PORTS
from vllmperf.sweeps.setups.server import SetupError
from vllmperf.sweeps.setups.values import filled

COMMAND = (
    "ray start --head --node-ip-address={ip} --port={ray_port} --metrics-export-port={metrics_port} "
    "--dashboard-agent-listen-port={agent_port} --include-dashboard=false --disable-usage-stats "
    "--system-config={system} {arguments} && exec serve run --address={ip}:{ray_port} {config}"
)
SYSTEM = '{"metrics_report_interval_ms": 1000}'
"""By default Ray's processes hand on their counts every 10 s."""
ENV = {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_ADDRESS": ""}
"""Else SIGTERM waits half a minute for a drain that has nowhere to go, and serve would join another Ray."""
STOP_S = 5.0
"""Ray's GCS outlives SIGTERM when all of Ray gets it at once; nothing of it is worth a longer wait."""
NO_IDS = (
    "Ray's prefix router takes a prompt of token ids for an empty text, and the request then hangs: give the plan "
    "text_prompts: true, or a tokenizer"
)
ONCE_MORE = "once more, as `ray start` gives its node 30 s, too few for a busy machine"
AXES = ("router", "imbalanced_threshold", "match_rate_threshold", "data_path")
"""Settings that are axes by their own names."""


def serve_config(name: str, value: Any) -> JsonObject:
    """A Serve configuration, or the path of its file."""
    if isinstance(value, str | os.PathLike):
        path = Path(value)
        value = File(path).data
        name = str(path)
    found = checks.json_object(name, value)
    if not isinstance(found.get("applications"), list):
        raise SettingError("{where} has no list of applications: give a Serve configuration", where=name)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class RayServe(Part):
    """ray_serve: a Serve configuration. router: for each deployment in it that has a request_router_config: pow2, prefix_aware,
    round_robin, session, or a class; None leaves those of the configuration. data_path: proxy, haproxy or direct; None leaves
    it to env. host, port, metrics_port: of HTTP and of Ray's metrics, 0 takes a free one. cwd: where its import_path is looked
    for. ray_ip: of the node; Ray does not take 127.0.0.1. ray_arguments: more of `ray start`. stop_timeout: seconds from SIGTERM
    to SIGKILL."""

    ray_serve: Mapping[str, Any] = setting(JsonObject({"applications": []}), serve_config)
    router: str | None = setting(None, checks.text)
    imbalanced_threshold: float = setting(10.0, number(least=0.0, endless=True))
    match_rate_threshold: float = setting(0.1, number(least=0.0, most=1.0))
    data_path: str | None = setting(None, checks.one_of(*DATA_PATHS))
    host: str = setting(HOST, checks.text)
    port: int = setting(0, whole(0, 65535))
    metrics_port: int = setting(0, whole(0, 65535))
    ray_ip: str = setting("127.0.0.2", checks.text)
    ray_arguments: str = setting("", checks.text)
    env: Mapping[str, str] = setting(JsonObject(), texts)
    cwd: str | None = setting(None, checks.path)
    stop_timeout: float = setting(STOP_S, seconds(zero=True))

    def check(self) -> None:
        self.config(0)

    def with_values(self, values: Mapping[str, Any]) -> RayServe:
        """With the values of axes: those of AXES by their names, others for their names in braces."""
        own = {name: value for name, value in values.items() if name in AXES}
        found: RayServe = filled(
            replace(self, **own), {name: value for name, value in values.items() if name not in own}
        )
        return found

    def config(self, port: int) -> dict[str, Any]:
        """What Serve is given. Raises SettingError."""
        found: dict[str, Any] = JsonObject(self.ray_serve).to_dict()
        if self.router is not None:
            chosen = routing(self.router, self.imbalanced_threshold, self.match_rate_threshold)
            found = with_router(found, chosen)
        return with_port(found, self.host, port)

    def variables(self) -> dict[str, str]:
        """The environment of Ray's processes, beside that of this one: `env` overrides the rest."""
        path = DATA_PATHS[self.data_path] if self.data_path else {}
        return {**ENV, **path, **{name: str(free_port()) for name in HAPROXY_PORTS}, **self.env}

    def start(self, name: str, logs: Path) -> CommandServer:
        """Start Ray and Serve, with their output in logs/NAME_stdout.log and NAME_stderr.log and what Serve is given in
        logs/NAME_serve_config.yaml. Raises SetupError, UsageError."""
        if shutil.which("ray", path=self.env.get("PATH")) is None:
            raise SetupError("there is no `ray` in PATH: pip install 'ray[serve]', or give its PATH in env")
        port, metrics_port = self.port or free_port(), self.metrics_port or free_port()
        path = (logs / f"{name}_serve_config.yaml").absolute()
        logs.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml_text(self.config(port)), encoding="utf-8")
        command = Command(
            command=self._command(path, metrics_port),
            env=self.variables(),
            cwd=self.cwd,
            base_url=f"http://{self.host}:{port}",
            stop_timeout=self.stop_timeout,
        )
        return CommandServer(
            command, str(command.base_url), name, logs, metrics_root=f"http://{self.ray_ip}:{metrics_port}"
        )

    def _command(self, config: Path, metrics_port: int) -> str:
        values = {
            "ip": self.ray_ip,
            "ray_port": free_port(),
            "metrics_port": metrics_port,
            "agent_port": free_port(),
            "system": SYSTEM,
            "config": config,
        }
        quoted = {name: shlex.quote(str(value)) for name, value in values.items()}
        return COMMAND.format(**quoted, arguments=self.ray_arguments)
