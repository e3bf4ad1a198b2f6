"""The baseline that does not look at the image: the same map for every image.

The centre Gaussian is the field's no-learning baseline (Choe et al., CVPR 2020), and the strictest end-to-end test of
annotations and metrics that needs no image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from wsol.metric import Metric, Sample
from wsol.ops.boxes import Floats, boxes_by_level
from wsol.types import Annotation


def center_gaussian(size: tuple[int, int], sigma: float) -> Floats:
    """An isotropic Gaussian at the centre, from 0 in the corners to 1 in the middle.

    Args:
        size: (H, W) in pixels, more than one pixel.
        sigma: standard deviation in pixels. On a square grid, box metrics do not depend on it.

    Returns:
        (H, W) float64 in [0, 1].
    """
    height, width = size
    y, x = np.ogrid[:height, :width]
    bump = np.exp(-((x - (width - 1) / 2) ** 2 + (y - (height - 1) / 2) ** 2) / (2 * sigma**2))
    bump -= bump.min()
    scaled: Floats = bump / bump.max()
    return scaled


def score_constant_map(
    score_map: Floats, annotations: Iterable[Annotation], metrics: Sequence[Metric], threshold_step: float = 0.001
) -> dict[str, float]:
    """Score one map as if it were the map of every image; its boxes are found once.

    Args:
        score_map: (H, W) float64 in [0, 1].
        annotations: the annotations of the images.
        metrics: new metrics that need no logits, with the same threshold step.
        threshold_step: distance of the score thresholds, in (0, 1).

    Returns:
        The values of all metrics.
    """
    boxes = boxes_by_level(score_map)
    for annotation in annotations:
        sample = Sample(score_map, annotation, label=0, threshold_step=threshold_step, shared_boxes=boxes)
        for metric in metrics:
            metric.update(sample)
    return {name: value for metric in metrics for name, value in metric.compute().items()}
