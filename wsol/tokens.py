"""The seam of transformers: a backbone whose blocks exchange tokens, one for each cell of the grid, behind a prefix.

    image -> tokens (B, n + h w, D) -> block -> ... -> tokens -> features (B, D, h, w), those of the grid

The prefix (n tokens, the class token first) has no place in the image and travels beside the grid through every block.
Taps are maps, as in every backbone, and are part of the forward pass, so that gradients reach them. Further taps are
called by the block's name, a dot, and:

    <block>.prefix       (B, n, D)     the prefix of the block's output; needed to enter the pass again
    <block>.norm1        (B, D, h, w)  the input of the block's attention, which gradient methods use
    <block>.class_row    (B, H, N)     attention of the class token to all N = n + h w tokens, for each of H heads
    <block>.attention    (B, H, N, N)  the whole attention, after its softmax; needs much memory

The attention is computed a second time if it is tapped, because the fused kernel does not return it; the row alone
costs an N-th of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from wsol.network import Backbone, BlockInfo

PREFIX = "prefix"
INNER = (PREFIX, "norm1", "class_row", "attention")
"""The taps inside of a block with attention; they are named by the block, a dot, and one of these."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens that blocks exchange.

    Attributes:
        values: (B, n + h w, D), the prefix first, the grid row by row.
        size: (h, w) of the grid.
    """

    values: Tensor
    size: tuple[int, int]

    @property
    def grid(self) -> Tensor:
        """(B, D, h, w)."""
        cells = self.values[:, -self.size[0] * self.size[1] :]
        return cells.transpose(1, 2).reshape(cells.shape[0], -1, *self.size)

    @property
    def prefix(self) -> Tensor:
        """(B, n, D)."""
        return self.values[:, : -self.size[0] * self.size[1]]

    def with_grid(self, grid: Tensor) -> Tokens:
        """The same prefix with another grid (B, D, h, w)."""
        return join(self.prefix, grid)


def join(prefix: Tensor, grid: Tensor) -> Tokens:
    """A prefix (B, n, D) and a grid (B, D, h, w) as tokens."""
    values = torch.cat((prefix, grid.flatten(2).transpose(1, 2)), dim=1)
    return Tokens(values, (grid.shape[2], grid.shape[3]))


@dataclass(frozen=True, slots=True)
class InnerTaps:
    """Collects the taps inside of one block in one pass: the block offers all of them, and the requested ones are kept.

    Attributes:
        wanted: the requested taps, names of `INNER`.
        size: (h, w) of the grid.
        found: name -> the tensor that was kept.
    """

    wanted: frozenset[str] = frozenset()
    size: tuple[int, int] = (0, 0)
    found: dict[str, Tensor] = field(default_factory=dict)

    def keep(self, name: str, make: Callable[[], Tensor]) -> None:
        """Keep the result of `make`, which is only called if the tap is requested."""
        if name in self.wanted:
            self.found[name] = make()

    def keep_grid(self, name: str, values: Tensor) -> Tensor:
        """Keep the grid of tokens (B, N, D); returns the tokens that the pass continues with, which depend on the kept
        grid."""
        if name not in self.wanted:
            return values
        tokens = Tokens(values, self.size)
        self.found[name] = tokens.grid
        return tokens.with_grid(self.found[name]).values


class TokenBackbone(Backbone):
    """A transformer as a sequence of named blocks: an embedding of the image, blocks with attention, and further
    blocks.

    A block with attention is called `(tokens (B, N, D), InnerTaps) -> tokens`, the embedding with images (B, 3, H, W),
    and every other block with tokens.

    Args:
        blocks: see `Backbone`.
        attention_blocks: names of those with attention, in the order of execution.
        channels: D.
        patch: side in pixels of the square that becomes a token; sides of images are multiples of it.
        name: see `Backbone`.
        undecayed: names of parameters of several dimensions that no weight decay is published for.
    """

    def __init__(
        self,
        blocks: Mapping[str, nn.Module],
        attention_blocks: Iterable[str],
        *,
        channels: int,
        patch: int,
        name: str = "",
        undecayed: Iterable[str] = (),
    ) -> None:
        super().__init__(blocks, {block: BlockInfo(channels, patch) for block in blocks}, name=name)
        self.attention_blocks = list(attention_blocks)
        self.patch = patch
        self.class_token_classifier: tuple[Tensor, Tensor] | None = None
        """Weight (1000, D) and bias (1000,) of the pretrained classifier, which reads the class token and not the mean
        over the grid: no `imagenet_classifier`."""
        self._undecayed = tuple(undecayed)
        self._reads: dict[str, str] = {}

    @property
    def map_names(self) -> list[str]:
        """The blocks, and the input of each block's attention."""
        return [*self.block_names, *(f"{block}.norm1" for block in self.attention_blocks)]

    def class_rows(self) -> list[str]:
        """Names of the taps that are the attention of the class token, block by block."""
        return [f"{block}.class_row" for block in self.attention_blocks]

    def undecayed(self) -> list[nn.Parameter]:
        """The class token and the positions, as published."""
        return [self.get_parameter(name) for name in self._undecayed]

    def insert_after(self, block: str, module: nn.Module, reads: str = "") -> None:
        """See `Backbone`; the module gets the grid (B, D, h, w).

        Args:
            block: name of a block.
            module: what is run.
            reads: `class_row` or `attention`; the module gets this tap of the block as its second argument.
        """
        super().insert_after(block, module)
        if reads:
            self._require_taps([f"{block}.{reads}"])
            self._reads[block] = reads

    def _record(
        self, images: Tensor, taps: frozenset[str], watched: frozenset[str]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Backbone`. What is watched inside of a block is recorded from the output of the block before it."""
        names, starts = self.block_names, {tap.partition(".")[0]: "." in tap for tap in sorted(watched, reverse=True)}
        start = next((place + (not starts[name]) for place, name in enumerate(names) if name in starts), len(names))
        with torch.no_grad():
            x, before = self._steps(names[:start], images, taps)
        if not watched:
            return x.grid, before
        with torch.enable_grad():
            grid = x.grid.detach().requires_grad_()
            x, behind = self._steps(names[start:], x.with_grid(grid), taps)
        return x.grid, {**before, names[start - 1]: grid, **behind}

    def _enter(self, output: Tensor, prefix: Tensor | None = None) -> Any:
        if prefix is None:
            raise ValueError(
                "tokens travel beside this backbone's maps: give those of the same pass too, the tap <block>.prefix"
            )
        return join(prefix, output)

    def _run(self, names: Iterable[str], x: Any, taps: frozenset[str]) -> tuple[Tensor, dict[str, Tensor]]:
        tokens, tapped = self._steps(names, x, taps)
        return tokens.grid, tapped

    def _steps(self, names: Iterable[str], x: Any, taps: frozenset[str]) -> tuple[Tokens, dict[str, Tensor]]:
        """Run blocks from the images (B, 3, H, W), if the first block is among them, or from tokens."""
        tapped: dict[str, Tensor] = {}
        for name in names:
            size = x.size if isinstance(x, Tokens) else (int(x.shape[2]) // self.patch, int(x.shape[3]) // self.patch)
            inner = InnerTaps(self._inner(name, taps), size)
            x = self._step(name, x, inner)
            if PREFIX in inner.wanted:
                inner.found[PREFIX] = x.prefix
            if name in taps:
                tapped[name] = x.grid
                x = x.with_grid(tapped[name])
            tapped.update({f"{name}.{key}": value for key, value in inner.found.items() if f"{name}.{key}" in taps})
        return x, tapped

    def _step(self, name: str, x: Any, inner: InnerTaps) -> Tokens:
        block, values = self.blocks[name], x if isinstance(x, Tensor) else x.values
        tokens = Tokens(block(values, inner) if name in self.attention_blocks else block(values), inner.size)
        if name not in self.inserted:
            return tokens
        beside = [inner.found[self._reads[name]]] if name in self._reads else []
        return tokens.with_grid(self.inserted[name](tokens.grid, *beside))

    def _inner(self, block: str, taps: frozenset[str]) -> frozenset[str]:
        wanted = {inner for inner in INNER if f"{block}.{inner}" in taps}
        return frozenset(wanted | ({self._reads[block]} if block in self._reads else set()))

    def _require_taps(self, names: Iterable[str]) -> None:
        for name in names:
            block, _, inner = name.partition(".")
            self._require([block])
            offered = INNER if block in self.attention_blocks else (PREFIX,)
            if inner and inner not in offered:
                raise ValueError(f"there is no {inner} of block {block} to tap; there is {', '.join(offered)}")


def prefix_tap(backbone: Backbone, block: str) -> str | None:
    """Name of the tap that a later pass needs, beside the output of a block, to continue after it; None if the output
    is enough."""
    return f"{block}.{PREFIX}" if isinstance(backbone, TokenBackbone) else None
