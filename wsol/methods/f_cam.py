"""F-CAM.

Idea: a class map is as coarse as the features, so a U-Net decoder on a frozen classifier learns a map as fine as the
image. It learns from a few pixels of which the classifier's own map is certain, drawn anew in every step; from the
colours of neighbouring pixels; and from a barrier that keeps object and background both large.

Paper: F-CAM: Full Resolution Class Activation Maps via Guided Parametric Upscaling (Belharbi, Sarraf, Pedersoli, Ben
Ayed, McCaffrey, Granger), WACV 2022.

Symbols: stage 1 -> `initial_run`, `base`; the CAM that gives seeds (method) -> `guide`; C+ , C- -> pixels above the
Otsu threshold and `background_pool` (sl_min_p); sl_max, sl_min -> `num_foreground_seeds`, `num_background_seeds`;
sl_ksz -> `seed_size`; sl_fg_erode_k -> `erosion_size`; lambda (crf_lambda), sigma_rgb, sigma_xy -> `crf_weight`,
`crf_sigma_color`, `crf_sigma_space`; max_sizepos_lambda -> `size_weight`; ELB's t, mu, max_t -> `barrier_start`,
`barrier_growth`, `barrier_max`; S -> `regions`.

Kept from the released code: the frozen classifier has no loss, no dropout, and does not update its batch statistics;
seeds are of the true class, the cross entropy is a mean over all seeds of the batch; the map that seeds come from is
brought to [0, 1] before it is enlarged; the dense CRF is summed over pixels and divided by images, so `crf_weight`
scales with the fourth power of the image's side; its filter has about 0.6 of the Gaussian's mass, and its gradient is
written by hand; sizes are in pixels; the decoder of ResNet doubles and shrinks its first two levels; VGG's reads no
features of the size of the image. The map is the probability of the object, the same for every class, and is evaluated
without min-max normalisation: `evaluation.normalizer: {name: none}`.

Not kept: a batch without a seed gave NaN, here 0. The barrier's t was lost when a run was resumed, here it follows from
the epoch. The classifier ran a second time on each image for the seeds; here it runs once. crf_scale, which changed the
strength of the CRF with its resolution, is left out. Stage one's augmentation does not reach the decoder. Mixed images
have the weighted map of both classes. None of it changes a number of a published run. Not available as settings:
Inception-v3 had maps of 57 and 29 cells, because all its convolutions of 3x3 were padded; validation had 250 score
thresholds; the network before its first epoch was a candidate for the best one, and nothing here measures that. The
variant `released` of the search spaces takes the best epoch by MaxBoxAcc on all images of train_fullsup, and single
precision; the heads of its files have the command of the released stage one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator
from torch import Tensor

from wsol import plugins
from wsol.config import any_plugin
from wsol.method import Method, ParameterGroup, Wrapper
from wsol.methods._unet import Decoder, skips
from wsol.normalizers.min_max import min_max
from wsol.ops.barrier import sharpness_at, size_barrier
from wsol.ops.crf import dense_crf_energy
from wsol.ops.seeds import IGNORED, draw_seeds
from wsol.schema import PluginConfig
from wsol.types import Activations, Batch, Progress, ScoreMaps

SCORES = "decoder.scores"
"""Name under which `Activations.taps` holds the decoder's output (B, 2, H, W); no block has a dot in its name."""

Guide = Callable[[Method, Tensor, Tensor], ScoreMaps]


class Config(PluginConfig):
    """Settings of the decoder's losses; the defaults are published for CUB with ResNet-50 and images of 224 pixels.

    Attributes:
        base: the method that stage one was trained with.
        guide: the extractor that makes the maps for the seeds from stage one.
        num_foreground_seeds: number of object pixels drawn in each image and step.
        num_background_seeds: number of background pixels drawn in each image and step.
        background_pool: background is drawn from this share of the pixels, those with the lowest values.
        erosion_size: odd side in pixels of the square by which the object is eroded before seeds are drawn; 1: no
            erosion.
        seed_size: odd side in pixels of the square that a seed covers.
        crf_weight: weight of the CRF's sum over all pairs of pixels; 0: no CRF, which is the slow part.
        crf_sigma_color: standard deviation in 8-bit steps, within which colours count as similar.
        crf_sigma_space: standard deviation in pixels, within which pixels count as near.
        size_weight: weight of the barrier that keeps object and background large.
        barrier_start: t in the first epoch; a larger t makes the barrier weaker.
        barrier_growth: factor of t from one epoch to the next.
        barrier_max: largest t.
    """

    needs_initial_run: ClassVar[bool] = True

    name: Literal["f_cam"] = "f_cam"
    base: Annotated[SerializeAsAny[PluginConfig], any_plugin("method")] = Field(
        default={"name": "cam"}, validate_default=True
    )
    guide: Annotated[SerializeAsAny[PluginConfig], any_plugin("extractor")] = Field(
        default={"name": "cam"}, validate_default=True
    )
    num_foreground_seeds: int = Field(default=1, ge=1)
    num_background_seeds: int = Field(default=1, ge=1)
    background_pool: float = Field(default=0.1, gt=0, le=1)
    erosion_size: int = Field(default=11, ge=1)
    seed_size: int = Field(default=3, ge=1)
    crf_weight: float = Field(default=2e-9, ge=0)
    crf_sigma_color: float = Field(default=15.0, ge=1)
    crf_sigma_space: float = Field(default=100.0, ge=1)
    size_weight: float = Field(default=0.1, ge=0)
    barrier_start: float = Field(default=1.0, gt=0)
    barrier_growth: float = Field(default=1.01, ge=1)
    barrier_max: float = Field(default=10.0, gt=0)

    @field_validator("erosion_size", "seed_size")
    @classmethod
    def _has_a_center(cls, side: int) -> int:
        if side % 2 == 0:
            raise ValueError(f"{side} is even: a square around a pixel has an odd side")
        return side

    @field_validator("barrier_max")
    @classmethod
    def _not_below_start(cls, largest: float, info: ValidationInfo) -> float:
        if largest < info.data.get("barrier_start", largest):
            raise ValueError(f"{largest} is below barrier_start {info.data['barrier_start']}")
        return largest

    def reason_against_tokens(self) -> str:
        return "its decoder reads larger maps of earlier blocks, and all blocks have one size"


