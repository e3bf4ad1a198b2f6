"""MaxBoxAccV2 and PxAP for other people's training loops, as metrics of torchmetrics: `pip install
'wsol-search[torchmetrics]'`.

    metric = MaxBoxAccV2()
    metric.update(maps, boxes)      # for every batch: (B, H, W) on any device, and a list of B tensors (n, 4)
    metric.compute()                # percent, over all processes

They count with the metrics of this package, so the number is theirs to the last digit. What is kept, and summed over
processes, are counts over all score thresholds: averages of parts would be another number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from wsol import plugins
from wsol.metric import Metric, Sample
from wsol.metrics._pixels import BACKGROUND, OBJECT
from wsol.ops.resize import resize_maps
from wsol.threads import map_ahead
from wsol.types import Annotation

try:
    import torchmetrics
except ImportError:
    raise ImportError("wsol.trainer_metrics needs torchmetrics: pip install 'wsol-search[torchmetrics]'") from None

IGNORED = 255
"""In a mask, with `OBJECT` and `BACKGROUND`."""
NO_BOXES = np.empty((0, 4), np.int64)


class Counted(torchmetrics.Metric):  # type: ignore[misc]
    """A metric of `wsol/metrics/` with its sums as states.

    Args:
        size: (H, W) of the evaluation grid, to which maps are resized (bicubic) as the protocol does; None: maps are
            counted as they are.
        normalizer: by which maps are brought to [0, 1]: its name in YAML; `none` where they lie there already.
        threshold_step: distance of the score thresholds, in (0, 1).
        settings: of torchmetrics, such as `process_group`.
    """

    name: ClassVar[str]
    is_differentiable, higher_is_better, full_state_update = False, True, False

    def __init__(
        self,
        *,
        size: tuple[int, int] | None = None,
        normalizer: str = "min_max",
        threshold_step: float = 0.001,
        **settings: object,
    ) -> None:
        super().__init__(**settings)
        self.size, self.threshold_step = size, threshold_step
        self.normalize = plugins.build("normalizer", plugins.load("normalizer", normalizer).Config())
        for name, zero in self._counter().state().items():
            self.add_state(name, zero, dist_reduce_fx="sum")

    def compute(self) -> Tensor:
        """Percent, a float64 scalar. Raises ValueError before the first image."""
        counter = self._counter()
        counter.merge({name: getattr(self, name) for name in counter.sums})
        return torch.tensor(counter.compute()[self.name], dtype=torch.float64, device=self.device)

    def _counter(self) -> Metric:
        """The metric at zero."""
        config = plugins.load("metric", self.name).Config()
        built: Metric = plugins.build("metric", config, self.threshold_step)
        return built

    def _count(self, maps: Tensor, annotations: Iterator[Annotation]) -> None:
        resized = maps.detach().cpu().double() if self.size is None else resize_maps(maps.detach().cpu(), self.size)
        samples = zip(self.normalize(resized).numpy(), annotations, strict=True)
        threads = max(1, torch.get_num_threads())
        batch = self._counter()  # a batch that cannot be counted adds nothing
        for sums in map_ahead(self._sums, samples, threads=threads, ahead=4 * threads):
            batch.merge(sums)
        for name, value in batch.sums.items():
            setattr(self, name, getattr(self, name) + value.to(self.device))

    def _sums(self, sample: tuple[np.ndarray, Annotation]) -> dict[str, Tensor]:
        """What one image adds."""
        counter, (score_map, annotation) = self._counter(), sample
        counter.update(Sample(score_map, annotation, 0, None, self.threshold_step))
        return counter.sums


class MaxBoxAccV2(Counted):
    """Percent of images right, mean over IoU 30, 50 and 70, each at its best threshold; see
    `wsol/metrics/max_box_acc_v2.py`, and `Counted` for the arguments."""

    name = "max_box_acc_v2"

    def update(
        self, maps: Tensor, boxes: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]] | None = None
    ) -> None:
        """Count a batch.

        Args:
            maps: (B, h, w) of any float type, scale and device: of each image's own class.
            boxes: B of (n, 4) whole numbers, n > 0: x0 y0 x1 y1 in pixels, both ends inside.
            image_sizes: B of (W, H) in pixels of the images that the boxes are in; None: they are in pixels of the maps
                that are counted.

        Raises:
            ValueError: their numbers differ, or a box or a map cannot be counted.
        """
        _require_maps(maps, len(boxes))
        height, width = self.size or maps.shape[1:]
        sizes = [(width, height)] * len(boxes) if image_sizes is None else image_sizes
        self._count(
            maps,
            (Annotation((int(w), int(h)), _whole(one)) for one, (w, h) in zip(boxes, sizes, strict=True)),
        )


class PxAP(Counted):
    """Percent, the area under the curve of precision over recall of all pixels; see `wsol/metrics/pxap.py`, and
    `Counted` for the arguments."""

    name = "pxap"

    def update(self, maps: Tensor, masks: Tensor, ignore: Tensor | None = None) -> None:
        """Count a batch.

        Args:
            maps: (B, h, w) of any float type, scale and device: of each image's own class.
            masks: (B, H, W), as large as the maps that are counted: 1 or true is the object, 0 or false the background,
                255 ignored.
            ignore: (B, H, W) bool, further pixels that count nowhere, unless they are of the object.

        Raises:
            ValueError: shapes differ, a mask has other values, or a map cannot be counted.
        """
        _require_maps(maps, len(masks))
        whole = masks.detach().cpu().to(torch.int64)
        if not torch.isin(whole, torch.tensor([BACKGROUND, OBJECT, IGNORED])).all():
            raise ValueError(
                f"a mask has the values {OBJECT} object, {BACKGROUND} background and {IGNORED} ignored only"
            )
        if ignore is not None:
            whole = whole.where(~ignore.detach().cpu().bool() | (whole == OBJECT), IGNORED)
        self._count(maps, (Annotation((0, 0), NO_BOXES, mask) for mask in whole.to(torch.uint8).numpy()))


def _require_maps(maps: Tensor, annotated: int) -> None:
    if maps.ndim != 3 or len(maps) != annotated:
        raise ValueError(f"maps are (B, h, w), one for each annotated image: got {tuple(maps.shape)} for {annotated}")


def _whole(boxes: Tensor) -> np.ndarray:
    """Boxes (n, 4) as whole numbers. Raises ValueError where one is none: rounding is the caller's to choose."""
    given = torch.as_tensor(boxes).detach().cpu()
    whole = given.to(torch.int64)
    if not torch.equal(whole.to(given.dtype), given):
        raise ValueError("boxes are whole pixels, x0 y0 x1 y1 with both ends inside: round them first")
    return whole.numpy()
