"""A dead Ray is noticed, without Ray."""

from __future__ import annotations

import pytest

from orchestrator.cluster.raylet import SILENT_SECONDS, RayletWatch
from wsol.errors import RunFailed


class Clock:
    """A clock that is put forward by hand."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_dead_raylet_ends_the_wait() -> None:
    alive = [True]
    watch = RayletWatch(lambda: alive[0], Clock())
    watch.ask()
    watch.require_alive()
    alive[0] = False
    watch.ask()
    with pytest.raises(RunFailed, match="raylet was killed"):
        watch.require_alive()


@pytest.mark.parametrize("answers", [True, False], ids=["raises", "hangs"])
def test_a_ray_without_an_answer_counts_as_dead_after_a_minute(answers: bool) -> None:
    def refuse() -> bool:
        raise ConnectionError("no answer")

    clock = Clock()
    watch = RayletWatch(refuse, clock)
    clock.seconds = SILENT_SECONDS
    if answers:
        watch.ask()
    watch.require_alive()
    clock.seconds += 1
    with pytest.raises(RunFailed, match="does not answer"):
        watch.require_alive()
