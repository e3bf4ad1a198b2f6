"""SCM: the recorded layers, gradients included, and what was mended."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support import vectors
from wsol.contract.networks import make
from wsol.methods import scm
from wsol.methods._semantic import SemanticHead, agnostic_attention

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
    arrays = vectors.load(path)
    inputs = {name: leaf(arrays[name]) for name in ("attention_class_row", "patch_tokens", "lambdas", "betas")}
    labels, (classes, channels) = torch.from_numpy(arrays["labels"]), arrays["head_weight"].shape[:2]
    head = SemanticHead(channels, classes, 3)
    head.conv.load_state_dict({key: torch.from_numpy(arrays[f"head_{key}"]) for key in ("weight", "bias")})
    assert tuple(arrays["iterations"]) == scm.ITERATIONS
    features = inputs["patch_tokens"].transpose(1, 2).reshape(-1, channels, 14, 14)
    attention = scm.rescaled(agnostic_attention(inputs["attention_class_row"], (14, 14)).flatten(1)).reshape(-1, 14, 14)
    scores = head.maps(features)
    logits = scm.calibrated(scores, attention, inputs["lambdas"], inputs["betas"]).mean((2, 3))
    loss = F.cross_entropy(logits, labels)
    loss.backward()

    assert_as_recorded(logits, arrays["training_logits"], 1e-4)
    assert loss.item() == pytest.approx(float(arrays["loss"]), rel=1e-4)
    assert_as_recorded(scores.mean((2, 3)), arrays["inference_logits"], 1e-4)
    assert_as_recorded(scores, arrays["inference_semantic_maps"], 1e-4)
    assert_as_recorded(attention[:, None], arrays["inference_attention"], 1e-4)
    for label in range(classes):
        found = attention * head.class_map(features, torch.full_like(labels, label))
        np.testing.assert_allclose(found.detach(), arrays["inference_maps"][:, label], rtol=0, atol=1e-4)
    gradients = {"patch_tokens": inputs["patch_tokens"], "attention_class_row": inputs["attention_class_row"]}
    gradients |= {"head_weight": head.conv.weight, "head_bias": head.conv.bias}  # type: ignore[dict-item]
    for name, tensor in gradients.items():
        assert_as_recorded(tensor.grad, arrays[f"grad_{name}"], 1e-3)
    check_numbers(arrays, inputs)


def check_numbers(arrays: Arrays, inputs: dict[str, Tensor]) -> None:
    """Gradients of rates and thresholds; the latter are sums that cancel, so their share is checked coarsely too."""
    for layer in range(len(scm.ITERATIONS)):
        for name, tensor in (("lambda", inputs["lambdas"]), ("beta", inputs["betas"])):
            assert tensor.grad is not None
            gradient = tensor.grad[layer : layer + 1]
            assert_as_recorded(gradient, arrays[f"grad_{name}_{layer}"], 1e-3, least=1.0)
            assert_as_recorded(gradient, arrays[f"grad_{name}_{layer}"], 0.1 if name == "beta" else 1e-3)


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
