"""The composition root: turns configurations into objects. A plugin that holds another one, as CropCAM holds its
normalizer, builds that one itself.

What a plugin's `build` takes: a method `(config, inner)`, inner being the network or, for a wrapper, its base method; a
metric `(config, threshold_step)`; every other kind `(config)`. A data set may also export `sizes(config)`, for
forecasts without its files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from wsol import plugins
from wsol.checkpoint import read_state
from wsol.config import EvaluationConfig, TrainConfig
from wsol.console import say_once
from wsol.data.dataset import SPLIT_FOLDERS, Dataset, Sizes, Split
from wsol.data.images import ImageStore
from wsol.data.staging import staged
from wsol.errors import InputError, first_line
from wsol.extractor import Extractor
from wsol.files import exists
from wsol.method import Method
from wsol.metric import Metric
from wsol.network import Backbone, CamHead, Classifier
from wsol.placement import place
from wsol.schema import BackboneConfig, DatasetConfig, PluginConfig

Normalizer = Callable[[Tensor], Tensor]


def network(config: BackboneConfig, num_classes: int) -> Classifier:
    """Backbone and CAM head; the head starts from the pretrained classifier if the classes are ImageNet's 1000."""
    backbone: Backbone = plugins.build("backbone", config)
    head = CamHead(backbone.channels, num_classes)
    if backbone.imagenet_classifier is not None and num_classes == len(backbone.imagenet_classifier[1]):
        with torch.no_grad():
            head.linear.weight.copy_(backbone.imagenet_classifier[0])
            head.linear.bias.copy_(backbone.imagenet_classifier[1])
    return Classifier(backbone, head)


def method(config: TrainConfig, num_classes: int) -> Method:
    """The method with its network and initial weights, on the CPU. Raises InputError where `initial_run` has no weights
    for it."""
    if config.initial_run is None:
        return around(config.method, network(config.backbone, num_classes))
    built = bare_method(config, num_classes)
    _start_from(built, Path(config.initial_run) / "best")
    return built


def bare_method(config: TrainConfig, num_classes: int) -> Method:
    """The method with random weights, for callers that replace them: nothing is downloaded or read."""
    return around(config.method, network(config.backbone.model_copy(update={"weights": "none"}), num_classes))


def trained_method(config: TrainConfig, state: Mapping[str, Tensor], num_classes: int) -> Method:
    """The method with the weights of its state dict, on this worker's device."""
    built = bare_method(config, num_classes)
    built.load_state_dict(state)
    return place(built)


def under(built: Method, config: TrainConfig) -> Method:
    """A method with other settings that change no weight. It shares the present weights of the given method.

    Raises:
        InputError: with these settings the method has other weights.
    """
    varied = built.varied(config.method)
    if varied is not None:
        return varied
    other = bare_method(config, built.network.num_classes)
    try:
        other.load_state_dict(built.state_dict(), assign=True)
    except RuntimeError as error:
        raise InputError(f"post_hoc: the weights do not fit {config.method!r}: {first_line(error)}") from None
    return other


def around(config: PluginConfig, inner: Classifier) -> Method:
    """Build a method, with the methods inside of it, on a network."""
    base = getattr(config, "base", None)
    built: Method = plugins.build("method", config, inner if base is None else around(base, inner))
    return built


def dataset(config: DatasetConfig) -> Dataset:
    """The data set. Its files are checked when they are read, from this node's disk if they come as an archive."""
    built: Dataset = plugins.build("dataset", staged(config))
    return built


def split(data: Dataset, name: str, config: DatasetConfig) -> Split:
    """One split, cut to the configured list, or to the configured number of images of each class.

    Raises:
        InputError: see `Dataset.split` and `Split.listed`; or the list is missing and no number of images is set
            instead.
    """
    listed = subset_list(data, config) if name == "train_weaksup" else None
    if listed is not None and listed.is_file():
        return data.split(name).listed(listed)
    if listed is not None and config.subset_per_class is None:
        raise InputError(
            f"{listed}: no such list of images, data.subset_list names it; correct the name, say with"
            " data.subset_per_class how many images of each class to take instead, or set data.subset_list=null for all"
        )
    per_class = {"train_weaksup": config.subset_per_class, "train_fullsup": config.fullsup_per_class}.get(name)
    return data.split(name) if per_class is None else data.split(name).subset(per_class, config.subset_seed)


