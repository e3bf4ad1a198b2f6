"""Which parameters decay, by how much, and at which rate; what older runs had stays."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tests.support.tiny import OBJECTIVE, changed
from wsol.checkpoint import Record
from wsol.config import OptimConfig, TrainConfig
from wsol.contract.networks import make, total
from wsol.contract.stacks import make_batch
from wsol.method import Method
from wsol.optim import build_optimizer, copies, restore_optimizer, set_learning_rates
from wsol.training import train
from wsol.types import Progress

ADAMW = OptimConfig(optimizer="adamw", lr=5e-5, head_lr_scale=3.0, weight_decay=0.05, lr_decay_every=30)


def groups(method: Method, config: OptimConfig) -> dict[tuple[str, float, float], set[str]]:
    """Group, scale and weight decay -> names of the parameters."""
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    return {
        (group["group"], group["scale"], group["weight_decay"]): {names[id(p)] for p in group["params"]}
        for group in build_optimizer(method, config).param_groups
    }


def test_adamw_spares_vectors_class_token_and_positions() -> None:
    method = make("cam", "deit")
    found = groups(method, ADAMW)
    spared = {
        name
        for name, parameter in method.network.backbone.named_parameters()
        if parameter.ndim == 1 or name.endswith(("cls_token", "pos_embed"))
    }
    every = {f"network.backbone.{name}" for name, _ in method.network.backbone.named_parameters()}
    assert len(spared) == 3 * 8 + 2 + 2 + 1  # biases and norms of three blocks, the last norm, two tokens, a bias
    assert found == {
        ("backbone", 1.0, 0.05): every - {f"network.backbone.{name}" for name in spared},
        ("backbone", 1.0, 0.0): {f"network.backbone.{name}" for name in spared},
        ("head", 3.0, 0.05): {"network.head.linear.weight"},
        ("head", 3.0, 0.0): {"network.head.linear.bias"},
    }


def test_sgd_decays_everything_in_the_groups_that_checkpoints_of_older_runs_have() -> None:
    for backbone in ("tiny", "deit"):
        method = make("cam", backbone)
        optimizer = build_optimizer(method, OptimConfig())
        assert isinstance(optimizer, torch.optim.SGD) and optimizer.defaults["nesterov"]
        assert [(group["group"], group["weight_decay"]) for group in optimizer.param_groups] == [
            ("backbone", 1e-4),
            ("head", 1e-4),
        ]
        assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(method.parameters()))


def test_steps_of_sgd_are_those_of_torchs_plain_loop() -> None:
    methods = [make("cam").to(memory_format=torch.channels_last) for _ in range(2)]
    ours = build_optimizer(methods[0], OptimConfig(lr=0.1))
    plain = [{**group, "fused": False} for group in build_optimizer(methods[1], OptimConfig(lr=0.1)).param_groups]
    theirs = torch.optim.SGD(plain, lr=0.1, momentum=0.9, nesterov=True, fused=False)
    assert ours.param_groups[0]["fused"] and not theirs.param_groups[0]["fused"]
    for _ in range(3):
        for method, optimizer in zip(methods, (ours, theirs), strict=True):
            train_a_step(method, optimizer)
    state = methods[1].state_dict()
    for name, value in methods[0].state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("config", [OptimConfig(lr=0.1), OptimConfig(optimizer="adamw", lr=0.1)])
@pytest.mark.parametrize("before", [torch.contiguous_format, torch.channels_last])
def test_a_state_of_another_memory_layout_goes_on_with_the_same_numbers(
    config: OptimConfig, before: torch.memory_format
) -> None:
    """A checkpoint may be from a version or a machine that lays out its networks otherwise."""
    method = make("cam").to(memory_format=before)
    optimizer = build_optimizer(method, config)
    train_a_step(method, optimizer)
    weights, kept = deepcopy(method.state_dict()), deepcopy(optimizer.state_dict())
    ends = []
    for after in (torch.contiguous_format, torch.channels_last):
        method = make("cam").to(memory_format=after)
        method.load_state_dict(weights)
        optimizer = build_optimizer(method, config)
        restore_optimizer(optimizer, deepcopy(kept))
        torch.manual_seed(3)
        for parameter in method.parameters():  # the same gradients, to the last bit, in the parameter's own layout
            parameter.grad = torch.empty_like(parameter).copy_(torch.randn(parameter.shape))
        optimizer.step()
        ends.append(method.state_dict())
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def train_a_step(method: Method, optimizer: torch.optim.Optimizer) -> None:
    """One step on the contract's batch."""
    optimizer.zero_grad()
    total(method(make_batch(), Progress(1, 1, 0, 1))).backward()
    optimizer.step()


