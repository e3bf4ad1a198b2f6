"""CropCAM around small methods, and the networks and images of the recorded cases."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsol import build, plugins
from wsol.method import Method
from wsol.methods import crop_cam
from wsol.network import Backbone, BlockInfo, CamHead, Classifier
from wsol.types import Batch

CLASSES, SIDE = 4, 32


def make(batch_norm: bool = True, **fields: object) -> Method:
    torch.manual_seed(0)
    plugin = plugins.load("backbone", "tiny")
    backbone = plugin.build(plugin.Config(width=8, batch_norm=batch_norm))
    return build.around(crop_cam.Config(**fields), Classifier(backbone, CamHead(backbone.channels, CLASSES)))


def make_batch(count: int = 8, seed: int = 1) -> Batch:
    """Noise with a bright square whose place is the class."""
    images = 0.2 * torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(count) % CLASSES
    for image, label in zip(images, labels.tolist(), strict=True):
        top, left = (label // 2) * SIDE // 2, (label % 2) * SIDE // 2
        image[:, top + 4 : top + 12, left + 4 : left + 12] += torch.tensor([1.0, -1.0, 0.5]).roll(label)[:, None, None]
    return Batch(images, labels)


def recorded_network(vector: dict[str, np.ndarray]) -> Classifier:
    """The network of a case of `crop_cam`, with its weights."""
    convs = (nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 24, 3, 2, 1), nn.Conv2d(24, 32, 3, 4, 1))
    names, channels = ("conv", "conv2", "conv3"), (16, 24, 32)
    blocks = {name: nn.Sequential(conv, nn.ReLU()) for name, conv in zip(names, convs, strict=True)}
    infos = {name: BlockInfo(count, stride) for name, count, stride in zip(names, channels, (2, 4, 16), strict=True)}
    network = Classifier(Backbone(blocks, infos), CamHead(32, 5))
    for name, parameter in recorded_parameters(network).items():
        parameter.data = torch.from_numpy(vector[f"param_{name}"])
    return network


def recorded_parameters(network: Classifier) -> dict[str, nn.Parameter]:
    """By their recorded names."""
    modules = {**{name: block[0] for name, block in network.backbone.blocks.items()}, "fc": network.head.linear}
    return {f"{name}.{kind}": getattr(module, kind) for name, module in modules.items() for kind in ("weight", "bias")}


def recorded_images(vector: dict[str, np.ndarray]) -> Tensor:
    """(B, 3, 224, 224) float32, normalised, of a case of `crop_cam`."""
    few = torch.from_numpy(vector["images_56_repeat_each_pixel_4x4"]).float()
    return few.repeat_interleave(4, 2).repeat_interleave(4, 3)


def assert_recorded(found: Tensor, recorded: np.ndarray) -> None:
    """2e-4 of the largest value."""
    expected = torch.tensor(recorded, dtype=torch.float64)
    torch.testing.assert_close(found.detach().double(), expected, rtol=0, atol=2e-4 * expected.abs().max().item())


def evaluated_network(vector: dict[str, np.ndarray]) -> Classifier:
    """The network of a case of `crop_cam_evaluation`: three convolutions with ReLU, with its weights."""
    blocks, infos = {}, {}
    kernels = sorted(name for name in vector if name.startswith("param_") and vector[name].ndim == 4)
    for index, name in enumerate(kernels):
        weight = torch.from_numpy(vector[name])
        conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3, 2, 1)
        bias = torch.from_numpy(vector[name.replace("weight", "bias")])
        conv.load_state_dict({"weight": weight, "bias": bias})
        blocks[f"conv{index}"] = nn.Sequential(conv, nn.ReLU())
        infos[f"conv{index}"] = BlockInfo(weight.shape[0], 2 ** (index + 1))
    (linear,) = (name for name in vector if name.startswith("param_") and vector[name].ndim == 2)
    weight = torch.from_numpy(vector[linear])
    network = Classifier(Backbone(blocks, infos), CamHead(weight.shape[1], len(weight)))
    bias = torch.from_numpy(vector[linear.replace("weight", "bias")])
    network.head.linear.load_state_dict({"weight": weight, "bias": bias})
    return network


def evaluated_images(vector: dict[str, np.ndarray]) -> Tensor:
    """(B, 3, 224, 224) float32, normalised, of a case of `crop_cam_evaluation`."""
    return 2 * F.interpolate(torch.from_numpy(vector["noise"]), (224, 224), mode="bicubic", align_corners=False)
