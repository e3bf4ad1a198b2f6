"""Loads the weights of a backbone: random ones, the published ImageNet file, or a file of the user.

Every file is read by `wsol/weights_file.py` and must hold exactly the weights that are expected: nothing is skipped
silently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from wsol import weights_file
from wsol.errors import InputError, first_line, listed
from wsol.files import exists, sha256
from wsol.network import Backbone


@dataclass(frozen=True, slots=True)
class Published:
    """How the published weights of a network map to our blocks.

    Attributes:
        find: returns the local path of the published file, downloaded if necessary; raises InputError.
        prefixes: published name of a module or a single weight -> ours, `<block>` or `<block>.<module>`.
        classifier: published module name of the classifier of 1000 classes, kept as `Backbone.imagenet_classifier`; a
            file may lack it.
        ignored: published modules that our network does not have.
        random: our blocks that no published file holds; they keep their random start.
    """

    find: Callable[[], Path]
    prefixes: Mapping[str, str]
    classifier: str | None = None
    ignored: tuple[str, ...] = ()
    random: tuple[str, ...] = ()


def load(backbone: Backbone, weights: str, published: Published) -> None:
    """Fill a backbone in place.

    Args:
        backbone: a new backbone with random weights.
        weights: `none`, `imagenet`, or the path of a file that holds a state dict with the published key names.
        published: the key names.

    Raises:
        InputError: the file is missing or cannot be read, or its keys or shapes are not the expected ones.
    """
    if weights == "none":
        return
    path = published.find() if weights == "imagenet" else Path(weights)
    if not exists(path):
        raise InputError(f"no weights at {path}: give `imagenet`, `none` or the path of a state dict")
    fill(backbone, weights_file.read(path), published, path)


def fill(backbone: Backbone, state: Mapping[str, Tensor], published: Published, path: Path) -> None:
    """Fill a backbone in place from a state dict with the published key names; `path` is its name in messages.

    Raises:
        InputError: keys or shapes are not the expected ones.
    """
    left = dict(state)
    if published.classifier is not None:
        backbone.imagenet_classifier = _pop_classifier(left, published.classifier)
    renamed = _rename(left, published, path)
    _check(backbone, renamed, published, path)
    backbone.blocks.load_state_dict(renamed, strict=False)


def from_url(url: str) -> Path:
    """The file behind a torchvision URL, from torch hub's cache or downloaded; its name ends in the start of its
    SHA-256.

    Raises:
        InputError: it cannot be downloaded, or the file in the cache is another one.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    digest = path.stem.rsplit("-", 1)[1]
    if not exists(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=digest, progress=False)
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"cannot download {url} ({first_line(error)}): put the file at {path} or set `weights: <file>`"
            ) from None
    return verified(path, digest)


def verified(path: Path, digest: str) -> Path:
    """`path`, if its SHA-256 begins with `digest` (hexadecimal).

    Raises:
        InputError: it does not, or the file cannot be read.
    """
    try:
        found = sha256(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if not found.startswith(digest):
        raise InputError(
            f"{path} is damaged or another file: its SHA-256 begins with {found[: len(digest)]}, expected {digest};"
            " remove it"
        )
    return path


def xavier(module: nn.Module) -> None:
    """Convolutions Xavier-uniform, their biases 0: the random start of the published ResNet and Inception."""
    for conv in _convolutions(module):
        nn.init.xavier_uniform_(conv.weight)


def he(module: nn.Module) -> None:
    """Convolutions N(0, 2 / fan-out), their biases 0; fan-out = kernel area times output channels per group."""
    for conv in _convolutions(module):
        fan_out = conv.weight[0, 0].numel() * conv.out_channels / conv.groups
        nn.init.normal_(conv.weight, std=(2 / fan_out) ** 0.5)


def _convolutions(module: nn.Module) -> list[nn.Conv2d]:
    convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    for conv in convolutions:
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
    return convolutions


def _pop_classifier(state: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor] | None:
    weight, bias = state.pop(f"{name}.weight", None), state.pop(f"{name}.bias", None)
    if weight is None or bias is None or len(weight) != 1000:
        return None  # fine-tuned on other classes
    return weight, bias


def _rename(state: Mapping[str, Tensor], published: Published, path: Path) -> dict[str, Tensor]:
    renamed, unexpected = {}, []
    for key, value in state.items():
        if key.startswith(tuple(f"{name}." for name in published.ignored)):
            continue
        prefix = next((old for old in published.prefixes if key == old or key.startswith(f"{old}.")), None)
        if prefix is None:
            unexpected.append(key)
        else:
            renamed[published.prefixes[prefix] + key.removeprefix(prefix)] = value
    if unexpected:
        raise InputError(f"{path} holds weights this network has no place for: {listed(unexpected)}")
    return renamed


def _check(backbone: Backbone, state: Mapping[str, Tensor], published: Published, path: Path) -> None:
    ours = backbone.blocks.state_dict()
    # The oldest published files were written before batch norm counted its batches; the count is not used.
    expected = {k for k in ours if k.split(".")[0] not in published.random and not k.endswith(".num_batches_tracked")}
    if missing := sorted(expected - set(state)):
        raise InputError(f"{path} lacks weights of this network (our names): {listed(missing)}")
    if unexpected := sorted(set(state) - set(ours)):
        raise InputError(f"{path} holds weights this network has no place for (our names): {listed(unexpected)}")
    if wrong := [
        f"{k} {tuple(v.shape)}, expected {tuple(ours[k].shape)}" for k, v in state.items() if v.shape != ours[k].shape
    ]:
        raise InputError(f"{path} holds weights of other shapes: {listed(wrong)}")
