"""FullGrad.

Idea: a network of ReLUs is piecewise linear, so a logit is exactly the sum of the gradient times the input and of the
gradient times every bias on the way. The map adds up all these terms, layer by layer, at the size of the image.

Paper: Full-Gradient Representation for Neural Network Visualization (Srinivas, Fleuret), NeurIPS 2019.

Symbols: f^b, the gradient of a layer's output times its bias -> `terms`; psi -> `_rescaled`; the input-gradient ->
`images.grad` times the image.

Kept from the released code (the authors' repository): absolute values, scaled to [0, 1] over all channels and cells of
a layer, enlarged bilinearly with aligned corners, summed over channels and layers; here the channels are summed first,
which is the same map. The linear layer at the end has no map. The bias of a batch norm is beta - gamma mean /
sqrt(variance + eps). `variant: per_channel` is the form of the package grad-cam, another, flatter map: every channel is
scaled alone, corners are not aligned.

Not kept: networks whose activations are not piecewise linear have biases that are not counted; they are refused. (ReLU6
is piecewise linear; the part that it clips above 6 is not counted, as in the released code.) Layers that run twice in
one pass paired gradients with the wrong biases; they are refused as well. There is no `block`: the map is of all
layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.extractor import Extractor
from wsol.method import Method
from wsol.schema import PluginConfig
from wsol.types import ScoreMaps

Variant = Literal["authors", "per_channel"]
AT_ONCE = 8
"""Images; 64 of 224 pixels would take 10 GB and more."""
CURVED = (nn.SiLU, nn.GELU, nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.Hardsigmoid, nn.ELU, nn.SELU, nn.Softplus, nn.Mish)


class Config(PluginConfig):
    """Settings.

    Attributes:
        variant: `authors` scales the channels of a layer together, `per_channel` each alone.
    """

    name: Literal["full_grad"] = "full_grad"
    variant: Variant = "authors"

    def reason_against_tokens(self) -> str:
        return "it has GELUs, whose biases cannot be counted"


def build(config: Config) -> Extractor:
    """The extractor: (method, images (B, 3, H, W), labels (B,)) -> raw maps (B, H, W) of the labels, and logits (B,
    K)."""
    return partial(full_grad, variant=config.variant)


def full_grad(method: Method, images: Tensor, labels: Tensor, variant: Variant) -> ScoreMaps:
    """Raw maps and logits; for arguments and shapes see `build`. The outputs of all layers are held, so only a few
    images are taken at a time; no image changes another one's map.

    Raises:
        InputError: the network is not piecewise linear, or runs a layer twice, or its logits have no gradient.
    """
    parts = [
        _of_few(method, images[start : start + AT_ONCE], labels[start : start + AT_ONCE], variant)
        for start in range(0, len(images), AT_ONCE)
    ]
    return ScoreMaps(torch.cat([part.maps for part in parts]), torch.cat([part.logits for part in parts]))


def _of_few(method: Method, images: Tensor, labels: Tensor, variant: Variant) -> ScoreMaps:
    terms, logits = full_gradient_terms(method, images, labels)
    maps = torch.zeros(len(images), *images.shape[2:], device=images.device)
    for term in terms:
        layer = _rescaled(term.float(), variant).sum(dim=1, keepdim=True)  # enlarging is linear: one map, not C of them
        if layer.shape[2:] != images.shape[2:]:
            layer = F.interpolate(layer, images.shape[2:], mode="bilinear", align_corners=variant == "authors")
        maps += layer[:, 0]
    return ScoreMaps(maps, logits.float())


def full_gradient_terms(method: Method, images: Tensor, labels: Tensor) -> tuple[list[Tensor], Tensor]:
    """The gradient times the image (B, 3, H, W), then times the bias of each layer that has one (B, C, h, w); and the
    logits (B, K). All terms of an image together, with the last layer's bias, are its logit."""
    _require_piecewise_linear(method)
    pixels = images.detach().clone().requires_grad_()  # another tensor: no pass that is shared without its beginning
    with torch.enable_grad(), _recorded_outputs(method) as outputs:
        logits = method.activate(pixels, labels).logits
        if not logits.requires_grad:
            raise InputError(
                "evaluation.extractor: this method does not classify by gradients, so full_grad has nothing to add up;"
                " choose another extractor, such as cam"
            )
        score = logits.gather(1, labels[:, None]).sum()
        tensors = [pixels, *outputs.values()]
        gradients = torch.autograd.grad(score, tensors, allow_unused=True)
    terms = []
    for factor, gradient in zip([pixels, *(_bias(layer)[:, None, None] for layer in outputs)], gradients, strict=True):
        if gradient is not None:
            terms.append((gradient * factor).detach())
    return terms, logits.detach()


@contextmanager
def _recorded_outputs(method: Method) -> Iterator[dict[nn.Module, Tensor]]:
    """Within the block, the output of every layer with a bias is recorded when it runs."""
    outputs: dict[nn.Module, Tensor] = {}

    def keep(layer: nn.Module, _: object, output: Tensor) -> Tensor:
        if layer in outputs:
            raise InputError(
                f"evaluation.extractor: full_grad cannot tell apart the two uses of a layer ({layer}) in one pass;"
                " choose another extractor"
            )
        outputs[layer] = output
        return output.clone()  # an activation behind it may work in place

    handles = [layer.register_forward_hook(keep) for layer in method.modules() if _has_bias(layer)]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _has_bias(layer: nn.Module) -> bool:
    return isinstance(layer, (nn.Conv2d, nn.BatchNorm2d)) and layer.bias is not None


def _bias(layer: nn.Module) -> Tensor:
    """The constant (C,) that a layer adds, whatever its input."""
    assert isinstance(layer, (nn.Conv2d, nn.BatchNorm2d)) and layer.bias is not None
    if isinstance(layer, nn.Conv2d) or layer.running_mean is None or layer.running_var is None:
        return layer.bias.detach()
    return (layer.bias - layer.weight * layer.running_mean / (layer.running_var + layer.eps).sqrt()).detach()


def _require_piecewise_linear(method: Method) -> None:
    curved = sorted({type(layer).__name__ for layer in method.modules() if isinstance(layer, CURVED)})
    if curved:
        raise InputError(
            f"evaluation.extractor: full_grad needs a network of ReLUs, this one has {', '.join(curved)}, whose biases"
            " it cannot count; choose another extractor"
        )


def _rescaled(term: Tensor, variant: Variant) -> Tensor:
    """Absolute values (B, C, h, w) scaled to [0, 1], over a layer or over each of its channels."""
    size = term.abs()
    dims = (1, 2, 3) if variant == "authors" else (2, 3)
    size = size - size.amin(dim=dims, keepdim=True)
    return size / (size.amax(dim=dims, keepdim=True) + (1e-6 if variant == "authors" else 1e-7))
