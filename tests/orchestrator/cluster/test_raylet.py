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


@pytest.mark.parametrize("raises", [True, False], ids=["raises", "hangs"])
def test_a_ray_without_an_answer_counts_as_dead_after_a_minute(raises: bool) -> None:
    def refuse() -> bool:
        raise ConnectionError("no answer")

    clock = Clock()
    watch = RayletWatch(refuse, clock)
    while clock.seconds < SILENT_SECONDS:
        clock.seconds += 1
        if raises:
            watch.ask()
        watch.require_alive()
    clock.seconds += 1
    with pytest.raises(RunFailed, match="does not answer"):
        watch.require_alive()


def test_a_process_that_was_stopped_for_an_hour_gives_ray_time_to_answer() -> None:
    clock = Clock()
    watch = RayletWatch(lambda: True, clock)
    clock.seconds = 3600
    watch.require_alive()
    clock.seconds += 3
    watch.require_alive()
