"""The barrier of size constraints: recorded numbers and values by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.f_cam import assert_close
from tests.support.vectors import files, load
from wsol.ops.barrier import extended_log_barrier, sharpness_at, size_barrier


@pytest.mark.parametrize("path", files("extended_log_barrier"))
def test_the_barrier_is_the_published_one(path: Path) -> None:
    vector = load(path)
    sharpnesses = [key.split("_")[1] for key in vector if key.endswith("_mean_loss")]
    assert sharpnesses
    for sharpness in sharpnesses:
        values = torch.from_numpy(vector[f"t_{sharpness}_fx"]).requires_grad_()
        loss = extended_log_barrier(values, float(sharpness)).mean()
        loss.backward()
        assert_close(loss, vector[f"t_{sharpness}_mean_loss"], 1e-5)
        torch.testing.assert_close(values.grad, torch.from_numpy(vector[f"t_{sharpness}_grad"]), rtol=1e-5, atol=0)


@pytest.mark.parametrize("path", files("extended_log_barrier"))
def test_the_size_loss_is_the_published_one(path: Path) -> None:
    vector = load(path)
    logits = torch.from_numpy(vector["max_size_logits"]).requires_grad_()
    loss = float(vector["max_size_lambda"]) * size_barrier(logits.softmax(1), float(vector["max_size_t"]))
    loss.backward()
    assert_close(loss, vector["max_size_loss"], 1e-5)
    assert_close(logits.grad, vector["max_size_grad"], 1e-5)


@pytest.mark.parametrize("path", files("extended_log_barrier"))
def test_sharpness_grows_as_published(path: Path) -> None:
    """There it is multiplied in float32."""
    recorded = load(path)["t_schedule_from_1_max_10_mul_1.01"].tolist()
    found = [sharpness_at(epoch, 1.0, 1.01, 10.0) for epoch in range(1, len(recorded) + 1)]
    assert found == pytest.approx(recorded, rel=1e-5)


@pytest.mark.parametrize(
    ("t", "value", "expected"),
    [(1, -25088, -10.130145), (1, 0, 1), (1, 1, 2), (2, -0.25, 0.693147), (10, -0.01, 0.460517)],
)
def test_values_of_the_barrier(t: float, value: float, expected: float) -> None:
    """Also where a logarithm alone would be infinite."""
    values = torch.tensor([value], dtype=torch.float64, requires_grad=True)
    found = extended_log_barrier(values, t)
    found.sum().backward()
    assert found.item() == pytest.approx(expected, abs=1e-6) and torch.isfinite(values.grad).all()
