"""CropCAM.

Idea: a class map is coarse where the object is small, so the box of its high cells is cut out, enlarged and classified
again, and the map of this second look is pasted into the first. In training, the first map is pulled towards the pasted
one and pushed away from its complement.

Paper: Small Object Matters in Weakly Supervised Object Localization (Hwang, Oh, Choe), Neurocomputing 648, 2025.

Symbols: lambda_1 (released code: loss_pos) -> `positive_weight`; lambda_2 (loss_neg) -> `negative_weight`; lambda_3
(loss_ratio) -> `classification_share`; tau (crop_threshold) -> `crop_threshold`; nu (crop_ratio) -> `max_crop_area`;
M_zoom -> `pasted`, M_bg -> 1 - pasted; L_pos, L_neg -> `consistency`; crop_start_epoch, from 0 -> `start_epoch`, from
1; attention_cam (CAAM) -> `map_source`.

Kept from the released code: the loss is 2 lambda_3 times the mean cross entropy of both looks plus 2 (1 - lambda_3)
times (lambda_1 L_pos - lambda_2 L_neg + 1); one cosine over all maps of a batch; the gradient of the consistency
reaches only the first look. The box has no margin and no minimum size, and nothing is random. A box at the right or
lower border is not square. Maps are resized before they are normalised, and in evaluation the first map is normalised
again after its resize. Evaluation shows the pasted map where the box is small, also before `start_epoch`.

Not kept: the pasted map of training had two sizes and failed; here it has the size of the class map (`paste_at: image`:
of the image). The box of several components ended too early, see `box_union`. A zero map gave NaN and skipped the step;
here its distances are 1, without gradient. Normalizers changed maps in place; PaS and IVR had other formulas inside of
the method, in training and in evaluation: `normalizer: {name: ivr, form: crop_cam}` is the released IVR, which gives
other maps. The released joint loss did not run with any base method; here the base's other terms of both looks are
added with their own weights, as the code intended. Mixed images have the weighted map of both classes. A box of one
cell, whose map cannot be normalised, is left as it is. Some parameters of ResNet-50 learned at a tenth of the rate, see
`slow`. The variant `released` of the search spaces sets everything of this that is a setting, and scores all images of
train_fullsup. Not available as settings, because no released script uses them or their training failed there: PaS
inside of the method, two sizes in one map, a constant map as ones. Nor is the network before its first epoch a
candidate for the best one, because nothing measures it here.

How much it changes: the released union gives another box in 0, 1, 28, 131 and 198 of 300 random maps at tau 0.15, 0.35,
0.5, 0.65 and 0.75 (358 of 1,500). The maps that evaluation shows with the released IVR of 0.3 and with the paper's
differ in 18 of 40 random images by more than one of 255 steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field, SerializeAsAny
from torch import Tensor

from wsol import distributed, plugins
from wsol.config import any_plugin
from wsol.method import Method, ParameterGroup, Wrapper
from wsol.ops.crop import enclosing_boxes, enlarge, legacy_boxes, paste, rescaled, squared, zoom
from wsol.schema import PluginConfig
from wsol.types import Activations, Batch, LabelSet, Progress, ScoreMaps

Scope = Literal["batch", "worker", "sample"]
SLOW_RATE = 0.1
SLOW: dict[str, tuple[str, ...]] = {"none": (), "stem_norm": ("stem.norm.",), "last_stage": ("stem.norm.", "layer4_")}
"""Setting -> prefixes of the names of ResNet-50's slow parameters; the first convolution of a block is never slow."""

UNIONS = {"exact": enclosing_boxes, "legacy": legacy_boxes}


