"""Compiles loops over pixels that no array operation expresses to machine code.

The code kept on disk is compiled again only when the file of the function changes. Therefore a compiled function may
only use functions and constants of its own file, not of other files of the package.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from threading import RLock
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])
_LOCK = RLock()


def compiled(function: Function) -> Function:
    """Compile a function at its first call; the machine code is kept on disk for later processes and runs without the
    GIL."""
    return cast(Function, _Compiled(function))


class _Compiled:
    """Stands for a function until its first call, because Numba takes a second to import and many commands find no
    boxes."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.machine_code(*arguments, **named)

    @functools.cached_property
    def machine_code(self) -> Callable[..., Any]:
        """The compiled function. All compiled functions of its file are compiled with it, because they call each
        other."""
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
