"""Ctrl-C and SIGTERM end a run so that it can be resumed."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from orchestrator.console import console

INTERRUPTED = 130
"""Exit code of what can be resumed."""


@contextlib.contextmanager
def interruptible(folder: Path, *, patient: bool = False) -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM end a run so that it can be resumed; a second one ends the process on the spot, which can be
    resumed as well.

    Args:
        folder: of the run.
        patient: leave the block to end itself after the first one, when the running epochs have ended.

    Yields:
        set once one of them came. The exception alone can be lost: Python drops what is raised inside a destructor,
            which may just be running.
    """
    stopped = threading.Event()
    remedy = f"interrupted; continue with: python launch.py resume {folder}"

    def stop(number: int, frame: object) -> None:
        if stopped.is_set():
            os.write(1, f"\n{remedy}\n".encode())
            os._exit(INTERRUPTED)
        stopped.set()
        if not patient:
            raise KeyboardInterrupt
        os.write(1, b"\nstops when the running epochs have ended; once more: at once\n")

    former = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
        if stopped.is_set():
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        console.print(f"\n{remedy}")
        raise
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