class Config(PluginConfig):
    """Settings of the cropping and of the comparison of both looks.

    Attributes:
        base: the method inside; any method with a class map.
        positive_weight: lambda_1, weight of the distance between the first map and the pasted one.
        negative_weight: lambda_2, weight of the distance between the first map and the complement of the pasted one,
            which is maximised.
        classification_share: lambda_3 in [0, 1], balances cross entropy against these two.
        crop_threshold: tau, a fraction of each map's maximum; the box contains all cells above it.
        max_crop_area: nu, a fraction of the map's area; only boxes smaller than this are pasted in evaluation. Changes
            no weight.
        start_epoch: the first epoch (1-based) with the second look; before it, the base is trained alone.
        map_source: the map that gives the box: that of the class, the mean over the feature channels (CAAM), or the
            mean over the maps of all classes (which the released CAAM is for Inception).
        normalizer: the normalizer of the maps inside the method, in training and evaluation.
        cosine: one cosine is taken over all maps of a step (`batch`, over all workers), over those of a worker, or over
            each image, with their mean (`sample`).
        paste_at: the size of the maps that are compared in training: the class map's (`cam`) or the image's.
        box_union: `exact`, or the released code's, which loses parts of maps with several components.
        slow: the parameters of ResNet-50 that learn at a tenth of the rate of their group, because the released code
            gave all others ten times `lr`: the batch norm of the stem (`stem_norm`), and on top of Bridging the gap
            also the last stage except for each block's first convolution (`last_stage`). Other networks have none.
    """

    name: Literal["crop_cam"] = "crop_cam"
    base: Annotated[SerializeAsAny[PluginConfig], any_plugin("method")] = Field(
        default={"name": "cam"}, validate_default=True
    )
    positive_weight: float = Field(default=0.5, ge=0)
    negative_weight: float = Field(default=0.5, ge=0)
    classification_share: float = Field(default=0.5, ge=0, le=1)
    crop_threshold: float = Field(default=0.15, ge=0, lt=1)
    max_crop_area: float = Field(default=0.1, ge=0, le=1)
    start_epoch: int = Field(default=1, ge=1)
    map_source: Literal["class", "feature_mean", "class_mean"] = "class"
    normalizer: Annotated[SerializeAsAny[PluginConfig], any_plugin("normalizer")] = Field(
        default={"name": "min_max"}, validate_default=True
    )
    cosine: Scope = "batch"
    paste_at: Literal["cam", "image"] = "cam"
    box_union: Literal["exact", "legacy"] = "exact"
    slow: Literal["none", "stem_norm", "last_stage"] = "none"


def build(config: Config, inner: Method) -> Method:
    """The base with a second look."""
    return CropCAM(inner, config, plugins.build("normalizer", config.normalizer))


