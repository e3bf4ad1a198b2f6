"""Thresholded average pooling.

Idea: global average pooling divides by the size of the image, so a channel that fires on a small part gets a large
weight. If only its strong cells are averaged, a channel counts the same however large its part is, and the class map is
no longer dominated by the smallest parts.

Paper: Rethinking Class Activation Mapping for Weakly Supervised Object Localization (Bae, Noh, Kim), ECCV 2020.

Symbols: theta (released code: avgpool_threshold) -> `pool_threshold`; the pooled features -> `thresholded_average`. The
other two parts of the paper belong to evaluation: negative weight clamping is `clip_negative_weights` of the extractor,
the percentile is the normalizer `pas`.

Kept from the released code: every image and channel has its own threshold, a share of its maximum; a cell is averaged
where it is strictly above it, in evaluation too; no gradient passes through the threshold and the count; a channel
without a positive cell pools to 0; the class map does not use the threshold. The pretrained body learns at a tenth of
the rate of the extra convolution and the classifier: `optim.lr` is the rate of the body. The released code scaled the
body's gradient but not its decay, so its weight decay is ten times `optim.weight_decay`. In ResNet, for which no code
was released, the whole body is pretrained and learns at the body's rate.

Not kept: the averaged cells were counted a second time by their sign, which changes nothing, because no negative cell
is above a share of its maximum. The epoch was chosen on the test images, which no setting offers. Not available as
settings either, because the numbers could not be compared with any others: centre crops of the test images, boxes that
are one pixel larger, the whole image as the box of a map without a contour, and an overlap that is not 0 for boxes that
are apart in both directions. The variant `released` of the search spaces takes the last epoch, in single precision.
"""

from __future__ import annotations

from typing import Literal, cast

from pydantic import Field
from torch import Tensor

from wsol.method import Method, ParameterGroup
from wsol.network import CamHead, Classifier
from wsol.schema import PluginConfig

FAST_BLOCKS: dict[str, tuple[str, ...]] = {"resnet50": ()}
"""Backbone -> the blocks that learn at the head's rate, where they are others than the backbone names."""


class Config(PluginConfig):
    """Settings of the pooling.

    Attributes:
        pool_threshold: theta in [0, 1), in units of a channel's maximum: the cells above it are averaged. 0 averages
            the positive cells, which is not global average pooling.
    """

    name: Literal["tap"] = "tap"
    pool_threshold: float = Field(default=0.1, ge=0, lt=1)

    def reason_against_tokens(self) -> str:
        return "it averages above a share of a channel's maximum, and tokens have channels whose maximum is negative"


def build(config: Config, inner: Classifier) -> Method:
    """CAM with another pooling; the head keeps its weights."""
    backbone = inner.backbone
    backbone.fast_blocks = FAST_BLOCKS.get(backbone.name, backbone.fast_blocks)
    inner.head = ThresholdedHead(cast(CamHead, inner.head), config.pool_threshold)
    return ThresholdedPooling(inner)


class ThresholdedPooling(Method):
    """CAM whose body learns at a tenth of the head's rate, with the decay of the head."""

    def parameter_groups(self) -> list[ParameterGroup]:
        """Backbone and head; of the backbone only the gradient is scaled down, not the weight decay."""
        body, head = super().parameter_groups()
        return [{**body, "scaled_decay": True}, head]


class ThresholdedHead(CamHead):
    """A CAM head that averages the strong cells of each channel.

    Args:
        head: the head whose linear layer is used.
        pool_threshold: threshold in [0, 1), in units of a channel's maximum.
    """

    def __init__(self, head: CamHead, pool_threshold: float) -> None:
        super().__init__(head.linear.in_features, head.linear.out_features)
        self.linear = head.linear
        self.pool_threshold = pool_threshold

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> logits (B, K)."""
        logits: Tensor = self.linear(thresholded_average(features, self.pool_threshold))
        return logits


def thresholded_average(features: Tensor, threshold: float) -> Tensor:
    """Mean of the cells above a share of their channel's maximum.

    Args:
        features: (B, C, h, w); a cell that is not positive is never averaged.
        threshold: threshold in [0, 1), in units of the maximum of each image and channel.

    Returns:
        (B, C); 0 with a zero gradient for a channel without a positive cell.
    """
    strong = features > threshold * features.detach().amax(dim=(2, 3), keepdim=True)
    return features.where(strong, 0).sum(dim=(2, 3)) / strong.sum(dim=(2, 3)).clamp(min=1)
