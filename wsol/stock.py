"""A backbone's own ImageNet classifier as a method: nothing is trained.

"How good is plain CAM of a stock network on my images?" The head is the published classifier, its rows in the order of
the data set's classes.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence

import torch

from wsol import build
from wsol.config import TrainConfig
from wsol.errors import InputError, listed
from wsol.method import Method
from wsol.network import CamHead

CLASSES = 1000


def stock_method(config: TrainConfig, class_names: Sequence[str]) -> Method:
    """The configured method on the published network, with the published classifier as its head, on the CPU.

    Args:
        config: its backbone takes the published weights unless `backbone.weights` names a file, which must hold the
            classifier too; the method must have the plain head, as `cam` has.
        class_names: the classes of the data set, in the order of its labels.

    Raises:
        InputError: the network has no published classifier after average pooling, the method has another head, or a
            class is not one of ImageNet's.
    """
    given = config.backbone.weights
    published = config.backbone.model_copy(update={"weights": "imagenet" if given == "none" else given})
    method = build.around(config.method, build.network(published, len(class_names)))
    head, classifier = method.network.head, method.network.backbone.imagenet_classifier
    if classifier is None:
        raise InputError(_missing_classifier(config.backbone.name, published.weights))
    if type(head) is not CamHead:
        raise InputError(f"method.name: {config.method.name} has a head of its own, which must be trained; use cam")
    rows = torch.tensor(imagenet_labels(class_names))
    with torch.no_grad():
        head.linear.weight.copy_(classifier[0][rows])
        head.linear.bias.copy_(classifier[1][rows])
    return method


def _missing_classifier(backbone: str, weights: str) -> str:
    if weights != "imagenet":
        return f"backbone.weights: {weights} has no classifier of {CLASSES} classes behind average pooling"
    return (
        f"backbone.name: the published {backbone} has no linear classifier behind average pooling, so there is no class"
        " map without training; choose another backbone, or `train` one"
    )


def imagenet_labels(class_names: Sequence[str]) -> list[int]:
    """The index of each class among ImageNet's 1000.

    A data set of 1000 classes has ImageNet's own order. In other data sets, classes are found by name: WordNet ids
    (`n01440764`), or the usual English names (`tench`), where capitals and underscores do not matter.

    Raises:
        InputError: a class is not one of the 1000; the message says which.
    """
    if len(class_names) == CLASSES:
        return list(range(CLASSES))
    known = _wordnet_ids() if any(re.fullmatch(r"n\d{8}", name) for name in class_names) else _english_names()
    foreign = [name for name in class_names if _plain(name) not in known]
    if foreign:
        raise InputError(
            f"data: {len(class_names)} classes, of which {listed(foreign)} is none of ImageNet's 1000; name them in"
            " data.class_names as ImageNet does (`tench`, or `n01440764`), or give data.num_classes=1000"
        )
    return [known[_plain(name)] for name in class_names]


def _plain(name: str) -> str:
    return name.replace("_", " ").strip().lower()


def _english_names() -> Mapping[str, int]:
    from torchvision.models import ResNet50_Weights

    categories = ResNet50_Weights.IMAGENET1K_V1.meta["categories"]
    return {_plain(name): label for label, name in reversed(list(enumerate(categories)))}  # the first of equal names


def _wordnet_ids() -> Mapping[str, int]:
    if importlib.util.find_spec("timm") is None:
        raise InputError("data: WordNet ids of classes are looked up in timm: pip install 'wsol-search[timm]'")
    from timm.data.imagenet_info import ImageNetInfo

    names: list[str] = ImageNetInfo().label_names()  # type: ignore[no-untyped-call]
    return {name: label for label, name in enumerate(names)}
