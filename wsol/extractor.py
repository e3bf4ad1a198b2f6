"""Maps from gradients: computes, from one pass of a batch, every extractor that is a formula over a block's output and
the gradient at it.

    extract_together(extractors, method, images, labels) -> one ScoreMaps each
        forward      once, recorded from the first requested block on
        backward     once plain and once guided, as needed; each gives the gradients at all blocks
        formulas     (output, gradient, score) -> maps

The score is the logit of each image's label, in evaluation mode, where no image changes another one's. Gradients are
taken with `torch.autograd.grad`: no parameter gets a `.grad`, no module a hook. At the last block they pass through the
head alone, which costs no more than a closed form: behind average pooling and a linear layer they are the class weights
over the number of cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from wsol.errors import InputError
from wsol.method import Method
from wsol.network import Backbone
from wsol.ops.guided import guided
from wsol.plugins import did_you_mean
from wsol.schema import PluginConfig
from wsol.tokens import prefix_tap
from wsol.types import ScoreMaps

Extractor = Callable[[Method, Tensor, Tensor], ScoreMaps]
"""(method, images (B, 3, H, W), labels (B,)) -> raw maps (B, h, w) of the labels, and logits (B, K)."""

Formula = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(output (B, C, h, w), gradient (B, C, h, w), score (B, 1, 1, 1)) -> raw maps (B, h, w), all float32."""


class BlockConfig(PluginConfig):
    """The settings of every extractor from gradients.

    Attributes:
        block: the block of the backbone whose output the map is made from. A prefix before a `_` stands for the last
            block with that prefix (`layer3` is `layer3_5` of ResNet-50, `mixed` is `mixed_6e` of Inception-v3). null:
            the last block.
    """

    block: str | None = Field(default=None, min_length=1)


@dataclass(frozen=True, slots=True)
class BlockExtractor:
    """An extractor that is a formula over one block.

    Attributes:
        block: see `BlockConfig`.
        formula: see `Formula`.
        guided: the gradient is that of the score's absolute value, and every ReLU on its way passes only the positive
            part.
    """

    block: str | None
    formula: Formula
    guided: bool = False

    def __call__(self, method: Method, images: Tensor, labels: Tensor) -> ScoreMaps:
        """The maps of this extractor alone; see `extract_together`."""
        return extract_together([self], method, images, labels)[0]


@dataclass(frozen=True, slots=True)
class PassExtractor:
    """An extractor at one block that runs the method itself, as often as it needs.

    Attributes:
        block: see `BlockConfig`.
        make: (method, name of the block, images (B, 3, H, W), labels (B,)) -> raw maps and logits.
        passes: channels of the block -> how many further images go through the network for one, for forecasts; one with
            its gradient counts as three.
    """

    block: str | None
    make: Callable[[Method, str, Tensor, Tensor], ScoreMaps]
    passes: Callable[[int], int] = lambda channels: 0

    def __call__(self, method: Method, images: Tensor, labels: Tensor) -> ScoreMaps:
        """The maps of this extractor; inside of a shared pass it shares the pass over `images` themselves."""
        return self.make(method, find_block(method.network.backbone, self.block), images, labels)


@dataclass(frozen=True, slots=True)
class _Pass:
    """The inputs of the formulas for a batch: block -> output, and guided or not -> block -> gradient."""

    logits: Tensor
    score: Tensor
    outputs: dict[str, Tensor]
    gradients: dict[bool, dict[str, Tensor]]

    def maps(self, formula: Formula, block: str, guided: bool) -> ScoreMaps:
        maps = formula(
            self.outputs[block].float(), self.gradients[guided][block].float(), self.score[:, :, None, None].float()
        )
        return ScoreMaps(maps, self.logits.float())


def extract_together(
    extractors: Sequence[Extractor], method: Method, images: Tensor, labels: Tensor | None
) -> list[ScoreMaps]:
    """The maps of several extractors, as each makes them alone, from one pass of the backbone and at most two backward
    passes for all of them.

    Args:
        extractors: extractors of any kind; those that are no `BlockExtractor` are called inside the shared pass.
        method: a method in evaluation mode.
        images: (B, 3, H, W) float32, normalised.
        labels: (B,) int64, the classes that the maps are for; None: those with the highest logits.

    Raises:
        InputError: the backbone has no such block, or the method's logits do not depend on its output.
    """
    return extract_with([(method, extractor) for extractor in extractors], images, labels)


def extract_with(asked: Sequence[tuple[Method, Extractor]], images: Tensor, labels: Tensor | None) -> list[ScoreMaps]:
    """`extract_together` for several methods, in their order; methods that share a backbone share its pass over the
    images."""
    made: dict[int, ScoreMaps] = {}
    for backbone in dict.fromkeys(method.network.backbone for method, _ in asked):
        here = {place: one for place, one in enumerate(asked) if one[0].network.backbone is backbone}
        made.update(zip(here, _extract_sharing(backbone, list(here.values()), images, labels), strict=True))
    return [made[place] for place in range(len(asked))]


def _extract_sharing(
    backbone: Backbone, asked: Sequence[tuple[Method, Extractor]], images: Tensor, labels: Tensor | None
) -> list[ScoreMaps]:
    """The maps of methods that have the same backbone, and classify alike."""
    blocks = find_blocks(backbone, [extractor for _, extractor in asked])
    formulas = [(method, extractor) for method, extractor in asked if isinstance(extractor, BlockExtractor)]
    watched, methods = {blocks[one.block] for _, one in formulas}, list(dict.fromkeys(method for method, _ in formulas))
    with backbone.shared_pass(images, watched, blocks.values()):
        labels = predicted_classes(asked[0][0], images) if labels is None else labels
        passed = {}
        for method in methods:
            own = [extractor for of, extractor in formulas if of is method]
            places, kinds = {blocks[extractor.block] for extractor in own}, {extractor.guided for extractor in own}
            passed[method] = _differentiate(method, images, labels, places, kinds, keep=method is not methods[-1])
        return [
            (
                passed[method].maps(extractor.formula, blocks[extractor.block], extractor.guided)
                if isinstance(extractor, BlockExtractor)
                else extractor(method, images, labels)
            )
            for method, extractor in asked
        ]


