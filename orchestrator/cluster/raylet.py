"""Notices when Ray's process on this machine has died, because a process that waits for Ray would then wait for
ever."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from wsol.errors import RunFailed

BETWEEN_SECONDS = 3.0
"""Seconds between two questions."""

SILENT_SECONDS = 60.0
"""Seconds without an answer after which Ray counts as dead."""


STOOD_STILL_SECONDS = 10.0
"""A longer pause than this, in seconds, between two checks of the answers means that this process itself was stopped,
as by Ctrl-Z."""


class RayletWatch:
    """Asks Ray whether its process on this machine, the raylet, is alive.

    Args:
        is_alive: asks Ray; may raise, and may never return.
        clock: a clock that tells seconds.
    """

    def __init__(self, is_alive: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._is_alive, self._clock = is_alive, clock
        self._answered = self._looked = clock()
        self._dead = False

    def ask(self) -> None:
        """Ask once."""
        with contextlib.suppress(Exception):  # no answer
            self._dead = not self._is_alive()
            self._answered = self._clock()

    def require_alive(self) -> None:
        """Raise RunFailed if the raylet is dead or has not answered for too long. Does not wait for an answer; call it
        every few seconds."""
        now, looked, self._looked = self._clock(), self._looked, self._clock()
        if now - looked > STOOD_STILL_SECONDS:
            self._answered = now
        if self._dead:
            raise RunFailed("Ray has died on this machine: its raylet was killed, by someone or because memory ran out")
        if now - self._answered > SILENT_SECONDS:
            raise RunFailed(f"Ray does not answer for {SILENT_SECONDS:.0f} seconds on this machine")


@contextlib.contextmanager
def raylet_watched() -> Iterator[RayletWatch]:
    """A watch over the raylet of this node that asks in a thread of its own for the time of the block."""
    watch, ended = RayletWatch(is_raylet_alive), threading.Event()

    def ask_on() -> None:
        while not ended.wait(BETWEEN_SECONDS):
            watch.ask()

    threading.Thread(target=ask_on, daemon=True, name="raylet-watch").start()
    try:
        yield watch
    finally:
        ended.set()


def is_raylet_alive() -> bool:
    """Whether Ray's control service counts this node as alive; it notices a killed raylet by missing heartbeats."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    return any(node["Alive"] for node in ray.nodes() if node["NodeID"] == own)
