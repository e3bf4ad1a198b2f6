"""Which process runs which tests, and when."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

STARTS_RAY = tuple(
    f"tests/live/test_{name}.py" for name in ("search", "cluster", "campaign", "faults", "loggers", "store")
)
RAY = "ray"
LONGEST = (RAY, "tests/live/test_namespaces.py")
"""They take longer than all others together."""


class OneRay(LoadFileScheduling):
    """One file after the other in each process; those that start Ray all in one, because two Rays disturb each other on
    a small machine. Only `test_namespaces.py`, whose Rays have networks of their own, goes beside them: one process
    would be idle for half of the time. The longest come first, then files with many tests, so that all processes end
    together.
    """

    def _split_scope(self, nodeid: str) -> str:
        return RAY if nodeid.startswith(STARTS_RAY) else super()._split_scope(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        for scope in reversed(LONGEST):
            if scope in self.workqueue:
                self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)
