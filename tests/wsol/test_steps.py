"""The steps of the optimizer, and the weights that they start from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support.coloured_images import config_of
from tests.support.tiny import OBJECTIVE
from wsol import build, training
from wsol.checkpoint import Checkpoints
from wsol.config import TrainConfig
from wsol.method import Method
from wsol.types import Batch

State = dict[str, Tensor]


def trained(folder: Path) -> State:
    """The weights that were exported last."""
    best = Checkpoints(folder).best
    assert best is not None
    state: State = Checkpoints(folder).load(best)["method"]
    return state


def by_hand(config: TrainConfig, start: State, batches: list[Batch], rates: list[float]) -> State:
    """Nesterov momentum, and weight decay on every weight; the head learns at three times the rate.

    Args:
        config: what was trained.
        start: weights before the first step.
        batches: of all steps.
        rates: of the backbone, in every step.
    """
    method = build.method(config, 2)
    method.load_state_dict(start)
    speed: State = {}
    for batch, rate in zip(batches, rates, strict=True):
        weights = dict(method.named_parameters())
        loss = F.cross_entropy(method.network(batch.images).logits, batch.labels)
        slopes = torch.autograd.grad(loss, list(weights.values()))
        for (name, weight), slope in zip(weights.items(), slopes, strict=True):
            pull = slope + 0.1 * weight.detach()
            speed[name] = pull if name not in speed else 0.8 * speed[name] + pull
            own = 3 * rate if name.startswith("network.head") else rate
            weight.data -= own * (pull + 0.8 * speed[name])
    return method.state_dict()


def test_steps_are_those_of_the_published_protocol(
    plain_colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine steps; the rate is halved at the start of the second epoch."""
    optim = {"lr": 0.05, "head_lr_scale": 3.0, "momentum": 0.8, "weight_decay": 0.1}
    optim |= {"lr_decay_every": 2, "lr_decay_factor": 0.5}
    training_ = {"epochs": 3, "batch_size": 3, "checkpoint": "last", "precision": "fp32"}
    config = config_of(plain_colours, 16, training=training_, optim=optim)
    batches: list[Batch] = []
    starts: list[State] = []
    augment = Method.augment

    def watch(self: Method, batch: Batch) -> Batch:
        starts.append({name: value.clone() for name, value in self.state_dict().items()})
        batches.append(augment(self, batch))
        return batches[-1]

    monkeypatch.setattr(Method, "augment", watch)
    history = training.train(config, tmp_path / "run", OBJECTIVE)
    expected = by_hand(config, starts[0], batches, [0.05] * 3 + [0.025] * 6)
    for name, value in trained(tmp_path / "run").items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-6)
        assert not torch.equal(value, starts[0][name])
    assert [record["train/lr/head"] for record in history] == pytest.approx([0.15, 0.075, 0.075])


def test_the_first_weights_are_those_of_the_seed(plain_colours: Path, tmp_path: Path) -> None:
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        config = config_of(plain_colours, 16, seed=seed)
        torch.rand(3)  # whatever was drawn before
        training.train(config, tmp_path / name, OBJECTIVE)
        found.append(trained(tmp_path / name)["network.head.linear.weight"])
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
