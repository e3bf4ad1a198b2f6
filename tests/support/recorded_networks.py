"""The small network whose maps were recorded."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from torch import nn

from wsol.method import Method
from wsol.network import Backbone, BlockInfo, CamHead, Classifier


def recorded_method(arrays: dict[str, np.ndarray]) -> Method:
    """Four convolutions with ReLU, of which only the last one keeps the size, and a linear layer on the mean."""
    blocks, info = OrderedDict[str, nn.Module](), {}
    for index, stride in enumerate((2, 2, 2, 1), start=1):
        weight = torch.from_numpy(arrays[f"param_layer{index}.0.weight"])
        bias = arrays.get(f"param_layer{index}.0.bias")
        conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3, stride, padding=1, bias=bias is not None)
        conv.load_state_dict({"weight": weight, **({} if bias is None else {"bias": torch.from_numpy(bias)})})
        norm = [_batch_norm(arrays, index)] if f"param_layer{index}.1.weight" in arrays else []
        blocks[f"layer{index}"], info[f"layer{index}"] = (
            nn.Sequential(conv, *norm, nn.ReLU()),
            BlockInfo(weight.shape[0], 2 ** min(index, 3)),
        )
    weight, shift = (torch.from_numpy(arrays[f"param_classifier.fc.{key}"]) for key in ("weight", "bias"))
    head = CamHead(weight.shape[1], len(weight))
    head.linear.load_state_dict({"weight": weight[:, :, 0, 0], "bias": shift})
    return Method(Classifier(Backbone(blocks, info), head)).eval()


def _batch_norm(arrays: dict[str, np.ndarray], index: int) -> nn.BatchNorm2d:
    names = ("weight", "bias", "running_mean", "running_var")
    values = {name: torch.from_numpy(arrays[f"param_layer{index}.1.{name}"]) for name in names}
    norm = nn.BatchNorm2d(len(values["weight"]))
    norm.load_state_dict(values, strict=False)
    return norm
