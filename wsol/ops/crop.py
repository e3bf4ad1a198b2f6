"""Boxes around the high cells of a map, the images enlarged inside them, and maps of those pasted back.

A box is a row (x, y, width, height) of an int64 tensor on the CPU: its first column and row, and how many of each it
has. Boxes are found on the CPU, so that slices of every size can be cut without asking the device again. A loop over
the images cuts them: a resize of the slice repeats the slice's own border, which no resize of the whole image does, and
normalizers take maps of one size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsol.ops import component_tree as tree


def enclosing_boxes(masks: Tensor) -> Tensor:
    """The smallest box around all cells of each mask; the whole map if the mask is empty.

    Args:
        masks: (B, h, w) bool, on any device.

    Returns:
        (B, 4) int64 x, y, width, height in cells.
    """
    masks = masks.cpu()
    x, width = _extent(masks.any(1))
    y, height = _extent(masks.any(2))
    return torch.stack((x, y, width, height), dim=1)


def legacy_boxes(masks: Tensor) -> Tensor:
    """The box around all components of each mask as the released code of CropCAM merges them, which may end too early.

    From the last component to the first (by their first cells in reading order), the box's corner moves left and up,
    but its width and height stay, unless the component ends beyond them. Arguments and result are those of
    `enclosing_boxes`.
    """
    boxes = enclosing_boxes(masks)
    for box, mask in zip(boxes, masks.cpu(), strict=True):
        if mask.any():
            parts = tree.components(mask.numpy().astype(np.uint8), areas=True)
            last_first = parts[parts[:, tree.ANCHOR].argsort()[::-1]]
            box[2] = _merged_length(last_first[:, tree.LEFT], last_first[:, tree.RIGHT])
            box[3] = _merged_length(last_first[:, tree.TOP], last_first[:, tree.BOTTOM])
    return boxes


def squared(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Widen the shorter side of each box to both sides. At the right and lower border the box is clipped, not moved, so
    it is not a square there.

    Args:
        boxes: (B, 4) int64 x, y, width, height.
        size: (h, w) of the map.

    Returns:
        (B, 4) int64.
    """
    x, y, width, height = boxes.unbind(1)
    side = torch.maximum(width, height)
    x, y = ((2 * start - (side - length)).clamp(min=0) // 2 for start, length in ((x, width), (y, height)))
    return torch.stack((x, y, side.minimum(size[1] - x), side.minimum(size[0] - y)), dim=1)


def rescaled(boxes: Tensor, size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Boxes (B, 4) of a map of `size` (h, w) on a grid (H, W), H >= h and W >= w; edges between two pixels move to the
    first one."""
    factor, divisor = torch.tensor(grid[::-1]), torch.tensor(size[::-1])
    start = boxes[:, :2] * factor // divisor
    return torch.cat((start, (boxes[:, :2] + boxes[:, 2:]) * factor // divisor - start), dim=1)


def enlarge(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic resize of maps (B, h, w) or images (B, c, h, w) to `size` (H, W), of their own type; overshoot is
    kept."""
    planes = maps if maps.ndim == 4 else maps[:, None]
    resized = F.interpolate(planes, size=size, mode="bicubic", align_corners=False)
    return resized if maps.ndim == 4 else resized[:, 0]


def zoom(images: Tensor, boxes: Tensor) -> Tensor:
    """Every image's box, enlarged to the size of the image.

    Args:
        images: (B, c, H, W).
        boxes: (B, 4) int64 in pixels.

    Returns:
        (B, c, H, W), in the memory layout of `images`; the network would convert another one.
    """
    zoomed, size = torch.empty_like(images), (images.shape[2], images.shape[3])
    for target, image, (x, y, w, h) in zip(zoomed, images, boxes.tolist(), strict=True):
        target.copy_(enlarge(image[None, :, y : y + h, x : x + w], size)[0])
    return zoomed


def paste(maps: Tensor, inside: Tensor, boxes: Tensor, normalizer: Callable[[Tensor], Tensor]) -> Tensor:
    """Paste another map into the box of each map. It is resized first and then normalised, so each box has its own
    scale.

    Args:
        maps: (B, h, w) in [0, 1]; not changed.
        inside: (B, h', w') of the same type, raw.
        boxes: (B, 4) int64 in cells of `maps`; a box of a single cell, which cannot be normalised, is left as it is.
        normalizer: maps (1, H, W) to [0, 1].

    Returns:
        (B, h, w) in [0, 1].
    """
    pasted = maps.clone()
    for target, source, (x, y, w, h) in zip(pasted, inside, boxes.tolist(), strict=True):
        if w * h > 1:
            target[y : y + h, x : x + w] = normalizer(enlarge(source[None], (h, w)))[0]
    return pasted


def _extent(used: Tensor) -> tuple[Tensor, Tensor]:
    """The first True of each row (B, n) and the length up to the last one; the whole row if there is none."""
    flags = (used | ~used.any(1, keepdim=True)).byte()
    first = flags.argmax(1)
    return first, flags.shape[1] - flags.flip(1).argmax(1) - first


def _merged_length(first: np.ndarray, last: np.ndarray) -> int:
    return int((last + 1 - np.minimum.accumulate(first)).max())
