"""What a run is: Plan, and its parts Target, Workload, Load, Limits.

Beside it go Credentials and the Knobs of the engine; loadgen.task.Task holds all of them.
"""

from vllmperf.plan.checks import MOST
from vllmperf.plan.credentials import Credentials
from vllmperf.plan.knobs import Knobs
from vllmperf.plan.limits import Limits
from vllmperf.plan.load import ARRIVALS, Load
from vllmperf.plan.plan import PART_OF, Plan
from vllmperf.plan.target import BACKENDS, Target
from vllmperf.plan.workload import SAMPLING, Workload

__all__ = [
    "ARRIVALS",
    "BACKENDS",
    "MOST",
    "PART_OF",
    "SAMPLING",
    "Credentials",
    "Knobs",
    "Limits",
    "Load",
    "Plan",
    "Target",
    "Workload",
]
