"""Self-produced guidance.

Idea: where the class map is certain, its high and low cells teach a second map, from earlier features, which pixels are
object and background. That map teaches a third one, from still earlier features, and both together teach a fourth one,
from the last features. The network learns to tell object from background without a mask.

Paper: Self-produced Guidance for Weakly-supervised Object Localization (Zhang, Wei, Kang, Yang, Huang), ECCV 2018.

Symbols: A, the attention map -> `attention`; B1, B2 -> `GuidedHead.b1`, `GuidedHead.b2`, with the layers they share ->
`shared`; C -> `fused`; the thresholds delta_h, delta_l of the three guidances (released code: 1h, 1l, 2h, 2l, 3h, 3l)
-> `attention_high/low` (teaches B2), `b2_high/low` (teaches B1), `fused_high/low` (teaches C).

Kept from the released code (Choe et al., CVPR 2020): all terms weigh 1, and no gradient passes through a guidance;
pixels above the high threshold are object; if there are fewer than 30 of 224x224 (scaled for other sizes), those above
0.7 times the maximum are. Then pixels below the low threshold are background, even if they were object; the mean runs
over all decided pixels of the batch. The map is the class map alone; its classifier is a convolution, so it has the
bias. B2 of Inception reads `mixed_6d`, not `mixed_6e`. VGG has two convolutions of 512 channels in place of `conv6`,
pools 3x3 after its fourth group, and learns at the head's rate from there on. In ResNet the new layers learn at the
backbone's rate.

Not kept: a batch without a decided pixel gave NaN, here 0. The maps of all classes were enlarged to the image, here the
one of the label; the image's size was taken to be 224; the guidance was computed in evaluation too, where nothing uses
it. None of it changes a number of a published run. The variant `released` of the search spaces takes the last epoch, in
single precision, and all images of ImageNet.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn

from wsol.method import Method
from wsol.network import Backbone, CamHead, Classifier
from wsol.schema import PluginConfig
from wsol.types import Activations, Batch, Progress

SOURCES = {"vgg16": ("pool4", "conv5_3"), "resnet50": ("layer3_0", "layer3_5"), "inception_v3": ("pool_3", "mixed_6d")}
"""Backbone -> the blocks that B1 and B2 read."""

WIDTHS = {"inception_v3": 512}
"""Channels inside B1 and B2; in other networks, the number of channels of the block that B2 reads."""

FUSED_WIDTH = 512
SLOW_HEADS = ("resnet50",)
FEWEST, GRID = 30, 224 * 224
UNDECIDED = 255.0


class Config(PluginConfig):
    """Thresholds in [0, 1]: pixels above a high one are taken as object, below a low one as background; high >= low.

    Attributes:
        attention_high: high threshold of the rescaled class map, which teaches B2.
        attention_low: low threshold of the same map.
        b2_high: high threshold of the map of B2, which teaches B1.
        b2_low: low threshold of the same map.
        fused_high: high threshold of the mean of both maps, which teaches C.
        fused_low: low threshold of the same map.
    """

    name: Literal["spg"] = "spg"
    attention_high: float = Field(default=0.7, ge=0, le=1)
    attention_low: float = Field(default=0.01, ge=0, le=1, validate_default=True)
    b2_high: float = Field(default=0.5, ge=0, le=1)
    b2_low: float = Field(default=0.05, ge=0, le=1, validate_default=True)
    fused_high: float = Field(default=0.7, ge=0, le=1)
    fused_low: float = Field(default=0.1, ge=0, le=1, validate_default=True)

    @field_validator("attention_low", "b2_low", "fused_low")
    @classmethod
    def _not_above_high(cls, low: float, info: ValidationInfo) -> float:
        partner = str(info.field_name).replace("_low", "_high")
        if low > info.data.get(partner, low):  # absent where it is invalid itself
            raise ValueError(f"{low} is above {partner} {info.data[partner]}")
        return low

    def reason_against_tokens(self) -> str:
        return "its side maps read larger maps of earlier blocks, and all blocks have one size"


def build(config: Config, inner: Classifier) -> Method:
    """The head with its three side maps."""
    if inner.backbone.name == "vgg16":
        _change_vgg16(inner.backbone)
    inner.head = GuidedHead(inner.backbone, inner.num_classes)
    _xavier(inner.head)
    return SPG(inner, config)


class SPG(Method):
    """A classifier with three maps of the object that teach each other."""

    def __init__(self, network: Classifier, config: Config) -> None:
        super().__init__(network)
        self.config = config
        self.slow_head = network.backbone.name in SLOW_HEADS

    def activate(self, images: Tensor, labels: Tensor, taps: Iterable[str] = ()) -> Activations:
        """Run the network; the outputs that the side maps read are among the taps."""
        return super().activate(images, labels, {*taps, *self._head().sources})

    def loss_terms(self, activations: Activations, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Cross entropy and the three guidances: `attention_guidance` of B2, `b2_guidance` of B1, `fused_guidance` of
        C."""
        config, size = self.config, tuple(batch.images.shape[-2:])
        b1, b2, fused = (enlarge(side, size) for side in self._head().sides(activations))
        guide_b1, guide_b2 = b1.detach().sigmoid(), b2.detach().sigmoid()
        attentions = (
            (attention(self.class_map(activations, labels), size), weight) for labels, weight in batch.label_sets()
        )
        by_attention = [
            weight * guidance(b2, seeds(a, config.attention_high, config.attention_low)) for a, weight in attentions
        ]
        return {
            **super().loss_terms(activations, batch, progress),
            "attention_guidance": torch.stack(by_attention).sum(),
            "b2_guidance": guidance(b1, seeds(guide_b2, config.b2_high, config.b2_low)),
            "fused_guidance": guidance(fused, seeds((guide_b1 + guide_b2) / 2, config.fused_high, config.fused_low)),
        }

    def _head(self) -> GuidedHead:
        return cast(GuidedHead, self.network.head)


