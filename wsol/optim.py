"""Optimizer and learning-rate schedule: those of the published protocol (Choe et al., CVPR 2020), and AdamW as
transformers are trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from wsol.config import OptimConfig
from wsol.method import Method, ParameterGroup


def build_optimizer(method: Method, config: OptimConfig) -> torch.optim.Optimizer:
    """The chosen optimizer over the method's parameter groups; see `OptimConfig` for what decays.

    Its steps are fused: all of a parameter's sums in one pass over the memory, which takes a quarter of the time on a
    CPU. Some numbers are rounded otherwise in their last bit.
    """
    groups = [_settings(group, config) for group in method.parameter_groups() if group["params"]]
    if config.optimizer == "adamw":
        spared = {id(parameter) for parameter in method.network.backbone.undecayed()}
        parts = [part for group in groups for part in _by_decay(group, spared)]
        return torch.optim.AdamW(
            parts, lr=config.lr, betas=(config.betas[0], config.betas[1]), eps=config.epsilon, fused=True
        )
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0, fused=True)


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load the state of an optimizer. What it keeps for a parameter gets the parameter's memory layout: a fused step
    reads both number by number as they lie in memory, and would mix up those of another layout without a word."""
    optimizer.load_state_dict(state)
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                kept[name] = torch.empty_like(parameter).copy_(value)


def copies(config: OptimConfig) -> int:
    """How many tensors of a parameter's size the optimizer keeps for it."""
    return 2 if config.optimizer == "adamw" else int(config.momentum > 0)


def _settings(group: ParameterGroup, config: OptimConfig) -> dict[str, Any]:
    return {
        "params": group["params"],
        "scale": (config.head_lr_scale if group["head"] else 1.0) * group.get("rate", 1.0),
        "weight_decay": config.weight_decay * (config.head_lr_scale if group.get("scaled_decay") else 1.0),
        "group": group["name"],
    }


def _by_decay(group: dict[str, Any], spared: set[int]) -> Iterator[dict[str, Any]]:
    """Split a group in two: parameters with weight decay, and those without, such as vectors."""
    decayed = [parameter for parameter in group["params"] if parameter.ndim > 1 and id(parameter) not in spared]
    kept = {id(parameter) for parameter in decayed}
    others = [parameter for parameter in group["params"] if id(parameter) not in kept]
    for params, weight_decay in ((decayed, group["weight_decay"]), (others, 0.0)):
        if params:
            yield {**group, "params": params, "weight_decay": weight_decay}


def decay(epoch: int, config: OptimConfig) -> float:
    """Factor of all rates in an epoch (1-based).

    The published loop decays at the *start* of epochs f, 2f, ...: one epoch earlier than a usual step schedule.
    """
    steps = (
        epoch // config.lr_decay_every
        if config.lr_decay_epochs is None
        else sum(epoch >= start for start in config.lr_decay_epochs)
    )
    return config.lr_decay_factor**steps


def set_learning_rates(optimizer: torch.optim.Optimizer, epoch: int, config: OptimConfig) -> None:
    """Set every group's rate for an epoch (1-based)."""
    for group in optimizer.param_groups:
        group["lr"] = config.lr * group["scale"] * decay(epoch, config)
