"""Making load: what is sent (workload, bodies), when (schedule), where (resolve, ask), and the run itself.

`vllmperf.load(path)` reads a run file, and `vllmperf.load` is this package: the import of any part of it puts it
over a function of that name. So the package itself can be called.
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllmperf.run import Run


class _Package(ModuleType):
    def __call__(self, path: str | Path) -> "Run":
        """The run in a run file: vllmperf.api.load."""
        from vllmperf.api import load

        return load(path)


sys.modules[__name__].__class__ = _Package
