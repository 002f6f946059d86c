"""What stands between the service and those who ask it: who may, how much, which files, which servers.

    guard = guard_of(host, allow_targets, data, token)   # UsageError where the service must not start so
    install(app, guard)                                  # each request: host, origin, token, size; each answer: headers
    body = parsed(raw, guard.limits)                     # JSON within limits
    check_request(asked, guard)                          # a run: targets, files, amounts, secrets
    enter_cell(data, folder, told)                       # in the worker, before anything else

docs/service_security.md says what is refused, and why.
"""

from vllmperf.service.guard.body import check_combinations, parsed
from vllmperf.service.guard.cell import cell_of, enter_cell
from vllmperf.service.guard.door import install
from vllmperf.service.guard.request import check_request
from vllmperf.service.guard.settings import TOKEN, Guard, Limits, guard_of

__all__ = [
    "TOKEN",
    "Guard",
    "Limits",
    "cell_of",
    "check_combinations",
    "check_request",
    "enter_cell",
    "guard_of",
    "install",
    "parsed",
]
