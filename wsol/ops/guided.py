"""Guided backward passes: every ReLU passes only positive gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

RECTIFIERS = ("ReluBackward0", "HardtanhBackward0")
"""autograd's names of ReLU, called as a module or a function, in place or not, and of ReLU6."""


@contextmanager
def guided(output: Tensor) -> Iterator[None]:
    """Within the block, a backward pass from `output` (any shape) is guided: at every ReLU and ReLU6, also if called as
    functions, negative gradients become 0.

    The hooks are on the recorded pass, not on modules, and end with the context.
    """
    handles = [node.register_hook(_positive_part) for node in _recorded(output) if node.name() in RECTIFIERS]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _positive_part(gradients: tuple[Tensor | None, ...], _: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    return tuple(None if gradient is None else gradient.clamp(min=0) for gradient in gradients)


def _recorded(output: Tensor) -> list[Any]:
    """Every node of the graph that made `output`."""
    found, waiting = [], [output.grad_fn]
    seen = set(waiting)
    while waiting:
        node: Any = waiting.pop()
        if node is not None:
            found.append(node)
            behind = {after for after, _ in node.next_functions} - seen
            seen |= behind
            waiting += behind
    return found
