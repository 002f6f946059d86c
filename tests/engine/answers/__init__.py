"""Answers as servers, gateways and clouds write them, and what a careful reader makes of each."""

from answers.clouds import CLOUDS
from answers.gateways import GATEWAYS
from answers.servers import SERVERS
from answers.shapes import SHAPES

ANSWERS = {**SERVERS, **GATEWAYS, **CLOUDS, **SHAPES}
