"""SCM: the recorded layers, gradients included, and what was mended."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support import vectors
from tests.support.published_methods import PROGRESS
from tests.support.recorded_tokens import Replayed
from wsol.contract.networks import make, total
from wsol.methods import scm
from wsol.methods._semantic import agnostic_attention
from wsol.network import CamHead, Classifier
from wsol.types import Batch

IMAGES, LABELS = torch.randn(3, 3, 48, 64, generator=torch.Generator().manual_seed(1)), torch.tensor([2, 0, 2])
Arrays = dict[str, np.ndarray]


def assert_as_recorded(found: Tensor | None, recorded: np.ndarray, tolerance: float, least: float = 0.0) -> None:
    """Within a share of the largest recorded value, or of `least` where that is larger."""
    assert found is not None and found.shape == recorded.shape
    scale = max(least, np.abs(recorded).max())
    np.testing.assert_allclose(found.detach().numpy(), recorded, rtol=0, atol=tolerance * scale)


def leaf(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.copy()).requires_grad_()


@pytest.mark.parametrize("path", vectors.files("scm", "newton_schulz*"))
def test_recorded_steps_towards_the_inverse(path: Path) -> None:
    arrays = vectors.load(path)
    matrix = torch.from_numpy(arrays["matrix"])
    for steps in (4, 5, 16):
        found = scm.newton_schulz(matrix, float(arrays["alpha"]), steps)
        assert_as_recorded(found, arrays[f"inverse_{steps}"], 1e-5)


@pytest.mark.parametrize("path", vectors.files("scm", "laplacian*"))
def test_recorded_grids(path: Path) -> None:
    for name, recorded in vectors.load(path).items():
        height, width = map(int, name.removeprefix("laplacian_").split("x"))
        np.testing.assert_array_equal(scm.laplacian(height, width).numpy(), recorded)


@pytest.mark.parametrize("path", vectors.files("scm", "encoder*"))
def test_recorded_layers(path: Path) -> None:
    arrays = vectors.load(path)
    inputs = {name: leaf(arrays[name]) for name in ("semantic_map", "attention_map")}
    numbers = {name: leaf(arrays[name].reshape(1)) for name in ("lambda", "beta")}
    scores, steps = inputs["semantic_map"], int(arrays["iterations"])
    alike = scm.similarity(scores)
    found = scm.diffused(alike, scores, inputs["attention_map"], numbers["lambda"], numbers["beta"], steps)
    assert_as_recorded(alike, arrays["similarity"], 1e-4)
    assert_as_recorded(scm.diffusion(alike, numbers["lambda"], scores.shape[2:], steps), arrays["diffusion"], 1e-4)
    weighted = []
    for name, value in zip(inputs, found, strict=True):
        assert_as_recorded(value, arrays[f"out_{name}"], 1e-4)
        weighted.append((torch.from_numpy(arrays[f"weight_{name}"]) * value).sum())
    torch.stack(weighted).sum().backward()
    for name, tensor in {**inputs, **numbers}.items():
        assert_as_recorded(tensor.grad, arrays[f"grad_{name}"], 1e-3, least=1.0)


@pytest.mark.parametrize("path", vectors.files("scm", "scm_*"))
def test_recorded_modules(path: Path) -> None:
    """The method on a transformer that has the recorded tokens and attention."""
    arrays = vectors.load(path)
    row, cells = leaf(arrays["attention_class_row"]), leaf(arrays["patch_tokens"])
    labels, (classes, channels) = torch.from_numpy(arrays["labels"]), arrays["head_weight"].shape[:2]
    method = scm.build(scm.Config(), Classifier(Replayed(cells, row), CamHead(channels, classes)))
    assert isinstance(method, scm.SCM)
    method.load_state_dict(
        {
            "network.head.conv.weight": torch.from_numpy(arrays["head_weight"]),
            "network.head.conv.bias": torch.from_numpy(arrays["head_bias"]),
            "rates": torch.from_numpy(arrays["lambdas"]),
            "thresholds": torch.from_numpy(arrays["betas"]),
        }
    )
    assert tuple(arrays["iterations"]) == scm.ITERATIONS
    images = torch.zeros(len(labels), 3, *arrays["inference_maps"].shape[2:])

    method.train()
    losses = method(Batch(images, labels), PROGRESS)
    total(losses).backward()
    assert_as_recorded(method.activate(images, labels).logits, arrays["training_logits"], 1e-4)
    assert_as_recorded(total(losses), arrays["loss"], 1e-4)
    head = method.semantic_head().conv
    gradients = {"patch_tokens": cells, "attention_class_row": row, "head_weight": head.weight, "head_bias": head.bias}
    for name, tensor in gradients.items():
        assert tensor is not None
        assert_as_recorded(tensor.grad, arrays[f"grad_{name}"], 1e-3)
    check_numbers(arrays, method, images, labels)

    method.eval()
    found = [method.score_maps(images, torch.full_like(labels, label)) for label in range(classes)]
    for scores in found:
        assert_as_recorded(scores.logits, arrays["inference_logits"], 1e-4)
    maps = torch.stack([scores.maps for scores in found], dim=1)
    np.testing.assert_allclose(maps, arrays["inference_maps"], rtol=0, atol=1e-4)
    activations = method.activate(images, labels)
    assert_as_recorded(method._attention(activations)[:, None], arrays["inference_attention"], 1e-4)
    semantic = method.semantic_head().maps(activations.features)
    assert_as_recorded(semantic, arrays["inference_semantic_maps"], 1e-4)


def check_numbers(arrays: Arrays, method: scm.SCM, images: Tensor, labels: Tensor) -> None:
    """Gradients of rates and thresholds. The latter are sums over cells that nearly cancel: the differences are a small
    share of what is summed, too."""
    assert method.rates.grad is not None and method.thresholds.grad is not None
    summed = magnitudes(method, images, labels)
    for layer in range(len(scm.ITERATIONS)):
        rate, threshold = method.rates.grad[layer : layer + 1], method.thresholds.grad[layer : layer + 1]
        assert_as_recorded(rate, arrays[f"grad_lambda_{layer}"], 1e-3)
        assert_as_recorded(threshold, arrays[f"grad_beta_{layer}"], 0.1)
        np.testing.assert_allclose(threshold, arrays[f"grad_beta_{layer}"], rtol=0, atol=4e-6 * float(summed[layer]))


def magnitudes(method: scm.SCM, images: Tensor, labels: Tensor) -> Tensor:
    """How large (L,) the parts of the gradients of the thresholds are that are summed over the cells: each cell of each
    image has thresholds of its own here."""
    activations = method.activate(images, labels)
    scores, attention = method.semantic_head().maps(activations.features), method._attention(activations)
    of_cells = method.thresholds.detach()[:, None, None].expand(-1, *attention.flatten(1).shape).clone()
    raised = scm.calibrated(scores, attention, method.rates, of_cells.requires_grad_())
    (parts,) = torch.autograd.grad(F.cross_entropy(raised.mean((2, 3)), labels), of_cells)
    assert method.thresholds.grad is not None
    torch.testing.assert_close(parts.sum((1, 2)), method.thresholds.grad, rtol=1e-3, atol=1e-5)
    return parts.abs().sum((1, 2))


def test_training_sees_raised_scores_and_evaluation_plain_ones() -> None:
    method = make("scm")
    training = method.train().activate(IMAGES, LABELS)
    evaluated = method.eval().activate(IMAGES, LABELS)
    torch.testing.assert_close(training.features, evaluated.features)
    plain = method.network.head(evaluated.features)
    torch.testing.assert_close(evaluated.logits, plain)
    assert not torch.allclose(training.logits, plain, rtol=1e-3)
    positive = scm.calibrated(torch.rand(2, 3, 3, 4) + 0.1, torch.rand(2, 3, 4), torch.ones(4), torch.full((4,), 0.5))
    assert torch.isfinite(positive).all()
    assert (
        method.get_parameter("rates").tolist() == [1.0] * 4 and method.get_parameter("thresholds").tolist() == [0.5] * 4
    )


def test_the_map_is_that_of_ts_cam_with_rescaled_attention() -> None:
    method, other = make("scm").eval(), make("ts_cam").eval()
    other.network.load_state_dict(method.network.state_dict())
    rows = other.activate(IMAGES, LABELS).taps
    attention = agnostic_attention([rows[name] for name in other.class_rows()], (3, 4))  # type: ignore[operator]
    low, high = attention.amin((1, 2), keepdim=True), attention.amax((1, 2), keepdim=True)
    semantic = other.score_maps(IMAGES, LABELS).maps / attention
    torch.testing.assert_close(method.score_maps(IMAGES, LABELS).maps, semantic * (attention - low) / (high - low))


def test_the_loss_trains_the_attention() -> None:
    method = make("scm").train()
    activations = method.activate(IMAGES, LABELS)
    last = activations.taps[method.class_rows()[-1]]  # type: ignore[operator]
    gradients = torch.autograd.grad(F.cross_entropy(activations.logits, LABELS), [last, *method.parameters()][:3])
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_constant_scores_and_attention_stay_finite(value: float) -> None:
    scores, attention = torch.full((1, 3, 2, 3), value, requires_grad=True), torch.full((1, 2, 3), value)
    rates = torch.ones(4, requires_grad=True)
    found = scm.calibrated(scores, scm.rescaled(attention.flatten(1)).reshape(1, 2, 3), rates, torch.full((4,), 0.5))
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert scores.grad is not None and torch.isfinite(scores.grad).all()
    assert rates.grad is not None and torch.isfinite(rates.grad).all()


def test_layers_are_in_float32_under_autocast() -> None:
    method = make("scm").train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = method.activate(IMAGES, LABELS).logits
    assert logits.dtype == torch.float32 and torch.isfinite(logits).all()
