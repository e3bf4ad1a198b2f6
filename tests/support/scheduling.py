"""Which process runs which tests, and when."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

CHAINS = {
    "ray": ("cluster", "faults", "search"),
    "more ray": ("campaign", "loggers", "namespaces", "store"),
}
"""Files of `tests/live` that one process runs one after the other. They take longer than all others together; each
chain is about half of them."""
PARTED = "wsol/contract/test_methods.py"
"""As much as a chain. Its cases end with the name of a backbone, and those of one are a part."""
FIRST = (*CHAINS, "wsol/contract/test_two_workers.py")
"""What takes longest, in this order: begun last, it would run on alone at the end."""


class TwoRays(LoadFileScheduling):
    """One file after the other in each process; those that start Ray in two chains, so that never more than two Rays
    share a small machine; more disturb each other. What takes longest comes first, then files with many tests, so that
    all processes end together.
    """

    def _split_scope(self, nodeid: str) -> str:
        for chain, files in CHAINS.items():
            if nodeid.startswith(tuple(f"tests/live/test_{name}.py" for name in files)):
                return chain
        if nodeid.startswith(PARTED) and "[" in nodeid:
            return f"{PARTED} {nodeid.removesuffix(']').replace('[', '-').rpartition('-')[2]}"
        return super()._split_scope(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        for scope in reversed(FIRST):
            if scope in self.workqueue:
                self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)
