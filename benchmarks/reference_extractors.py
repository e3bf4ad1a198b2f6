"""Post-hoc maps as published, written from the description of the method (Zhu et al., ECCV 2022): one extractor and one
layer at a time.

Every module keeps its input, output and gradient by hooks, the backward pass runs down to the image and into every
weight, and guided backpropagation sits in hooks on the ReLU modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from wsol.method import Method

Formula = Callable[[Tensor, Tensor, Tensor], Tensor]


def maps(method: Method, images: Tensor, labels: Tensor, name: str, block: str) -> Tensor:
    """Maps (B, h, w) by one extractor at one block."""
    method.zero_grad()
    with hooked(method, guided=name == "bag_cams") as kept:
        logits = method.network(images).logits
        score = logits.gather(1, labels[:, None])[:, 0]
        (score.log() if name == "bag_cams" else score).sum().backward()  # type: ignore[no-untyped-call]
        output, gradient = kept[f"network.backbone.blocks.{block}"][1:]
    return FORMULAS[name](output.detach(), gradient, score.detach())


def prepare(method: Method) -> Method:
    """ReLUs write into memory of their own: torch refuses hooks on what is overwritten."""
    for module in method.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return method


@contextmanager
def hooked(method: nn.Module, *, guided: bool) -> Iterator[dict[str, list[Tensor]]]:
    """Input, output and gradient of every module, while a pass goes forward and backward."""
    kept: dict[str, list[Tensor]] = {}
    handles = []
    for name, module in method.named_modules():
        handles.append(module.register_forward_hook(_keeper(kept, name)))
        if guided and isinstance(module, nn.ReLU):
            handles.append(
                module.register_full_backward_hook(lambda module, inputs, outputs: (inputs[0].clamp(min=0),))
            )
    try:
        yield kept
    finally:
        kept.clear()  # tensors, their hooks and this hold each other
        for handle in handles:
            handle.remove()


def _keeper(kept: dict[str, list[Tensor]], name: str) -> Callable[..., None]:
    def keep(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor):
            kept[name] = [inputs[0], output]
            output.register_hook(lambda gradient: kept[name].append(gradient))  # type: ignore[no-untyped-call]

    return keep


def _grad_cam(output: Tensor, gradient: Tensor, score: Tensor) -> Tensor:
    return (gradient.mean((2, 3), keepdim=True) * output).sum(1).relu()


def _grad_cam_pp(output: Tensor, gradient: Tensor, score: Tensor) -> Tensor:
    divisor = 2 * gradient.pow(2) + (output * gradient.pow(3)).sum((2, 3), keepdim=True)
    alpha = gradient.pow(2) / (torch.where(divisor != 0, divisor, torch.ones_like(divisor)) + 1e-7)
    weights = (alpha * (score.exp()[:, None, None, None] * gradient).relu()).sum((2, 3), keepdim=True)
    return (weights * output).sum(1).relu()


def _layer_cam(output: Tensor, gradient: Tensor, score: Tensor) -> Tensor:
    return (gradient.relu() * output).sum(1).relu()


def _pcs(output: Tensor, gradient: Tensor, score: Tensor) -> Tensor:
    return (gradient * output).sum(1).relu()


def _bag_cams(output: Tensor, gradient: Tensor, score: Tensor) -> Tensor:
    bag = (gradient * output + 1).mean((2, 3), keepdim=True)
    return (bag * gradient * output).relu().sum(1)


FORMULAS: dict[str, Formula] = {
    "grad_cam": _grad_cam,
    "grad_cam_pp": _grad_cam_pp,
    "layer_cam": _layer_cam,
    "pcs": _pcs,
    "bag_cams": _bag_cams,
}
