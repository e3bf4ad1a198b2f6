"""ImageNet weights: every weight of a file is one number of its own, so a network shows where it went."""

from __future__ import annotations

import copy
import functools
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.support.protocol import METHODS, NETWORKS, around, backbone_config
from wsol import build, layout_names
from wsol.method import Method
from wsol.network import Classifier

MARK = 1000


@functools.cache
def imagenet_names(name: str) -> tuple[tuple[str, torch.Size, torch.dtype], ...]:
    """What a file of torchvision holds; the linear layers of VGG, half a gigabyte, are left out."""
    from torchvision import models

    with torch.device("meta"), warnings.catch_warnings(action="ignore"):
        theirs = getattr(models, name)(weights=None).state_dict()
    return tuple((key, value.shape, value.dtype) for key, value in theirs.items() if not key.startswith("classifier."))


@pytest.fixture(scope="module")
def marked_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weight files in which weight number i is constant, i + 1000."""
    folder = tmp_path_factory.mktemp("imagenet")
    for name in NETWORKS:
        state = {
            key: torch.tensor(MARK + i, dtype=dtype).expand(shape)
            for i, (key, shape, dtype) in enumerate(imagenet_names(name))
        }
        torch.save(state, folder / f"{name}.pt")
    return {name: folder / f"{name}.pt" for name in NETWORKS}


@functools.lru_cache(maxsize=1)  # the methods of one network follow each other
def pretrained(name: str, stride: int, path: Path, num_classes: int) -> Classifier:
    return build.network(backbone_config(name, stride, str(path)), num_classes)


def origin(weight: Tensor, name: str) -> str | None:
    """The key of the file that a weight came from; None for a random one."""
    mark = weight.flatten()[0].item()
    return imagenet_names(name)[int(mark) - MARK][0] if mark >= MARK and (weight == mark).all() else None


def origins(method: Method, name: str, kind: type[nn.Conv2d] | type[nn.Linear]) -> dict[str, str]:
    """Module of our network -> the module of the file that it was filled from."""
    layers = {path: module for path, module in method.network.named_modules() if isinstance(module, kind)}
    found = {path: origin(module.weight.detach(), name) for path, module in layers.items()}
    return {path: key.removesuffix(".weight") for path, key in found.items() if key is not None}


CONVOLUTIONS = {"vgg16": 13, "inception_v3": 70, "resnet50": 53}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("backbone", "stride", "num_classes"),
    [
        *((backbone, stride, 200) for backbone in NETWORKS for stride in (16, 8)),
        *((backbone, 16, 1000) for backbone in NETWORKS),
    ],
)
def test_imagenet_weights_that_are_found(
    backbone: str, stride: int, num_classes: int, name: str, marked_files: dict[str, Path]
) -> None:
    method = around(copy.deepcopy(pretrained(backbone, stride, marked_files[backbone], num_classes)), name)
    found = origins(method, backbone, nn.Conv2d)
    assert len(found) == len(set(found.values())) == CONVOLUTIONS[backbone]
    keeps_classifier = backbone == "resnet50" and num_classes == 1000 and name in ("cam", "adl")
    assert origins(method, backbone, nn.Linear) == ({"head.linear": "fc"} if keeps_classifier else {})


UNCHANGED = {index: index for index in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)}


@pytest.mark.parametrize(
    ("name", "stride", "changed"),
    [
        ("cam", 16, {}),
        ("cam", 8, {24: 23, 26: 25, 28: 27}),
        ("adl", 16, {17: 18, 19: 20, 21: 22, 24: 26, 26: 28, 28: 30}),
        ("adl", 8, {17: 18, 19: 20, 21: 22, 24: 25, 26: 27, 28: 29}),
        ("acol", 16, {}),
        ("acol", 8, {}),
    ],
)
def test_vgg16_takes_torchvisions_convolutions_in_the_published_order(
    name: str, stride: int, changed: dict[int, int], marked_files: dict[str, Path]
) -> None:
    """Torchvision's number of a convolution -> its number in a released network, by way of the block of ours that holds
    it."""
    method = around(copy.deepcopy(pretrained("vgg16", stride, marked_files["vgg16"], 200)), name)
    released = layout_names.TABLES["vgg16"]({"cam": "plain"}.get(name, name), stride)
    pairs = {number(theirs): number(released[ours]) for ours, theirs in origins(method, "vgg16", nn.Conv2d).items()}
    assert pairs == {**UNCHANGED, **changed}


def number(module: str) -> int:
    assert module.startswith("features.")
    return int(module.rpartition(".")[2])
