"""How a verb ends: with one line and an exit code; a traceback is only for bugs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn errors into exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted. Raises SystemExit."""
    from wsol.disk import full_disk_of
    from wsol.errors import InputError, RunFailed

    try:
        yield
    except InputError as error:
        _complain(f"error: {error}")
        sys.exit(2)
    except RunFailed as error:
        _complain(f"failed: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if (full := full_disk_of(error)) is None:
            raise
        _complain(f"failed: {full}")
        sys.exit(1)


def _complain(text: str) -> None:
    from orchestrator.console import errors

    errors.print(text)
