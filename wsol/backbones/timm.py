"""Any network of the library timm that is a sequence of blocks: ConvNeXt, EfficientNet, RegNet, MobileNet, Swin and
many more.

timm (Wightman, PyTorch Image Models) names the networks and their weights. How a network is cut into blocks: its
children run one after another as long as this gives the same result as its `forward_features`; stages are cut into
their blocks by the same test. A network that fails it (position embeddings or class tokens between the children,
branches that meet again) is refused, so that no network runs differently than in timm.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from wsol.backbones import _weights
from wsol.errors import InputError, first_line
from wsol.network import Backbone, BlockInfo
from wsol.plugins import did_you_mean
from wsol.schema import BackboneConfig

SIDE = 256
"""Pixels of the image on which the cut is tested, for networks that take every size."""


class Config(BackboneConfig):
    """A network of timm without its classifier; the library comes with `pip install 'wsol-search[timm]'`.

    A network that timm can build for this stride (`output_stride`: ResNet, RegNet, ConvNeXt, EfficientNet, ...) keeps
    the size of its late stages and dilates their filters instead. Every other one (VGG, DenseNet, MobileNet-v3, Swin,
    ...) is cut off after this stride, so it has fewer blocks and channels. Weights `imagenet` are those of the tag in
    `model`, or timm's default ones, from the Hugging Face hub; a file is a state dict with timm's names. Some networks
    take only images of the size they were made for.

    Attributes:
        model: timm's name of the network, with or without the tag of its weights: `convnext_tiny`, `resnet50.a1_in1k`.
    """

    name: Literal["timm"] = "timm"
    model: str = Field(default="convnext_tiny", min_length=1)


@dataclass(frozen=True, slots=True)
class Piece:
    """One step of the sequence: timm's name of the module, the module, and what it makes of the test image in timm's
    layout."""

    path: str
    module: nn.Module
    output: Tensor


def build(config: Config) -> Backbone:
    """Blocks have timm's names with `_` for dots, such as `stages_2_blocks_4`; norms and activations belong to the
    block before them.

    Raises:
        InputError: timm or the weights are missing, there is no such model, or it is no sequence of blocks with maps of
            the stride.
    """
    whole: Any = _create(config)
    settings = whole.pretrained_cfg
    images = torch.rand(1, 3, *2 * [_side(settings)], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        with _nothing_vanishes(whole):
            pieces = _cut(whole, images, config.model)
        direct = _classifier_reads_the_mean(whole, images)
    groups = _groups(pieces)
    blocks, info = _blocks(groups, getattr(whole, "output_fmt", "NCHW") == "NHWC", images)
    kept = _within_stride(info, config)
    mean, std = tuple(settings["mean"]), tuple(settings["std"])
    backbone = Backbone({k: blocks[k] for k in kept}, {k: info[k] for k in kept}, pixel_mean=mean, pixel_std=std)
    backbone.reason_without_classifier = _reason_without_classifier(whole, config, direct, info[list(info)[-1]].stride)
    _fill(backbone, whole, config, _prefixes(groups, backbone), direct and len(kept) == len(blocks))
    return backbone.train()


class ChannelsLast(nn.Module):
    """A block that takes and gives (B, h, w, c), between blocks of the usual layout; the first one takes images in the
    usual one."""

    def __init__(self, module: nn.Module, first: bool) -> None:
        super().__init__()
        self.module = module
        self.first = first

    def forward(self, x: Tensor) -> Tensor:
        """(B, c, h, w) -> (B, c', h', w')."""
        y: Tensor = self.module(x if self.first else x.permute(0, 2, 3, 1))
        return y.permute(0, 3, 1, 2)


def _timm() -> ModuleType:
    if importlib.util.find_spec("timm") is None:
        raise InputError("backbone `timm` needs the library of this name: pip install 'wsol-search[timm]'")
    return importlib.import_module("timm")


def _create(config: Config) -> nn.Module:
    """The whole network in evaluation mode, with the asked stride if timm can build it so."""
    timm = _timm()
    if not timm.is_model(config.model):
        raise InputError(
            f"backbone.model: timm has no {config.model!r}{did_you_mean(config.model, timm.list_models())}"
        )
    # The second is for networks of windows, which else refuse images of another size.
    for arguments in ({"output_stride": config.stride}, {"strict_img_size": False}):
        with suppress(TypeError, AssertionError, NotImplementedError):  # what networks say that cannot
            return _load(timm, config, arguments)
    return _load(timm, config, {})


def _load(timm: ModuleType, config: Config, arguments: dict[str, Any]) -> nn.Module:
    try:
        whole: nn.Module = timm.create_model(config.model, pretrained=config.weights == "imagenet", **arguments)
    except NotImplementedError:
        raise
    except (OSError, RuntimeError) as error:  # no connection, no such weights
        raise InputError(
            f"backbone: timm cannot make {config.model} with weights {config.weights} ({first_line(error)}): connect to"
            " the Hugging Face hub, or set `weights: <file>` to a state dict with timm's names, or `weights: none`"
        ) from None
    return whole.eval()


def _side(settings: dict[str, Any]) -> int:
    return int(settings["input_size"][-1]) if settings.get("fixed_input_size") else SIDE


@contextmanager
def _nothing_vanishes(module: nn.Module) -> Iterator[None]:
    """Give parameters that are zero another value for the time of the block: new residual branches end in zeros, which
    would hide that a block was left out."""
    found = [(p, p.clone()) for p in module.parameters() if p.abs().max() < 1e-3]
    for parameter, _ in found:
        parameter.fill_(0.1)
    yield
    for parameter, before in found:
        parameter.copy_(before)


def _cut(whole: Any, images: Tensor, model: str) -> list[Piece]:
    """The pieces up to where `forward_features` ends."""
    target: Tensor = whole.forward_features(images.clone())
    pieces = _chain(whole, images, "", target, to_the_end=False) if target.ndim == 4 else None
    if pieces is None:
        raise InputError(
            f"backbone.model: {model!r} is not a sequence of blocks with maps between them; choose another one, such as"
            " convnext_tiny"
        )
    return pieces


def _chain(module: nn.Module, x: Tensor, prefix: str, target: Tensor, to_the_end: bool) -> list[Piece] | None:
    """The children one after another, all of them or the first ones, if that makes `target`."""
    pieces: list[Piece] = []
    made = 0
    with suppress(
        NotImplementedError, RuntimeError, TypeError, ValueError, AttributeError, IndexError
    ):  # a child that cannot follow
        for name, child in module.named_children():
            if not isinstance(child, nn.Identity):
                pieces += _split(child, x, f"{prefix}{name}")
                x = pieces[-1].output
            made = len(pieces) if torch.equal(x, target) else made
        to_the_end = to_the_end and made < len(pieces)
    return pieces[:made] if made and not to_the_end else None


def _split(module: nn.Module, x: Tensor, path: str) -> list[Piece]:
    """A stage as its blocks, anything else whole."""
    output: Tensor = module(x.clone())  # some write into their input
    stage = isinstance(module, nn.Sequential) or any(isinstance(child, nn.Sequential) for child in module.children())
    pieces = _chain(module, x, f"{path}.", output, to_the_end=True) if stage and _weights_of(module) > 1 else None
    return pieces or [Piece(path, module, output)]


def _weights_of(module: nn.Module) -> int:
    return sum(p.ndim > 1 for p in module.parameters())


def _groups(pieces: list[Piece]) -> list[list[Piece]]:
    """Pieces of one block; it begins with a piece that has weights or changes the size."""
    groups: list[list[Piece]] = []
    for piece in pieces:
        if groups and not _weights_of(piece.module) and piece.output.shape == groups[-1][-1].output.shape:
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return groups


def _key(path: str) -> str:
    return path.replace(".", "_")


def _blocks(
    groups: list[list[Piece]], channels_last: bool, images: Tensor
) -> tuple[dict[str, nn.Module], dict[str, BlockInfo]]:
    blocks: dict[str, nn.Module] = {}
    info = {}
    for group in groups:
        name, shape = _key(group[0].path), group[-1].output.shape
        first = not blocks
        sequence = nn.Sequential(OrderedDict((_key(piece.path), piece.module) for piece in group))
        blocks[name] = ChannelsLast(sequence, first) if channels_last else sequence
        channels, cells = (shape[3], shape[2]) if channels_last else (shape[1], shape[3])
        info[name] = BlockInfo(
            channels, 2 ** round(math.log2(images.shape[3] / cells))
        )  # convolutions without padding cost a few cells
    return blocks, info


def _prefixes(groups: list[list[Piece]], backbone: Backbone) -> dict[str, str]:
    """timm's names of the modules in `backbone` -> ours."""
    names = {}
    for group in groups:
        block = _key(group[0].path)
        if block in backbone.blocks:
            inner = "module." if isinstance(backbone.blocks[block], ChannelsLast) else ""
            names.update({piece.path: f"{block}.{inner}{_key(piece.path)}" for piece in group})
    return names


def _within_stride(info: dict[str, BlockInfo], config: Config) -> list[str]:
    """The blocks whose maps are not coarser than the requested stride."""
    kept = [name for name in info if info[name].stride <= config.stride]
    possible = sorted({block.stride for block in info.values()} & {8, 16, 32})
    if info[kept[-1]].stride != config.stride:
        raise InputError(
            f"backbone.stride: {config.model} has no maps of stride {config.stride}; set one of"
            f" {', '.join(map(str, possible))}"
        )
    return kept


def _classifier_reads_the_mean(whole: Any, images: Tensor) -> bool:
    """Whether timm's classifier is one linear layer on the mean of the features, as the CAM head is."""
    linear, features = whole.get_classifier(), whole.forward_features(images.clone())
    if not isinstance(linear, nn.Linear) or features.ndim != 4:
        return False
    over = (2, 3) if features.shape[1] == linear.in_features else (1, 2)  # windowed transformers have channels last
    mean = features.mean(dim=over)
    if mean.shape[1] != linear.in_features:
        return False
    return torch.allclose(linear(mean), whole(images.clone()), rtol=1e-3, atol=1e-5)


def _reason_without_classifier(whole: Any, config: Config, direct: bool, stride: int) -> str:
    """Why timm's classifier cannot be the CAM head; `stride` is that of the whole network. Empty where it can, or where
    a file may hold another one."""
    if not direct:
        return f"the classifier of {config.model} is more than one linear layer behind average pooling"
    if stride > config.stride:
        return (
            f"{config.model} is cut off after stride {config.stride}, and its classifier with it; set"
            f" backbone.stride={stride}"
        )
    if config.weights == "imagenet" and whole.num_classes != 1000:
        return f"the classifier of {config.model} has {whole.num_classes} classes, not ImageNet's 1000"
    return ""


def _fill(backbone: Backbone, whole: Any, config: Config, prefixes: dict[str, str], direct: bool) -> None:
    """The file of the user, or the classifier that timm loaded."""
    classifier = whole.pretrained_cfg.get("classifier") if direct else None
    ignored = tuple(name for name in _module_names(whole) if name != classifier and not _shares_path(name, prefixes))
    if config.weights != "imagenet":
        _weights.load(backbone, config.weights, _weights.Published(Path, prefixes, classifier, ignored))
    elif classifier is not None and whole.num_classes == 1000:
        linear = whole.get_classifier()
        backbone.imagenet_classifier = linear.weight.detach().clone(), linear.bias.detach().clone()


def _module_names(whole: nn.Module) -> list[str]:
    return [name for name, _ in whole.named_modules() if name]


def _shares_path(name: str, prefixes: dict[str, str]) -> bool:
    """Whether a module is in a block, or holds one."""
    return any(f"{name}.".startswith(f"{path}.") or path.startswith(f"{name}.") for path in prefixes)
