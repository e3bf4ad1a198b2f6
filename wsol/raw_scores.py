"""The output of a network for images before anything is counted: raw maps and logits."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from wsol.method import Method
from wsol.ops.resize import resize_maps
from wsol.schema import Interpolation, PluginConfig


@dataclass(frozen=True, slots=True, eq=False)
class Extracted:
    """The output of one extractor for n images before their maps are resized, on the CPU.

    Attributes:
        extractor: the setting that made it.
        maps: (n, h, w) floats, raw.
        logits: (n, K) float32; None where there is no classifier.
        method: the method whose maps they are; None for maps from files.
    """

    extractor: PluginConfig
    maps: Tensor
    logits: Tensor | None
    method: Method | None = None

    def part(self, some: slice) -> Extracted:
        """The scores of some of the images."""
        logits = None if self.logits is None else self.logits[some]
        return Extracted(self.extractor, self.maps[some], logits, self.method)

    def resized(self, size: int, interpolation: Interpolation) -> Extracted:
        """The same scores with maps (n, size, size) float64."""
        maps = resize_maps(self.maps, (size, size), interpolation)
        return Extracted(self.extractor, maps, self.logits, self.method)


@dataclass(frozen=True, slots=True)
class RawScores:
    """The raw scores of some images: their n positions in the split, and the output of each extractor."""

    positions: list[int]
    extracted: list[Extracted]

    def by(self, extractor: PluginConfig, method: Method | None = None) -> Extracted:
        """The output of this extractor, and of this method if there are several. Raises ValueError if the extractor was
        not run."""
        for one in self.extracted:
            if one.extractor == extractor and (method is None or one.method is method):
                return one
        raise ValueError(f"these maps were not made by {extractor!r}")

    def part(self, some: slice) -> RawScores:
        """The scores of some of the images."""
        return RawScores(self.positions[some], [one.part(some) for one in self.extracted])

    def resized(self, size: int, interpolation: Interpolation) -> RawScores:
        """The same with maps on the evaluation grid, `size` pixels wide and high; each extractor's are resized once."""
        return RawScores(self.positions, [one.resized(size, interpolation) for one in self.extracted])
