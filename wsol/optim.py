"""Optimizer and learning-rate schedule of the published protocol (Choe et al., CVPR 2020)."""

from __future__ import annotations

import torch

from wsol.config import OptimConfig
from wsol.method import Method


def build_optimizer(method: Method, config: OptimConfig) -> torch.optim.SGD:
    """SGD with Nesterov momentum over the method's parameter groups; weight decay on every parameter, as published."""
    groups = [
        {
            "params": group["params"],
            "scale": config.head_lr_scale if group["head"] else 1.0,
            "weight_decay": config.weight_decay * (config.head_lr_scale if group.get("scaled_decay") else 1.0),
            "group": group["name"],
        }
        for group in method.parameter_groups()
        if group["params"]
    ]
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)


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
