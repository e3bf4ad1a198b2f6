"""The only composition root: configurations become objects here and nowhere else.

What a plugin's `build` takes: a method `(config, inner)`, inner being the network or, for a wrapper, its base method; a metric
`(config, threshold_step)`; every other kind `(config)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from wsol import plugins
from wsol.config import BackboneConfig, DatasetConfig, EvaluationConfig, PluginConfig, TrainConfig
from wsol.data import Dataset, Split
from wsol.images import ImageStore
from wsol.method import Method
from wsol.metric import Metric
from wsol.network import Backbone, CamHead, Classifier
from wsol.types import ScoreMaps

Extractor = Callable[[Method, Tensor, Tensor], ScoreMaps]
Normalizer = Callable[[Tensor], Tensor]


def network(config: BackboneConfig, num_classes: int) -> Classifier:
    """Backbone and CAM head; the head starts from the pretrained classifier where the classes are ImageNet's 1000."""
    backbone: Backbone = _build("backbone", config)
    head = CamHead(backbone.channels, num_classes)
    if backbone.imagenet_classifier is not None and num_classes == len(backbone.imagenet_classifier[1]):
        with torch.no_grad():
            head.linear.weight.copy_(backbone.imagenet_classifier[0])
            head.linear.bias.copy_(backbone.imagenet_classifier[1])
    return Classifier(backbone, head)


def method(config: TrainConfig, num_classes: int) -> Method:
    """The method with its network, on the CPU."""
    return _method(config.method, network(config.backbone, num_classes))


def dataset(config: DatasetConfig) -> Dataset:
    """The data set; its files are read strictly."""
    built: Dataset = _build("dataset", config)
    return built


def split(data: Dataset, name: str, config: DatasetConfig) -> Split:
    """One split, cut to the configured number of images of each class."""
    per_class = {"train_weaksup": config.subset_per_class, "train_fullsup": config.fullsup_per_class}.get(name)
    return data.split(name) if per_class is None else data.split(name).subset(per_class, config.subset_seed)


def images(data: Dataset, name: str, config: DatasetConfig) -> ImageStore:
    """The images of one split: train_weaksup at `resize_size`, the others on the evaluation grid."""
    return ImageStore(split(data, name, config), config.resize_size if name == "train_weaksup" else config.image_size, config)


def extractor(config: EvaluationConfig) -> Extractor:
    """Makes raw maps from a method and images."""
    built: Extractor = _build("extractor", config.extractor)
    return built


def normalizer(config: EvaluationConfig) -> Normalizer:
    """Brings resized maps to [0, 1]."""
    built: Normalizer = _build("normalizer", config.normalizer)
    return built


def metrics(config: EvaluationConfig) -> list[Metric]:
    """Fresh metrics, nothing counted."""
    return [_build("metric", metric, config.threshold_step) for metric in config.metrics]


def _method(config: PluginConfig, inner: Classifier) -> Method:
    base = getattr(config, "base", None)
    built: Method = _build("method", config, _method(base, inner) if base is not None else inner)
    return built


def _build(kind: str, config: PluginConfig, *arguments: Any) -> Any:
    return plugins.load(kind, config.name).build(config, *arguments)