def test_a_decay_that_is_scaled_stays_so() -> None:
    config = ADAMW.model_copy(update={"head_lr_scale": 10.0})
    assert {key[1:] for key in groups(make("tap"), config)} == {(1.0, 0.5), (1.0, 0.0), (10.0, 0.05), (10.0, 0.0)}


def test_steps_are_those_of_adamw() -> None:
    """Three steps with a decay of the rate in between, beside torch's own optimizer on two hand-made groups."""
    methods = [make("cam", "deit"), make("cam", "deit")]
    config = ADAMW.model_copy(update={"head_lr_scale": 1.0, "betas": [0.8, 0.95], "epsilon": 1e-6, "lr": 1e-3})
    ours = build_optimizer(methods[0], config)
    by_hand: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in methods[1].named_parameters():
        by_hand[parameter.ndim > 1 and not name.endswith(("cls_token", "pos_embed"))].append(parameter)
    theirs = torch.optim.AdamW(
        [{"params": by_hand[True], "weight_decay": 0.05}, {"params": by_hand[False], "weight_decay": 0.0}],
        betas=(0.8, 0.95),
        eps=1e-6,
    )
    for epoch in (1, 29, 30):
        set_learning_rates(ours, epoch, config)
        for group in theirs.param_groups:
            group["lr"] = 1e-3 if epoch < 30 else 1e-4
        for method, optimizer in zip(methods, (ours, theirs), strict=True):
            optimizer.zero_grad()
            total(method(make_batch(), Progress(1, 1, 0, 1))).backward()
            optimizer.step()
    state = methods[1].state_dict()
    for name, value in methods[0].state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=1e-6, atol=1e-7)
    assert not torch.equal(
        state["network.head.linear.bias"], make("cam", "deit").state_dict()["network.head.linear.bias"]
    )


@pytest.mark.parametrize(
    ("fields", "kept"),
    [({}, 1), ({"momentum": 0.0}, 0), ({"optimizer": "adamw"}, 2), ({"optimizer": "adamw", "momentum": 0.0}, 2)],
)
def test_what_is_kept_for_a_parameter(fields: dict[str, object], kept: int) -> None:
    config = OptimConfig.model_validate(fields)
    method = make("cam")
    optimizer = build_optimizer(method, config)
    total(method(make_batch(), Progress(1, 1, 0, 1))).backward()
    optimizer.step()
    parameter = optimizer.param_groups[0]["params"][0]
    tensors = [value for value in optimizer.state[parameter].values() if isinstance(value, torch.Tensor) and value.ndim]
    assert len(tensors) == kept == copies(config)


@pytest.mark.parametrize("fields", [{"betas": [0.9]}, {"betas": [0.9, 1.0]}, {"epsilon": 0.0}, {"optimizer": "adam"}])
def test_ranges(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(fields))):
        OptimConfig.model_validate(fields)


class Stop(Exception):
    pass


def test_an_interrupted_run_with_adamw_ends_like_an_uninterrupted_one(config: TrainConfig, tmp_path: Path) -> None:
    config = changed(changed(config, "training", epochs=2), "optim", optimizer="adamw", lr=1e-3)

    def stop(record: Record) -> None:
        raise Stop

    whole = train(config, tmp_path / "whole", OBJECTIVE)
    with pytest.raises(Stop):
        train(config, tmp_path / "parts", OBJECTIVE, stop)
    parts = train(config, tmp_path / "parts", OBJECTIVE)
    assert [record["train/loss"] for record in parts] == [record["train/loss"] for record in whole]
    assert whole[1]["train/loss"] != whole[0]["train/loss"]
