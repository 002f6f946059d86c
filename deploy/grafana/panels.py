"""All dashboards, one file of JSON each: scripts/dashboards writes them."""

from __future__ import annotations

from grafana.client import CLIENT
from grafana.gpu import GPU
from grafana.server import SERVER
from grafana.startup import STARTUP

DASHBOARDS = (CLIENT, SERVER, GPU, STARTUP)
