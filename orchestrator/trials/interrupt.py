"""Ctrl-C and SIGTERM end a run so that it can be resumed."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from orchestrator.console import console, print_at_once
from wsol.disk import full_disk_of
from wsol.errors import RunFailed

INTERRUPTED = 130
"""Exit code of a run that can be resumed."""


@contextlib.contextmanager
def interruptible(folder: Path, *, finish_epochs: bool = False) -> Iterator[threading.Event]:
    """Ctrl-C, SIGTERM and a full disk end a run so that it can be resumed; a second signal ends the process at once,
    and the run can be resumed as well.

    Args:
        folder: the run folder.
        finish_epochs: after the first signal, let the block end by itself when the running epochs have ended.

    Yields:
        An event that is set once one of them came. The exception alone could be lost: Python drops exceptions raised
        inside a destructor, which may be running at that moment.

    Raises:
        KeyboardInterrupt: a signal came.
        RunFailed: a disk is full.
    """
    stopped = threading.Event()
    remedy = f"continue with: python launch.py resume {folder}"

    def stop(number: int, frame: object) -> None:
        if stopped.is_set():
            print_at_once(f"\ninterrupted; {remedy}\n")
            os._exit(INTERRUPTED)
        stopped.set()
        if not finish_epochs:
            raise KeyboardInterrupt
        print_at_once("\nstops when the running epochs have ended; press Ctrl-C again to stop at once\n")

    former = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with _threads_silent_about_full_disks():
            yield stopped
        if stopped.is_set():
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        console.print(f"\ninterrupted; {remedy}")
        raise
    except (OSError, RuntimeError) as error:  # torch says nothing of the disk
        if (full := full_disk_of(error, folder)) is None:
            raise
        raise RunFailed(f"{full}; {remedy}") from error
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _threads_silent_about_full_disks() -> Iterator[None]:
    """Keep threads that cannot write, such as TensorBoard's, from printing a traceback beside the line that says
    why."""
    former = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is None or full_disk_of(arguments.exc_value) is None:
            former(arguments)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = former