@torch.no_grad()
def predicted_classes(method: Method, images: Tensor) -> Tensor:
    """The classes (B,) int64 with the highest logits, of images (B, 3, H, W); logits do not depend on labels."""
    unknown = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    return method.activate(images, unknown).logits.argmax(1)


def find_blocks(backbone: Backbone, extractors: Sequence[Extractor]) -> dict[str | None, str]:
    """The `block` of every extractor that has one -> the name of that block. Raises InputError if there is no such
    block."""
    return {
        extractor.block: find_block(backbone, extractor.block)
        for extractor in extractors
        if isinstance(extractor, (BlockExtractor, PassExtractor))
    }


def gradient_at(method: Method, block: str, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient at a block, from a separate pass over some images.

    Args:
        method: a method in evaluation mode.
        block: name of a block of the backbone.
        images: (B, 3, H, W) float32, normalised.
        labels: (B,) int64.

    Returns:
        the block's output (B, C, h, w), the gradient of the label's logit at it, likewise, and the logits (B, K).

    Raises:
        InputError: the method's logits do not depend on the block's output.
    """
    with method.network.backbone.shared_pass(images, [block]):
        passed = _differentiate(method, images, labels, {block}, {False})
    return passed.outputs[block], passed.gradients[False][block], passed.logits


def output_at(method: Method, block: str, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Output of a block (B, C, h, w) and logits (B, K), without gradient; arguments and errors: see `gradient_at`."""
    with torch.no_grad():
        activations = method.activate(images, labels, (block,))
    _require_all({block}, activations.taps)
    return activations.taps[block].detach(), activations.logits.detach()


def beside_output_at(method: Method, block: str, images: Tensor, labels: Tensor) -> Tensor | None:
    """The prefix tokens beside a block's output, (B, n, C), if the backbone is a transformer. Arguments: see
    `gradient_at`."""
    tap = prefix_tap(method.network.backbone, block)
    if tap is None:
        return None
    with torch.no_grad():
        return method.activate(images, labels, (tap,)).taps[tap].detach()


def logits_in_chunks(method: Method, rows: Callable[[slice], tuple[Tensor, Tensor]], count: int, chunk: int) -> Tensor:
    """Logits of the labels of many images, in chunks; the size of a chunk changes only speed and memory.

    Args:
        method: a method in evaluation mode, where no image changes another one's logits.
        rows: returns, for a slice of the images, the images (n, 3, H, W) and their labels (n,).
        count: number of all images.
        chunk: number of images at a time.

    Returns:
        (count, K).
    """
    found = []
    with torch.no_grad():
        for start in range(0, count, chunk):
            images, labels = rows(slice(start, min(start + chunk, count)))
            found.append(method.activate(images, labels).logits.detach())
    return torch.cat(found)


def find_block(backbone: Backbone, name: str | None) -> str:
    """The block that a `BlockConfig.block` names. Raises InputError, with the existing names, if there is none."""
    names = backbone.block_names
    if name is None or name in backbone.map_names:
        return name or names[-1]
    within = [block for block in names if block.startswith(f"{name}_")]
    if not within:
        hint = did_you_mean(name, names)
        raise InputError(
            f"evaluation.extractor.block: this backbone has no block {name!r}{hint}; it has {', '.join(names)}"
        )
    return within[-1]


def _differentiate(
    method: Method, images: Tensor, labels: Tensor, blocks: set[str], kinds: set[bool], *, keep: bool = False
) -> _Pass:
    """Run the method, and take the gradients of each kind (guided or not) at all blocks; with `keep` a further method
    can follow in the same pass."""
    with torch.enable_grad():
        activations = method.activate(images, labels, blocks)
        score = activations.logits.gather(1, labels[:, None])
    outputs = {block: tap for block, tap in activations.taps.items() if block in blocks and tap.requires_grad}
    _require_all(blocks, outputs)
    gradients: dict[bool, dict[str, Tensor]] = {}
    for kind in sorted(kinds):
        with guided(score) if kind else nullcontext():
            gradients[kind] = _gradients(
                score,
                score.detach().sign() if kind else torch.ones_like(score),
                outputs,
                keep=keep or kind != max(kinds),
            )
        _require_all(blocks, gradients[kind])
    return _Pass(
        activations.logits.detach(),
        score.detach(),
        {block: output.detach() for block, output in outputs.items()},
        gradients,
    )


def _gradients(score: Tensor, seeds: Tensor, outputs: dict[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Block -> gradient, for the blocks that the score (B, 1) depends on; with `keep`, a further backward pass can
    follow."""
    if not score.requires_grad:
        return {}
    found = torch.autograd.grad(score, list(outputs.values()), seeds, retain_graph=keep, allow_unused=True)
    return {block: gradient for block, gradient in zip(outputs, found, strict=True) if gradient is not None}


def _require_all(blocks: set[str], found: Mapping[str, Tensor]) -> None:
    if missing := sorted(blocks - found.keys()):
        raise InputError(
            f"evaluation.extractor: this method does not classify by the output of its block {', '.join(missing)}, so"
            " there is no gradient to make a map of; choose another block, or the extractor cam"
        )