def build(config: Config, inner: Method) -> Method:
    """Stage one, frozen, with a new decoder."""
    return FCAM(inner, config, plugins.build("extractor", config.guide))


class FCAM(Wrapper):
    """A classifier that learns nothing more, and a decoder of its features that learns where the object is."""

    def __init__(self, base: Method, config: Config, guide: Guide) -> None:
        super().__init__(base)
        self.config = config
        self.guide = guide
        self.skips = skips(base.network.backbone)
        self.decoder = Decoder(base.network.backbone)
        self.base.requires_grad_(False)
        self.base.eval()

    score_maps = Method.score_maps  # made of the members below, not by the base

    def train(self, mode: bool = True) -> Self:
        """Only the decoder trains: the base has no dropout and no batch statistics."""
        super().train(mode)
        self.base.eval()
        return self

    def augment(self, batch: Batch) -> Batch:
        """Keep whole images: the base hides or mixes only for its classifier."""
        return batch

    def losses(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """See `loss_terms`; the frozen network runs once for both the decoder and the guide."""
        with self.network.backbone.shared_pass(batch.images):
            return super().losses(batch, progress)

    def activate(self, images: Tensor, labels: Tensor, taps: Iterable[str] = ()) -> Activations:
        """The base without gradient, and the decoder's scores among the taps."""
        with torch.no_grad():
            found = self.base.activate(images, labels, {*taps, *self.skips})
        size = (images.shape[-2], images.shape[-1])
        scores = self.decoder(found.features, [found.taps[name] for name in self.skips], size)
        return replace(found, taps={**found.taps, SCORES: scores})

    def loss_terms(self, activations: Activations, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Cross entropy of the `seeds`, barrier of the `size` and, unless it weighs 0, energy of the `crf`, in
        float32."""
        config, guided = self.config, self.guided(batch)
        with torch.autocast(batch.images.device.type, enabled=False):
            scores = activations.taps[SCORES].float()
            regions = scores.softmax(1)
            sharpness = sharpness_at(progress.epoch, config.barrier_start, config.barrier_growth, config.barrier_max)
            terms = {
                "seeds": seed_loss(scores, self._seeds(guided)),
                "size": config.size_weight * size_barrier(regions, sharpness),
            }
            if config.crf_weight:
                terms["crf"] = config.crf_weight * self._crf(regions, batch.images)
            return terms

    def class_map(self, activations: Activations, labels: Tensor) -> Tensor:
        """The probability (B, H, W) of the object, whatever its class."""
        return activations.taps[SCORES].float().softmax(1)[:, 1]

    def parameter_groups(self) -> list[ParameterGroup]:
        """The decoder alone, at `optim.lr`."""
        return [{"name": "decoder", "params": list(self.decoder.parameters()), "head": False}]

    @torch.no_grad()
    def guided(self, batch: Batch) -> Tensor:
        """The guide's maps (B, H, W) of the true classes in [0, 1], at the size of the image; zeros for constant
        maps."""
        maps = [share * self.guide(self.base, batch.images, labels).maps for labels, share in batch.label_sets()]
        scaled = min_max(torch.stack(maps).sum(0))
        return F.interpolate(scaled[:, None], size=batch.images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]

    def _seeds(self, guided: Tensor) -> Tensor:
        config = self.config
        return draw_seeds(
            guided,
            foreground=config.num_foreground_seeds,
            background=config.num_background_seeds,
            background_pool=config.background_pool,
            erosion_size=config.erosion_size,
            seed_size=config.seed_size,
        )

    def _crf(self, regions: Tensor, images: Tensor) -> Tensor:
        """The CRF's energy at the image's 8-bit values, which are recovered exactly from the normalised ones."""
        backbone, config = self.network.backbone, self.config
        mean, std = (
            torch.tensor(values, device=images.device).view(1, 3, 1, 1)
            for values in (backbone.pixel_mean, backbone.pixel_std)
        )
        pixels = ((images.float() * std + mean) * 255).round()
        return dense_crf_energy(regions, pixels, sigma_color=config.crf_sigma_color, sigma_space=config.crf_sigma_space)


def seed_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy, a scalar, of scores (B, 2, H, W) over the labels (B, H, W) int64 that are not 255; 0 where
    none is."""
    count = (labels != IGNORED).sum().clamp(min=1)
    return F.cross_entropy(scores, labels, ignore_index=IGNORED, reduction="sum") / count