class GuidedHead(CamHead):
    """The CAM head, and three maps of one channel from the features and two earlier blocks."""

    biased_maps = True  # a convolution in every network

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__(backbone.channels, num_classes)
        self.sources = sources(backbone)
        from_b1, from_b2 = (backbone.info[block].channels for block in self.sources)
        width = WIDTHS.get(backbone.name, from_b2)
        fused_width = min(FUSED_WIDTH, backbone.channels)
        self.b1 = _conv(from_b1, width)
        self.b2 = _conv(from_b2, width)
        self.shared = nn.Sequential(_conv(width, width), nn.Conv2d(width, 1, 1))
        self.fused = nn.Sequential(_conv(backbone.channels, fused_width), nn.Conv2d(fused_width, 1, 1))

    def sides(self, activations: Activations) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, 1, h, w) of B1, B2 and C."""
        b1, b2 = (activations.taps[block] for block in self.sources)
        return self.shared(self.b1(b1)), self.shared(self.b2(b2)), self.fused(activations.features)


def sources(backbone: Backbone) -> tuple[str, str]:
    """The published blocks; in other networks the first and the middle one of the blocks of the final size."""
    final = backbone.final_blocks
    return SOURCES.get(backbone.name, (final[0], final[len(final) // 2]))


def enlarge(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Maps (B, 1, h, w), bilinear, to the size (H, W) of the image, in float32."""
    return F.interpolate(maps.float(), size, mode="bilinear", align_corners=False)


def attention(class_map: Tensor, size: tuple[int, ...]) -> Tensor:
    """A class map (B, h, w) as (B, 1, H, W) with minimum 0 and maximum 1; a constant one is NaN, which decides no
    pixel. No gradient."""
    cells = class_map.detach().float()[:, None]
    maps = enlarge(
        cells - cells.amin(dim=(2, 3), keepdim=True), size
    )  # at zero, where rounding cannot make a constant map uneven
    low, high = maps.amin(dim=(2, 3), keepdim=True), maps.amax(dim=(2, 3), keepdim=True)
    return (maps - low) / (high - low)


def seeds(guide: Tensor, high: float, low: float) -> Tensor:
    """Which pixels of a guide (B, 1, H, W) in [0, 1] are decided, of its shape and type: 1 object, 0 background, 255
    not decided."""
    found = guide > high
    few = found.sum(dim=(2, 3), keepdim=True) * GRID < FEWEST * guide[0, 0].numel()
    found = found.where(~few, guide > 0.7 * guide.amax(dim=(2, 3), keepdim=True))
    return torch.full_like(guide, UNDECIDED).masked_fill(found, 1.0).masked_fill(guide < low, 0.0)


def guidance(logits: Tensor, seeds: Tensor) -> Tensor:
    """Mean binary cross entropy, a scalar, of logits (B, 1, H, W) over the pixels that `seeds` of that shape decide; 0
    with a zero gradient without any."""
    decided = seeds != UNDECIDED
    total = F.binary_cross_entropy_with_logits(
        logits, seeds.clamp(max=1), weight=decided.to(logits.dtype), reduction="sum"
    )
    return total / decided.sum().clamp(min=1)


def _change_vgg16(backbone: Backbone) -> None:
    if backbone.info["pool4"].stride > backbone.info["conv4_3"].stride:
        backbone.replace("pool4", nn.MaxPool2d(3, stride=2, padding=1))
    backbone.replace("conv6", nn.Sequential(_conv(512, 512), _conv(512, 512)), channels=512)
    _xavier(backbone.blocks["conv6"])
    backbone.fast_blocks += tuple(name for name in backbone.block_names if name.startswith(("conv4_", "conv5_")))


def _conv(channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out_channels, 3, padding=1), nn.ReLU(inplace=True))


def _xavier(module: nn.Module) -> None:
    for parameter in module.parameters():
        (nn.init.xavier_uniform_ if parameter.ndim > 1 else nn.init.zeros_)(parameter)
