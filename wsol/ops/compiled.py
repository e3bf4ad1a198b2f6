"""Loops over pixels that no array operation expresses, as machine code.

The code kept on disk is remade when the file of a function changes, and only then. So a compiled function uses no
function or constant of another file of the package, only of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from threading import RLock
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])
_LOCK = RLock()


def compiled(function: Function) -> Function:
    """Machine code from the first call on, kept on disk for later processes; runs without the GIL."""
    return cast(Function, _Compiled(function))


class _Compiled:
    """Stands for a function until its first call: Numba takes a second to import, and many commands find no box."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.machine_code(*arguments, **named)

    @functools.cached_property
    def machine_code(self) -> Callable[..., Any]:
        """The compiled function. All compiled functions of its file get theirs, for they call each other."""
        with _LOCK:
            names = self.function.__globals__
            for name, other in [(name, other) for name, other in names.items() if isinstance(other, _Compiled)]:
                names[name] = other.__dict__["machine_code"] = _njit()(other.function)
        return cast(Callable[..., Any], self.__dict__["machine_code"])


def _njit() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    try:
        from numba import njit
    except ImportError as error:
        raise ImportError("Numba is missing: pip install numba") from error
    return cast(Callable[[Callable[..., Any]], Callable[..., Any]], njit(nogil=True, cache=True))
