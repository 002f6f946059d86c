"""What a run is: Plan, and its parts Target, Workload, Load, Limits.

Task is a plan with what goes beside it: Credentials, Knobs of the engine, and Notes for those who read the run.
"""

from vllmperf.plan.checks import MOST
from vllmperf.plan.credentials import Credentials, is_secret
from vllmperf.plan.knobs import Knobs
from vllmperf.plan.limits import Limits
from vllmperf.plan.load import ARRIVALS, Load
from vllmperf.plan.notes import Notes
from vllmperf.plan.plan import PART_OF, Plan
from vllmperf.plan.target import BACKENDS, Target
from vllmperf.plan.task import SETTINGS, Task
from vllmperf.plan.workload import SAMPLING, Workload

__all__ = [
    "ARRIVALS",
    "BACKENDS",
    "MOST",
    "PART_OF",
    "SAMPLING",
    "SETTINGS",
    "Credentials",
    "Knobs",
    "Limits",
    "Load",
    "Notes",
    "Plan",
    "Target",
    "Task",
    "Workload",
    "is_secret",
]
