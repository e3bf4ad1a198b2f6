"""Decides which images a configuration trains on, and which images of a split it is scored on.

    training_images(data, config)        -> ImageStore      `resize_size` wide
    scored_images(data, split, config)   -> ImageStore      on the evaluation grid
    on_the_grid(split, config)           -> ImageStore      the same of a split that was read already
    sizes(config)                        -> Sizes           the number of those images, for forecasts
    described(data, config)              -> str             in words, for the record

Most methods train on train_weaksup and are selected by train_fullsup. One that trains on boxes or masks takes them from
train_fullsup, a share of each class, and is selected by the rest: no image does both. Where all are trained on, they
score themselves, and no epoch or setting can be chosen by that (`TrainConfig.selects_blindly`).
"""

from __future__ import annotations

from dataclasses import replace

from wsol import build
from wsol.config import TrainConfig
from wsol.data.dataset import Dataset, Sizes, Split
from wsol.data.images import ImageStore
from wsol.data.staging import staged
from wsol.errors import InputError


def training_images(data: Dataset, config: TrainConfig) -> ImageStore:
    """The images that a configuration trains on, before the crop. Raises InputError as of `build.images`."""
    if not config.uses_boxes:
        return build.images(data, "train_weaksup", config.data)
    return ImageStore(_divided(data, config)[0], config.data.resize_size, staged(config.data))


def scored_images(data: Dataset, name: str, config: TrainConfig) -> ImageStore:
    """The images of a split that a configuration is scored on. Raises InputError as of `scored_split` and
    `build.images`."""
    return on_the_grid(scored_split(data, name, config), config)


def on_the_grid(split: Split, config: TrainConfig) -> ImageStore:
    """Images on the evaluation grid. Raises InputError as of `build.images`."""
    return ImageStore(split, config.data.image_size, staged(config.data))


def scored_split(data: Dataset, name: str, config: TrainConfig) -> Split:
    """The images of a split that a configuration is scored on: all, or of train_fullsup those that it did not train on.

    Raises:
        InputError: as of `build.split`, or every image of train_fullsup is trained on, and none was to be.
    """
    if name != "train_fullsup" or not config.uses_boxes or config.selects_blindly:
        return build.split(data, name, config.data)
    _, left = _divided(data, config)
    if not len(left):
        raise InputError(
            f"method {config.method.name}: every class of train_fullsup has one image, which is trained on, and none is"
            " left to choose an epoch by; set data.fullsup_per_class: 1 and training.checkpoint: last"
        )
    return left


def sizes(config: TrainConfig) -> Sizes:
    """How many images a configuration trains on (`train_weaksup`), is scored on (`train_fullsup`) and tested on, as
    `build.sizes` has them: as if all classes had equally many images of train_fullsup.

    Raises:
        InputError: as of `build.sizes`.
    """
    known = build.sizes(config.data)
    if not config.uses_boxes:
        return known
    of_each = known.train_fullsup / known.classes
    trained = round(known.classes * _trained_of(round(of_each), config)) if of_each >= 1 else known.train_fullsup
    left = known.train_fullsup if config.selects_blindly else known.train_fullsup - trained
    return replace(known, train_weaksup=trained, train_fullsup=left)


def described(data: Dataset, config: TrainConfig) -> str:
    """What a configuration trains on: `all`, which part of train_weaksup, or which of train_fullsup."""
    if not config.uses_boxes:
        return build.training_images(data, config.data)
    trained, left = _divided(data, config)
    selection = f"the other {len(left)} select" if len(left) else "they score themselves, and select nothing"
    return f"{len(trained)} images of train_fullsup with their boxes or masks; {selection}"


def _divided(data: Dataset, config: TrainConfig) -> tuple[Split, Split]:
    """The images of train_fullsup that are trained on, and the others. With more images of each class, or a larger
    share, those that were trained on before are among them."""
    whole = data.split("train_fullsup")
    classes = [members[: config.data.fullsup_per_class] for members in whole.drawn(config.data.subset_seed)]
    trained = [position for members in classes for position in members[: _trained_of(len(members), config)]]
    left = [position for members in classes for position in members[_trained_of(len(members), config) :]]
    return whole.only(sorted(trained)), whole.only(sorted(left))


def _trained_of(images: int, config: TrainConfig) -> int:
    """How many of a class's images are trained on: the share, rounded, but at least one, and not all, unless there is
    one only or all are wanted."""
    share = config.method.fullsup_share()
    return images if config.selects_blindly else max(1, min(round(share * images), images - 1))
