"""Formulas of extractors by hand, in closed form, and guided through every kind of ReLU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.normalizing import normalized
from wsol.contract.extracting import batch, extractor, make
from wsol.extractor import guided
from wsol.extractors.bag_cams import bag_cams
from wsol.extractors.grad_cam import grad_cam
from wsol.extractors.grad_cam_pp import grad_cam_pp
from wsol.extractors.layer_cam import layer_cam
from wsol.extractors.pcs import pcs


def test_formulas_by_hand() -> None:
    output = torch.tensor([[[[1.0, 2], [3, 4]], [[1, 0], [0, 1]]]])
    gradient = torch.tensor([[[[0.1, -0.2], [0.3, 0.4]], [[1, 1], [1, -1]]]])
    expected = {
        grad_cam: [[0.65, 0.3], [0.45, 1.1]],
        grad_cam_pp: [[1.6564, 0.3128], [0.4692, 2.1256]],
        pcs: [[1.1, 0], [0.9, 0.6]],
        layer_cam: [[1.1, 0], [0.9, 1.6]],
        (lambda *a: bag_cams(*a[:2], "mean")): [[1.155, 0], [1.395, 2.48]],
        (lambda *a: bag_cams(*a[:2], "sum")): [[1.32, 0], [2.88, 5.12]],
    }
    for formula, maps in expected.items():
        torch.testing.assert_close(
            formula(output, gradient, torch.ones(1, 1, 1, 1))[0], torch.tensor(maps), rtol=1e-4, atol=1e-6
        )


def test_bag_cams_is_the_bag_of_regional_localizers() -> None:
    """Each cell m gives every channel the weight 1 + g_m F_m; the mean of what they say about cell i is its
    evidence."""
    generator = torch.Generator().manual_seed(0)
    output, gradient = (torch.randn(2, 5, 3, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    evidence = (output * gradient).flatten(2)
    cells = evidence.shape[2]
    said = torch.stack(
        [
            torch.stack([(1 + evidence[:, :, m]) * evidence[:, :, i] for m in range(cells)]).mean(0)
            for i in range(cells)
        ],
        dim=2,
    )
    torch.testing.assert_close(
        bag_cams(output, gradient, "mean").flatten(1), said.relu().sum(1), rtol=1e-12, atol=1e-12
    )


def test_closed_forms_at_the_last_block() -> None:
    """Behind average pooling and a linear layer the gradient is the weight over the number of cells."""
    built, (images, labels) = make("cam"), batch()
    features = built.network(images).features.detach()
    cells, channels = features[0, 0].numel(), features.shape[1]
    weight = built.network.head.linear.weight.detach()[labels]  # type: ignore[union-attr]
    score = built.network(images).logits.detach().gather(1, labels[:, None])
    cam = built.score_maps(images, labels).maps * channels
    clipped = extractor("cam", clip_negative_weights=True)(built, images, labels).maps * channels
    torch.testing.assert_close(extractor("grad_cam")(built, images, labels).maps, cam.relu() / cells)
    torch.testing.assert_close(extractor("pcs")(built, images, labels).maps, cam.relu() / cells)
    torch.testing.assert_close(extractor("layer_cam")(built, images, labels).maps, clipped / cells)
    gradient = (weight / cells / score)[:, :, None, None].expand_as(features)
    for guidance in (True, False):
        torch.testing.assert_close(
            extractor("bag_cams", guided=guidance)(built, images, labels).maps, bag_cams(features, gradient, "mean")
        )


@pytest.mark.parametrize("guidance", [True, False])
def test_a_negative_logit_turns_the_evidence_round(guidance: bool) -> None:
    built, (images, labels) = make("cam"), batch()
    head = built.network.head.linear  # type: ignore[union-attr]
    with torch.no_grad():
        head.bias.fill_(-100.0)
        features = built.network(images).features
        against = torch.einsum("bchw,bc->bhw", features, (-head.weight[labels]).clamp(min=0))
    maps = extractor("bag_cams", guided=guidance)(built, images, labels).maps
    torch.testing.assert_close(normalized(maps, 8), normalized(against, 8), rtol=0, atol=1e-3)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
    assert (extractor("bag_cams", guided=guidance)(built, images, labels).maps == 0).all()


class GuidedReLU(torch.autograd.Function):
    """What guided backpropagation is, as a function of its own."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)  # type: ignore[attr-defined]
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return (gradient * (ctx.saved_tensors[0] > 0)).clamp(min=0)  # type: ignore[attr-defined]


def test_guidance_reaches_every_kind_of_relu_and_ends() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 8, generator=generator, requires_grad=True)
    weights = [torch.randn(8, 8, generator=generator) / 4 for _ in range(6)]
    kinds = [F.relu, nn.ReLU(), nn.ReLU(inplace=True), torch.relu, nn.ReLU6(), nn.ReLU6(inplace=True)]

    def run(rectifiers: list[Callable[[Tensor], Tensor]]) -> Tensor:
        y = x
        for weight, rectify in zip(weights, rectifiers, strict=True):
            y = rectify(y @ weight)
        return y.sum()

    output = run(kinds)
    (plain,) = torch.autograd.grad(output, x, retain_graph=True)
    with guided(output):
        (clamped,) = torch.autograd.grad(output, x, retain_graph=True)
    with pytest.raises(KeyError), guided(output):
        raise KeyError
    (after,) = torch.autograd.grad(output, x)
    (expected,) = torch.autograd.grad(run([GuidedReLU.apply] * 6), x)
    torch.testing.assert_close(clamped, expected)
    assert torch.equal(plain, after) and not torch.allclose(plain, clamped)
