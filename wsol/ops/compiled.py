"""Loops over pixels that no array operation expresses, as machine code.

The code kept on disk is remade when the file of a function changes, and only then. So a compiled function uses no function or constant of another
file of the package, only of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

try:
    from numba import njit
except ImportError as error:
    raise ImportError("Numba is missing: pip install numba") from error

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Machine code from the first call on, kept on disk for later processes; runs without the GIL."""
    return cast(Function, njit(nogil=True, cache=True)(function))
