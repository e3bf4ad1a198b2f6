"""Draws the score maps of a few fixed images of train_fullsup after an epoch, for TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.pictures.drawing import NO_BOXES, encoded, map_overlay, shrunk, shrunk_region
from orchestrator.pictures.looks import View, look_at
from wsol.checkpoint import SETTING
from wsol.config import TrainConfig

if TYPE_CHECKING:
    from wsol.checkpoint import Record
    from wsol.data.images import ImageStore
    from wsol.method import Method


IMAGES = 8


SIDE = 192


class Overlays:
    """The same images after any epoch, each of a different class as far as there are classes. They are read when they
    are first used.

    Args:
        settings: the settings that every epoch is scored under, the trial's own configuration first.
    """

    def __init__(self, settings: Sequence[TrainConfig]) -> None:
        self.settings = settings
        self._images: ImageStore | None = None

    def __call__(self, method: Method, record: Record) -> list[tuple[str, bytes, int]]:
        """Yield name, JPEG and side in pixels of each image, with the true and the predicted region if the metrics
        choose a threshold; and then, under `<image name>/<map>`, the further maps that the method shows of the image.

        Args:
            method: the method after the epoch of the record.
            record: the epoch's record.
        """
        from wsol import build
        from wsol.evaluation import further_maps

        self._images = self._images or self._open()
        metrics = {name.removeprefix("train_fullsup/"): value for name, value in record.items()}
        chosen = self.settings[int(record.get(SETTING, 0))]
        own = chosen.method == self.settings[0].method
        view = View("", method if own else build.under(method, chosen), chosen, metrics)
        pictures = []
        further = further_maps(view.method, self._images, chosen.evaluation.batch_size)
        for position, (look, more) in enumerate(zip(look_at(view, self._images), further, strict=True)):
            image = np.asarray(self._images.read([position])[0])
            region = None if view.threshold is None else shrunk_region(look.region, len(image), SIDE)
            truth = shrunk_region(look.truth, len(image), SIDE)
            name, photo = self._images.split.image_ids[position], shrunk(image, SIDE)
            drawn = {name: map_overlay(photo, shrunk(look.score_map, SIDE) / 255, region, truth)}
            for label, scores in more.items():
                drawn[f"{name}/{label}"] = map_overlay(photo, shrunk(scores, SIDE), None, NO_BOXES)
            pictures += [(tag, encoded(picture), len(picture)) for tag, picture in drawn.items()]
        return pictures

    def _open(self) -> ImageStore:
        from wsol import build, supervision
        from wsol.data.images import ImageStore

        data = self.settings[0].data
        scored = supervision.scored_split(build.dataset(data), "train_fullsup", self.settings[0])
        split = scored.subset(1, data.subset_seed)
        evenly = np.linspace(0, len(split) - 1, min(IMAGES, len(split))).round().astype(int)
        return ImageStore(split.only(evenly.tolist()), data.image_size, data.model_copy(update={"cache": "off"}))
