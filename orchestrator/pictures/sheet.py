"""Some images of a split on one sheet, with what is annotated: a look before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from orchestrator.pictures.drawing import MIN_SIDE, NO_BOXES, photo_with_boxes
from wsol.ops.boxes import resize_boxes
from wsol.schema import DatasetConfig

if TYPE_CHECKING:
    from wsol.data.dataset import Split
    from wsol.types import Annotation

COLUMNS, ROWS = 6, 4


def sheet(split: Split, config: DatasetConfig) -> np.ndarray:
    """Draw images from all of a split, with their true boxes or the outlines of their masks.

    Args:
        split: where it has neither boxes nor masks, the images are drawn alone.
        config: of the data set.

    Returns:
        (192 R, 192 C, 3) uint8 RGB, R and C at most 4 and 6; images are squares, as a network sees them.

    Raises:
        InputError: an image or a mask cannot be read.
    """
    from wsol.data.images import ImageStore

    count = min(len(split), COLUMNS * ROWS)
    part = split.only(np.linspace(0, len(split) - 1, count).round().astype(int).tolist())
    images = ImageStore(part, MIN_SIDE, config.model_copy(update={"cache": "off"})).read(range(count))
    is_annotated = part.metadata.boxes is not None or part.metadata.masks is not None
    truths = [_truth(part.annotation(place, MIN_SIDE)) if is_annotated else NO_BOXES for place in range(count)]
    drawn = [photo_with_boxes(np.asarray(image), truth) for image, truth in zip(images, truths, strict=True)]
    drawn += [np.full_like(drawn[0], 255)] * (-count % COLUMNS if count > COLUMNS else 0)
    return np.vstack([np.hstack(drawn[first : first + COLUMNS]) for first in range(0, len(drawn), COLUMNS)])


def _truth(annotation: Annotation) -> np.ndarray:
    """Boxes on the square, or the pixels of the objects."""
    if annotation.mask is not None:
        return np.asarray(annotation.mask == 1)
    return resize_boxes(annotation.boxes, annotation.image_size, (MIN_SIDE, MIN_SIDE))