def subset_list(data: Dataset, config: DatasetConfig) -> Path | None:
    """The path of the configured list of training images, if it exists."""
    return (
        None if config.subset_list is None else data.metadata_root / SPLIT_FOLDERS["train_weaksup"] / config.subset_list
    )


def training_images(data: Dataset, config: DatasetConfig) -> str:
    """The images that a method is trained on, in words, for the record: `all`, or which part of train_weaksup."""
    listed = subset_list(data, config)
    if listed is not None and listed.is_file():
        return f"the images of {listed.name}"
    if config.subset_per_class is None:
        return "all"
    instead = "" if listed is None else f"; there is no {listed}"
    return f"{config.subset_per_class} images of each class, drawn with seed {config.subset_seed}{instead}"


def sizes(config: DatasetConfig) -> Sizes:
    """How many images the splits have, cut as configured. If the plugin knows the sizes, no file is read.

    Raises:
        InputError: the plugin has to count, and files are missing.
    """
    plugin = plugins.load("dataset", config.name)
    if not hasattr(plugin, "sizes"):
        data = dataset(config)
        counts = {name: len(split(data, name, config)) for name in SPLIT_FOLDERS}
        return Sizes(data.num_classes, **counts)
    known: Sizes = plugin.sizes(config)
    weaksup, fullsup = (
        per_class and per_class * known.classes for per_class in (config.subset_per_class, config.fullsup_per_class)
    )
    cut = (
        min(known.train_weaksup, weaksup or known.train_weaksup),
        min(known.train_fullsup, fullsup or known.train_fullsup),
    )
    return replace(known, train_weaksup=cut[0], train_fullsup=cut[1])


def images(data: Dataset, name: str, config: DatasetConfig) -> ImageStore:
    """The images of one split: train_weaksup at `resize_size`, the others on the evaluation grid."""
    return ImageStore(
        split(data, name, config), config.resize_size if name == "train_weaksup" else config.image_size, staged(config)
    )


def extractor(config: PluginConfig) -> Extractor:
    """The extractor, which makes raw maps from a method and images."""
    built: Extractor = plugins.build("extractor", config)
    return built


def normalizer(config: EvaluationConfig) -> Normalizer:
    """The normalizer, which brings resized maps to [0, 1]."""
    built: Normalizer = plugins.build("normalizer", config.normalizer)
    return built


def metrics(config: EvaluationConfig) -> list[Metric]:
    """New metrics that have counted nothing."""
    return [plugins.build("metric", metric, config.threshold_step) for metric in config.metrics]


def _start_from(method: Method, best: Path) -> None:
    """Load the weights that another run exported to `best/`, with whatever method it was trained, into this network."""
    path = best / "weights.pt"
    if not exists(path):
        raise InputError(f"initial_run: {path} is missing; give the folder of a finished run")
    state = {
        key.rpartition("network.")[2]: value
        for key, value in read_state(path, _recorded_digest(best))["method"].items()
        if "network." in key
    }
    ours = method.network.state_dict()
    wrong = [
        key for key in {**ours, **state} if key not in ours or key not in state or state[key].shape != ours[key].shape
    ]
    if wrong:
        raise InputError(
            f"initial_run: the network in {path} is another one:"
            f" {', '.join(wrong[:5])}{' ...' if len(wrong) > 5 else ''} ({len(wrong)} of {len(ours)} weights) are"
            " missing, unexpected or of another shape; backbone, data set and head must be the same"
        )
    method.network.load_state_dict(state)


def _recorded_digest(best: Path) -> str | None:
    """The SHA-256 of the weights that the run exported; None, with a note to the user, if it recorded none."""
    path = best / "result.json"
    try:
        digest = json.loads(path.read_text())["checkpoint_sha256"]
    except (OSError, KeyError):
        say_once(f"initial_run: {path} has no SHA-256 of the weights, they are taken as they are")
        return None
    except (ValueError, TypeError) as error:
        raise InputError(f"initial_run: {path} is damaged ({first_line(error)}); restore the run's folder") from None
    return str(digest)
