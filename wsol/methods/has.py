"""Hide-and-Seek.

Idea: hide random square cells of every training image, differently each time. Where the most discriminative part is
often hidden, the network has to learn the other parts of the object too.

Paper: Hide-and-Seek: Forcing a Network to be Meticulous for Weakly-supervised Object and Action Localization (Singh,
Lee), ICCV 2017.

Symbols: S -> `cell_size` (released code: grid_size); p_hide -> `drop_rate`; mu, the mean pixel -> 0 of the normalised
image.

Kept from the released code (Choe et al., CVPR 2020): `cell_size` is the side of a cell in pixels, not the number of
cells; the cells start at the top left and the last row and column are cut off; each cell of each image is drawn
independently; hidden pixels are 0 after normalisation; only training images are changed.

Not kept: both axes were clipped with the height, which left the right of wide images untouched; here each axis has its
own length. The loop over cells became one tensor operation. The random patch sizes of the paper are not offered, as in
the released code. None of it changes a number of a published run, whose images are square. The variant `released` of
the search spaces takes the last epoch, in single precision, and all images of ImageNet.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from wsol.method import Method
from wsol.network import Classifier
from wsol.schema import PluginConfig
from wsol.types import Batch


class Config(PluginConfig):
    """Settings of the hiding.

    Attributes:
        cell_size: side of a cell in pixels of the network's input; beyond the image's side the whole image is one cell.
        drop_rate: probability that a cell is hidden.
    """

    name: Literal["has"] = "has"
    cell_size: int = Field(default=4, ge=1)
    drop_rate: float = Field(default=0.5, ge=0, le=1)


def build(config: Config, inner: Classifier) -> Method:
    """CAM on images with hidden cells."""
    return HideAndSeek(inner, config)


class HideAndSeek(Method):
    """CAM whose training images have hidden cells."""

    def __init__(self, network: Classifier, config: Config) -> None:
        super().__init__(network)
        self.config = config

    def augment(self, batch: Batch) -> Batch:
        """Hide cells, drawn with torch's global generator."""
        count, _, height, width = batch.images.shape
        size = self.config.cell_size
        draws = torch.rand(count, -(-height // size), -(-width // size), device=batch.images.device)
        return replace(batch, images=hide(batch.images, draws >= self.config.drop_rate, size))


def hide(images: Tensor, kept: Tensor, cell_size: int) -> Tensor:
    """Set the pixels of cells to zero.

    Args:
        images: (B, 3, H, W).
        kept: (B, ceil(H / cell_size), ceil(W / cell_size)) bool, False where a cell is hidden.
        cell_size: side of a cell in pixels.

    Returns:
        (B, 3, H, W), a new tensor.
    """
    height, width = images.shape[2:]
    pixels = kept.repeat_interleave(cell_size, dim=1).repeat_interleave(cell_size, dim=2)[:, :height, :width]
    # Not a product: it would keep the NaN of a broken pixel and give -0.
    return images.masked_fill(~pixels[:, None], 0)