class CropCAM(Wrapper):
    """A method that looks at the image, and again at the box it found."""

    def __init__(self, base: Method, config: Config, normalizer: Callable[[Tensor], Tensor]) -> None:
        super().__init__(base)
        self.config = config
        self.normalizer = normalizer

    def losses(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """The base's terms of both looks, cross entropy scaled by its share, with `positive` and `negative`."""
        first = self.activate(batch.images, batch.labels)
        terms = self.loss_terms(first, batch, progress)
        if progress.epoch < self.config.start_epoch:
            return terms
        maps = self.normalizer(self._map(first, batch.label_sets()))
        boxes = self._boxes(maps)
        zoomed = replace(batch, images=zoom(batch.images, rescaled(boxes, _size(maps), _size(batch.images))))
        second = self.activate(zoomed.images, zoomed.labels)
        again = self.loss_terms(second, zoomed, progress)
        if self.config.paste_at == "image":
            maps, boxes = self._at_size_of(batch.images, maps, boxes)
        with torch.no_grad():
            pasted = paste(maps, self._map(second, batch.label_sets()), boxes, self.normalizer)
        return {**self._sum(terms, again), **self._consistency(maps, pasted)}

    @torch.no_grad()
    def score_maps(self, images: Tensor, labels: Tensor) -> ScoreMaps:
        """Maps (B, H, W) in [0, 1] of the size of the image, pasted where the box is small, and the logits of the first
        look."""
        first = self.activate(images, labels)
        cells = self.normalizer(self._map(first, ((labels, 1.0),)))
        boxes = self._boxes(cells)
        small = boxes[:, 2:].double().prod(1) / cells[0].numel() < self.config.max_crop_area
        maps, boxes = self._at_size_of(images, cells, boxes)
        chosen: list[int] = small.nonzero()[:, 0].tolist()
        if chosen:
            maps[chosen] = self._pasted(images, labels, maps, boxes, chosen)
        return ScoreMaps(maps, first.logits.float())

    def varied(self, config: PluginConfig) -> CropCAM | None:
        """With another `max_crop_area`, or another search for the box."""
        if not isinstance(config, Config) or config.base != self.config.base:
            return None
        return CropCAM(self.base, config, plugins.build("normalizer", config.normalizer))

    def _pasted(self, images: Tensor, labels: Tensor, maps: Tensor, boxes: Tensor, chosen: list[int]) -> Tensor:
        """Pasted maps (n, H, W) of n chosen images. If several `max_crop_area` are evaluated in one pass, each image
        gets at most one second look."""
        alike = self.config.model_copy(update={"max_crop_area": 0.0}).model_dump_json(), tuple(labels.tolist())
        known: dict[int, Tensor] = self.network.backbone.shared_memory(images).setdefault(alike, {})
        if new := [place for place in chosen if place not in known]:
            second = self.activate(zoom(images[new], boxes[new]), labels[new])
            pasted = paste(maps[new], self._map(second, ((labels[new], 1.0),)), boxes[new], self.normalizer)
            known.update(zip(new, pasted, strict=True))
        return torch.stack([known[place] for place in chosen])

    def parameter_groups(self) -> list[ParameterGroup]:
        """The base's groups without the slow parameters, and groups of these."""
        slow, groups = self._slow_ids(), super().parameter_groups()
        found = [parameter for group in groups for parameter in group["params"] if id(parameter) in slow]
        for group in groups:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in slow]
        return [*groups, {"name": "slow", "params": found, "head": False, "rate": SLOW_RATE}]

    def _slow_ids(self) -> set[int]:
        backbone, prefixes = self.network.backbone, SLOW[self.config.slow]
        if backbone.name != "resnet50":
            return set()
        parameters = backbone.blocks.named_parameters()
        return {id(parameter) for name, parameter in parameters if name.startswith(prefixes) and "conv1" not in name}

    def _map(self, activations: Activations, label_sets: tuple[LabelSet, ...]) -> Tensor:
        """Raw map (B, h, w) float32 that finds the box."""
        if self.config.map_source == "feature_mean":
            return activations.features.float().mean(1)
        if self.config.map_source == "class_mean":
            share, labels = 1 / self.network.num_classes, torch.zeros_like(label_sets[0][0])
            label_sets = tuple((labels + index, share) for index in range(self.network.num_classes))
        maps = [weight * self.class_map(activations, labels).float() for labels, weight in label_sets]
        return torch.stack(maps).sum(0)

    def _boxes(self, maps: Tensor) -> Tensor:
        masks = maps.detach() > self.config.crop_threshold * maps.detach().amax((1, 2), keepdim=True)
        return squared(UNIONS[self.config.box_union](masks), _size(maps))

    def _at_size_of(self, images: Tensor, maps: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        size = _size(images)
        return self.normalizer(enlarge(maps, size)), rescaled(boxes, _size(maps), size)

    def _sum(self, first: dict[str, Tensor], second: dict[str, Tensor]) -> dict[str, Tensor]:
        shares = {
            "classification": self.config.classification_share
        }  # of a sum of two looks: 2 lambda_3 times their mean
        return {name: shares.get(name, 1.0) * (first[name] + second[name]) for name in first}

    def _consistency(self, maps: Tensor, pasted: Tensor) -> dict[str, Tensor]:
        """Both distances, weighted; the constant of the loss is in `negative`."""
        config, weight = self.config, 2 * (1 - self.config.classification_share)
        positive, negative = consistency(maps, pasted, config.cosine)
        return {
            "positive": weight * config.positive_weight * positive,
            "negative": weight * (1 - config.negative_weight * negative),
        }


def consistency(maps: Tensor, pasted: Tensor, scope: Scope) -> tuple[Tensor, Tensor]:
    """Cosine distances in [0, 1] between maps and pasted maps, and between maps and one minus the pasted maps.

    Args:
        maps: (B, h, w) float32 in [0, 1], with gradient.
        pasted: (B, h, w), without.
        scope: what one cosine is taken over; with `batch` every worker gets the same number, and the average of the
            gradients of all workers, weighted by their images, is that of one worker with the whole batch.

    Returns:
        two scalars; the distance from or to a zero map is 1, without gradient.
    """
    background = 1 - pasted
    products = torch.stack((maps * pasted, maps * background, maps * maps, pasted * pasted, background * background))
    sums = products.sum((2, 3)) if scope == "sample" else products.sum((1, 2, 3))
    to_pasted, to_background, own, of_pasted, of_background = (
        _over_workers(sums, len(maps)) if scope == "batch" else sums
    )
    return _distance(to_pasted, own * of_pasted).mean(), _distance(to_background, own * of_background).mean()


def _distance(product: Tensor, energies: Tensor) -> Tensor:
    """1 - cosine. The cosine of a zero map is 0; this is decided before the square root, whose gradient at 0 is
    infinite."""
    defined = energies > 0
    return 1 - torch.where(defined, product, 0.0) / torch.where(defined, energies, 1.0).sqrt()


def _over_workers(sums: Tensor, images: int) -> Tensor:
    """Sums (5,) over all workers. Gradients reach this worker's part, scaled against the average that is taken over the
    workers later."""
    totals = distributed.sum_over_workers(torch.cat((sums.detach(), sums.new_full((1,), images))))
    return totals[:-1] + (sums - sums.detach()) * (totals[-1] / images)


def _size(maps: Tensor) -> tuple[int, int]:
    return maps.shape[-2], maps.shape[-1]
