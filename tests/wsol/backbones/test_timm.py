"""Networks of timm: cut into blocks without changing what they compute, at the asked stride, under every method."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from wsol import plugins
from wsol.backbones import timm as plugin
from wsol.errors import InputError
from wsol.method import Method
from wsol.network import Backbone, CamHead, Classifier
from wsol.types import Batch, Progress

timm = pytest.importorskip("timm")

SMALL = "convnext_atto"
EXACT = [
    "resnet18",
    "convnext_atto",
    "mobilenetv3_small_050",
    "regnety_002",
    "swin_tiny_patch4_window7_224",
    "efficientnet_b0",
]
ALL_METHODS = [
    name
    for name in plugins.names("method")
    if "base" not in plugins.load("method", name).Config.model_fields
    and not plugins.load("method", name).Config.needs_tokens
]


def make(model: str, **fields: object) -> Backbone:
    torch.manual_seed(0)
    return plugin.build(plugin.Config(**{"model": model, "weights": "none", "stride": 32, **fields}))


def disturb(module: nn.Module) -> nn.Module:
    """Residual branches start at zero; with other numbers every block counts."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return module


def state_file(model: str, folder: Path) -> tuple[nn.Module, Path]:
    theirs = disturb(timm.create_model(model)).eval()
    torch.save(theirs.state_dict(), folder / "weights.pt")
    return theirs, folder / "weights.pt"


