"""A backbone's own ImageNet classifier as a method: nothing is trained.

"How good is plain CAM of a stock network on my images?" The head is the published classifier, its rows in the order of
the data set's classes.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from wsol import build, plugins
from wsol.config import TrainConfig
from wsol.errors import InputError, listed
from wsol.method import Method
from wsol.network import Backbone, CamHead
from wsol.schema import BackboneConfig

CLASSES, COARSEST = 1000, 32
"""The number of ImageNet's classes, and the largest stride of a feature map, that of most published classifiers."""


def stock_method(config: TrainConfig, class_names: Sequence[str]) -> Method:
    """The configured method on the published network, with the published classifier as its head, on the CPU.

    Args:
        config: its backbone takes the published weights unless `backbone.weights` names a file, which must hold the
            classifier too; its method must have no weights but those of the network with the plain head, as `cam`.
        class_names: the classes of the data set, in the order of its labels.

    Raises:
        InputError: the network has no published classifier after average pooling, or does not see at this stride what
            it was trained to see; something would have to be trained; or a class is not one of ImageNet's.
    """
    _require_untrained(config)
    given = own_file(config.backbone)
    published = config.backbone.model_copy(update={"weights": given or "imagenet"})
    network = build.network(published, len(class_names))
    classifier, known = network.backbone.imagenet_classifier, set(network.parameters())
    if classifier is None:
        raise InputError(_missing_classifier(network.backbone, published))
    _require_its_view(network.backbone, published)
    method = build.around(config.method, network)
    head = method.network.head
    if type(head) is not CamHead or not known.issuperset(method.parameters()):
        raise InputError(f"method.name: {config.method.name} has weights of its own, which must be trained; use cam")
    rows = torch.tensor(imagenet_labels(class_names))
    with torch.no_grad():
        head.linear.weight.copy_(classifier[0][rows])
        head.linear.bias.copy_(classifier[1][rows])
    return method


def own_file(backbone: BackboneConfig) -> str | None:
    """The file whose weights count in place of the published ones; None where none is named."""
    return None if backbone.weights in ("imagenet", "none") else backbone.weights


def _require_untrained(config: TrainConfig) -> None:
    """Refuse what only another run's weights give."""
    for inside in config.method.with_bases():
        if inside.needs_initial_run:
            raise InputError(
                f"method.name: {inside.name} begins with another run, on which it must be trained; use cam"
            )
    if config.initial_run is not None:
        raise InputError(
            f"initial_run: {config.initial_run} would be ignored, because the published weights are scored; set"
            " initial_run=null, or score that run with `python launch.py evaluate RUN`"
        )


def _require_its_view(backbone: Backbone, config: BackboneConfig) -> None:
    """Refuse maps that are finer than the published ones where no filter is dilated instead: each filter then sees
    another part of the image than in its training, and the classes are guesses."""
    if config.stride == COARSEST or _is_dilated(backbone):
        return
    try:
        plugins.build("backbone", config.model_copy(update={"stride": COARSEST, "weights": "none"}))
    except InputError:  # the published maps are as fine as these
        return
    dilated = "backbone.dilate=true or " if "dilate" in type(config).model_fields else ""
    raise InputError(
        f"backbone.stride: {model_name(config)} was trained at stride {COARSEST}; at {config.stride} without dilation"
        " its filters see other parts of an image, and it must be trained again; set"
        f" {dilated}backbone.stride={COARSEST}"
    )


def _is_dilated(backbone: Backbone) -> bool:
    return any(max(module.dilation) > 1 for module in backbone.modules() if isinstance(module, nn.Conv2d))


def _missing_classifier(backbone: Backbone, config: BackboneConfig) -> str:
    if backbone.reason_without_classifier:
        return f"backbone: {backbone.reason_without_classifier}, or choose another network"
    if config.weights != "imagenet":
        return f"backbone.weights: {config.weights} has no classifier of {CLASSES} classes behind average pooling"
    return (
        f"backbone.name: the published {config.name} has no linear classifier behind average pooling, so there is no"
        " class map without training; choose another backbone, or `train` one"
    )


def model_name(backbone: BackboneConfig) -> str:
    """The network's name: that of its library where the backbone stands for many, else the backbone's."""
    return str(getattr(backbone, "model", backbone.name))


def imagenet_labels(class_names: Sequence[str]) -> list[int]:
    """The index of each class among ImageNet's 1000.

    The labels themselves, `0` to `999`, have ImageNet's own order. Other classes are found by name: WordNet ids
    (`n01440764`), or the usual English names (`tench`), where underscores do not matter, and capitals only tell a
    `Cardigan`, the dog, from a `cardigan`.

    Raises:
        InputError: a class is not one of the 1000; the message says which.
    """
    if list(class_names) == [str(label) for label in range(CLASSES)]:
        return list(range(CLASSES))
    known = _wordnet_ids() if any(re.fullmatch(r"n\d{8}", name) for name in class_names) else _english_names()
    found = [known.get(_spaced(name), known.get(_spaced(name).lower())) for name in class_names]
    if foreign := [name for name, label in zip(class_names, found, strict=True) if label is None]:
        raise InputError(
            f"data: {len(class_names)} classes, of which {listed(foreign)} is none of ImageNet's 1000; name them in"
            " data.class_names as ImageNet does (`tench`, or `n01440764`), or by the labels `0` to `999`"
        )
    return [label for label in found if label is not None]


def _spaced(name: str) -> str:
    return name.replace("_", " ").strip()


def _english_names() -> Mapping[str, int]:
    from torchvision.models import ResNet50_Weights

    labels = {_spaced(name): label for label, name in enumerate(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])}
    return {name.lower(): label for name, label in labels.items()} | labels


def _wordnet_ids() -> Mapping[str, int]:
    if importlib.util.find_spec("timm") is None:
        raise InputError("data: WordNet ids of classes are looked up in timm: pip install 'wsol-search[timm]'")
    from timm.data.imagenet_info import ImageNetInfo

    names: list[str] = ImageNetInfo().label_names()  # type: ignore[no-untyped-call]
    return {name: label for label, name in enumerate(names)}
