"""The training step of the published evaluation code, rebuilt from its description (Choe et al., CVPR 2020) to be timed
against.

It trains the same networks with the same loss, in the published way: the pixels of hidden cells are written one cell of
one image at a time, heads make the maps of all classes, SPG enlarges all of them to the image before it takes the one
of the label, ADL makes both of its maps and chooses on the host, TS-CAM (its own released code) makes the whole
attention of every block and keeps it, and the loss is read after every step. Everything is float32.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsol.method import Method
from wsol.methods.cutmix import cut_box, draw_share

Step = Callable[[Any, Tensor, Tensor], Tensor]


def all_maps(head: Any, features: Tensor) -> Tensor:
    """A linear classifier as a 1x1 convolution: (B, C, h, w) -> (B, K, h, w); the mean over cells is the logits."""
    return F.conv2d(features, head.linear.weight[:, :, None, None], head.linear.bias)


def rescaled(maps: Tensor) -> Tensor:
    """Maps (B, h, w) to minimum 0 and maximum 1."""
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - low) / (high - low)


def cam(method: Any, images: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy."""
    return F.cross_entropy(method.network(images).logits, labels)


def has(method: Any, images: Tensor, labels: Tensor) -> Tensor:
    """Hide cells in a loop over images, rows and columns."""
    images, size = images.clone(), method.config.cell_size
    height, width = images.shape[2:]
    for image in images:
        for top in range(0, height, size):
            for left in range(0, width, size):
                if random.random() <= method.config.drop_rate:
                    image[:, top : top + size, left : left + size] = 0
    return cam(method, images, labels)


def cutmix(method: Any, images: Tensor, labels: Tensor) -> Tensor:
    """Paste one box, and weigh two cross entropies by its area."""
    if random.random() >= method.config.probability:
        return cam(method, images, labels)
    height, width = images.shape[2:]
    order = torch.randperm(len(images)).to(images.device)
    top, left, bottom, right = cut_box(
        (height, width), draw_share(method.config.alpha), (random.randrange(height), random.randrange(width))
    )
    images = images.clone()
    images[:, :, top:bottom, left:right] = images[order, :, top:bottom, left:right]
    share = 1 - (bottom - top) * (right - left) / (height * width)
    logits = method.network(images).logits
    return share * F.cross_entropy(logits, labels) + (1 - share) * F.cross_entropy(logits, labels[order])


def acol(method: Any, images: Tensor, labels: Tensor) -> Tensor:
    """Two branches, each with the maps of all classes."""
    a, b = method.network.head.a, method.network.head.b
    features, _ = method.network.backbone(images)
    maps_a = all_maps(a.classifier, a.hidden(features))
    attention = rescaled(maps_a.detach()[torch.arange(len(labels)), labels])
    erased = features * (attention < method.config.erase_threshold).to(features.dtype)[:, None]
    maps_b = all_maps(b.classifier, b.hidden(erased))
    return F.cross_entropy(maps_a.mean(dim=(2, 3)), labels) + F.cross_entropy(maps_b.mean(dim=(2, 3)), labels)


def spg(method: Any, images: Tensor, labels: Tensor) -> Tensor:
    """Three guidances; the maps of all classes are enlarged."""
    config, head, size = method.config, method.network.head, images.shape[2:]
    features, taps = method.network.backbone(images, head.sources)
    maps = all_maps(head, features)
    source_1, source_2 = (taps[block] for block in head.sources)
    sides = head.shared(head.b1(source_1)), head.shared(head.b2(source_2)), head.fused(features)
    b1, b2, fused = (F.interpolate(side, size, mode="bilinear", align_corners=False) for side in sides)
    every_class = F.interpolate(maps.detach(), size, mode="bilinear", align_corners=False)
    attention = rescaled(every_class[torch.arange(len(labels)), labels])[:, None]
    guide_1, guide_2 = b1.detach().sigmoid(), b2.detach().sigmoid()
    return (
        F.cross_entropy(maps.mean(dim=(2, 3)), labels)
        + guidance(b2, seeds(attention, config.attention_high, config.attention_low))
        + guidance(b1, seeds(guide_2, config.b2_high, config.b2_low))
        + guidance(fused, seeds((guide_1 + guide_2) / 2, config.fused_high, config.fused_low))
    )


def seeds(guides: Tensor, high: float, low: float) -> Tensor:
    """Decided pixels of guides (B, 1, H, W), image by image: 1 object, 0 background, 255 neither."""
    found = torch.full_like(guides, 255)
    for seed, guide in zip(found, guides, strict=True):
        chosen = guide > high
        if chosen.sum() < 30:
            chosen = guide > 0.7 * guide.max()
        seed[chosen] = 1
        seed[guide < low] = 0
    return found


def guidance(logits: Tensor, seeds: Tensor) -> Tensor:
    """Mean binary cross entropy over the decided pixels."""
    decided = seeds < 255
    return F.binary_cross_entropy_with_logits(logits[decided], seeds[decided])


class Dropout(nn.Module):
    """The layer of ADL: both maps, and a choice on the host."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        attention = features.mean(dim=1, keepdim=True)
        largest = attention.flatten(1).max(dim=1).values[:, None, None, None]
        kept, importance = (attention < self.layer.drop_threshold * largest).to(features.dtype), attention.sigmoid()
        return features * (kept if random.random() < self.layer.drop_rate else importance)


class WholeAttention(nn.Module):
    """The attention of TS-CAM: a matrix of all tokens for each head, which stays until the next pass."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, tokens: Tensor, _: Any) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        count, length, width = tokens.shape
        shape = (count, length, 3, self.attention.heads, -1)
        queries, keys, values = self.attention.qkv(tokens).reshape(shape).permute(2, 0, 3, 1, 4)
        self.kept = (queries @ keys.transpose(2, 3) * queries.shape[3] ** -0.5).softmax(dim=3)
        mixed: Tensor = self.attention.proj((self.kept @ values).transpose(1, 2).reshape(count, length, width))
        return mixed


def ts_cam(method: Any, images: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy on the means of the maps of all classes; the attention is made and not used."""
    features, _ = method.network.backbone(images)
    return F.cross_entropy(method.network.head(features), labels)


STEPS: dict[str, Step] = {
    "cam": cam,
    "has": has,
    "cutmix": cutmix,
    "acol": acol,
    "spg": spg,
    "adl": cam,
    "ts_cam": ts_cam,
}


def prepare(method: Method, name: str) -> None:
    """Put the published layers in the place of ours."""
    if name == "adl":
        inserted = method.network.backbone.inserted
        for block, layer in list(inserted.items()):
            inserted[block] = Dropout(layer)
    if name == "ts_cam":
        for layer in method.network.backbone.blocks.values():
            if hasattr(layer, "attn"):
                layer.attn = WholeAttention(layer.attn)


def plain_optimizer(method: Method) -> torch.optim.Optimizer:
    """The published optimizer as it is called there: its steps are not fused."""
    return torch.optim.SGD(method.parameters(), lr=1e-5, momentum=0.9, weight_decay=1e-4, nesterov=True)


def epoch(method: Method, name: str, optimizer: torch.optim.Optimizer, batches: list[tuple[Tensor, Tensor]]) -> float:
    """Train on every batch of images (B, 3, H, W) and labels (B,); the sum of the losses."""
    total = 0.0
    for images, labels in batches:
        loss = STEPS[name](method, images, labels)
        total += loss.item()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return total