@pytest.mark.parametrize("model", EXACT)
@torch.no_grad()
def test_blocks_compute_what_the_network_computes(model: str, tmp_path: Path) -> None:
    theirs, path = state_file(model, tmp_path)
    backbone = make(model, weights=str(path)).eval()
    images = torch.randn(2, 3, 224, 224)
    expected = theirs.forward_features(images)
    features, taps = backbone(images, backbone.block_names)
    torch.testing.assert_close(features, expected.permute(0, 3, 1, 2) if model.startswith("swin") else expected)
    for name, info in backbone.info.items():
        assert taps[name].shape == (2, info.channels, 224 // info.stride, 224 // info.stride)


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize(
    ("model", "channels"),
    [("resnet18", (512, 512, 512)), (SMALL, (320, 320, 320)), ("mobilenetv3_small_050", (16, 24, 288))],
)
def test_stride_is_kept_by_the_late_stages_or_they_are_left_out(
    model: str, channels: tuple[int, ...], stride: int
) -> None:
    backbone = make(model, stride=stride)
    features, _ = backbone(torch.randn(2, 3, 96, 64))
    assert features.shape == (2, channels[(8, 16, 32).index(stride)], 96 // stride, 64 // stride)
    assert features.shape[1] == backbone.channels
    features.square().mean().backward()
    assert [name for name, p in backbone.named_parameters() if p.grad is None] == []


def test_windows_take_every_size_and_lose_the_stages_beyond_the_stride() -> None:
    backbone = make("swin_tiny_patch4_window7_224", stride=16)
    features, taps = backbone(torch.randn(1, 3, 96, 64), ["patch_embed"])
    assert features.shape == (1, 384, 6, 4) and taps["patch_embed"].shape == (1, 96, 24, 16)
    assert not any(name.startswith("layers_3") for name in backbone.block_names)


def test_blocks_are_as_fine_as_possible_and_do_not_change_their_input() -> None:
    backbone, x = make("resnet18").eval(), torch.randn(1, 3, 64, 64)
    assert backbone.block_names == [
        "conv1",
        "maxpool",
        *(f"layer{stage}_{index}" for stage in range(1, 5) for index in range(2)),
    ]
    for block in backbone.blocks.values():
        before = x.clone()
        after = block(x)
        assert torch.equal(x, before)
        x = after.detach()


def test_cutting_leaves_the_start_values_and_the_random_state_alone() -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("resnet18", output_stride=32).state_dict()
    expected = torch.rand(3)
    backbone = make("resnet18")
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(backbone.state_dict()["blocks.layer1_0.layer1_0.bn2.weight"], theirs["layer1.0.bn2.weight"])
    assert (theirs["layer1.0.bn2.weight"] == 0).all()
    assert all(module.training for module in backbone.modules())


@pytest.mark.parametrize(
    ("model", "mean"), [("test_efficientnet", (0.485, 0.456, 0.406)), ("test_convnext", (0.5, 0.5, 0.5))]
)
def test_pixels_are_those_of_the_pretrained_weights(model: str, mean: tuple[float, ...]) -> None:
    assert make(model).pixel_mean == mean


# --- weights ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_classifier_on_the_mean_is_kept(tmp_path: Path) -> None:
    theirs, path = state_file("resnet18", tmp_path)
    backbone = make("resnet18", weights=str(path)).eval()
    weight, bias = backbone.imagenet_classifier or pytest.fail("the classifier was not kept")
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(backbone(images)[0].mean(dim=(2, 3)) @ weight.T + bias, theirs(images))


@pytest.mark.parametrize(
    ("model", "stride", "reason"),
    [
        (SMALL, 32, "convnext_atto is more than one linear layer"),
        ("mobilenetv3_small_050", 16, "mobilenetv3_small_050 is more than one linear layer"),
        ("swin_tiny_patch4_window7_224", 16, "is cut off after stride 16, .*; set backbone.stride=32"),
        ("swin_tiny_patch4_window7_224", 8, "is cut off after stride 8, .*; set backbone.stride=32"),
    ],
)
def test_a_classifier_on_something_else_is_not(model: str, stride: int, reason: str, tmp_path: Path) -> None:
    """A norm stands before it, or the stages it reads are gone."""
    _, path = state_file(model, tmp_path)
    backbone = make(model, weights=str(path), stride=stride)
    assert backbone.imagenet_classifier is None and re.search(reason, backbone.reason_without_classifier)


def test_a_classifier_of_other_classes_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda model, pretrained, **more: create(model, num_classes=21841, **more)
    )
    backbone = make("resnet18", weights="imagenet")
    assert backbone.imagenet_classifier is None
    assert "resnet18 has 21841 classes, not ImageNet's 1000" in backbone.reason_without_classifier


def test_a_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    _, path = state_file(SMALL, tmp_path)
    state = torch.load(path, weights_only=True)
    removed = state.pop("stages.3.blocks.1.conv_dw.weight")
    torch.save(state, path)
    with pytest.raises(InputError, match=r"lacks weights.*stages_3_blocks_1"):
        make(SMALL, weights=str(path))
    torch.save({**state, "stages.3.blocks.1.conv_dw.weight": removed, "stages.9.weight": removed}, path)
    with pytest.raises(InputError, match=r"no place for: stages\.9\.weight"):
        make(SMALL, weights=str(path))


def test_pretrained_weights_are_timms(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, create = [], timm.create_model

    def local(model: str, pretrained: bool, **arguments: object) -> nn.Module:
        asked.append(pretrained)
        network: nn.Module = disturb(create(model, **arguments))
        return network

    monkeypatch.setattr(timm, "create_model", local)
    backbone = make("resnet18", weights="imagenet")
    assert asked == [True]
    assert backbone.imagenet_classifier is not None and backbone.imagenet_classifier[0].shape == (1000, 512)


# --- errors -----------------------------------------------------------------------------------------------------------


def test_offline_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(InputError, match=r"weights imagenet \(no route to host\).*`weights: <file>`.*`weights: none`"):
        make(SMALL, weights="imagenet")


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'wsol-search\[timm\]'"):
        make(SMALL)


@pytest.mark.parametrize(
    ("model", "stride", "message"),
    [
        ("convnext_tin", 32, "did you mean 'convnext_tiny'"),
        ("convnext_tiny.no_such_tag", 32, "no_such_tag"),
        ("vit_tiny_patch16_224", 16, "not a sequence of blocks"),
        ("hrnet_w18_small", 32, "not a sequence of blocks"),
    ],
)
def test_networks_that_cannot_be_used(model: str, stride: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(model, stride=stride)


def test_a_stride_without_maps_is_refused_with_the_possible_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda model, pretrained, output_stride: create(model, output_stride=16))
    with pytest.raises(InputError, match=r"backbone\.stride: resnet18 has no maps of stride 32; set one of 8, 16$"):
        make("resnet18", stride=32)


def test_the_plugin_is_listed_without_the_library() -> None:
    """Its file and its settings need no timm."""
    code = (
        "import sys; sys.modules['timm'] = None; from wsol import plugins; print(plugins.load('backbone',"
        " 'timm').Config().model)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "convnext_tiny"
    )


# --- methods ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL_METHODS)
@pytest.mark.parametrize(
    ("model", "stride"), [("test_resnet", 16), ("test_convnext", 16), ("mobilenetv3_small_050", 8)]
)
def test_methods_train_and_localise(name: str, model: str, stride: int) -> None:
    """Layers are placed by stride, every parameter learns, and a state dict restores the maps."""
    method, again = (around(name, make(model, stride=stride)) for _ in range(2))
    targets = torch.ones(2, 64, 64, dtype=torch.uint8)  # for methods that train on boxes
    batch = Batch(torch.randn(2, 3, 64, 64), torch.tensor([0, 2]), targets=targets)
    losses = method.train()(batch, Progress(4, 4, 19, 20))
    torch.stack(list(losses.values())).sum().backward()
    assert all(torch.isfinite(value) for value in losses.values())
    trainable = {key: p.grad for key, p in method.named_parameters() if p.requires_grad}
    assert [key for key, grad in trainable.items() if grad is None or not torch.isfinite(grad).all()] == []
    again.load_state_dict(method.state_dict())
    maps: list[Tensor] = [m.eval().score_maps(batch.images, batch.labels).maps for m in (method, again)]
    assert maps[0].shape == (2, 64 // stride, 64 // stride)
    assert torch.isfinite(maps[0]).all() and torch.equal(*maps)


def around(name: str, backbone: Backbone) -> Method:
    module = plugins.load("method", name)
    method: Method = module.build(module.Config(), Classifier(backbone, CamHead(backbone.channels, 3)))
    return method
