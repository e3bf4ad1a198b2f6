"""SCM, spatial calibration.

Idea: TS-CAM's attention ends at edges inside of the object. A module that exists in training only lets it flow between
neighbouring cells that score alike, and shows the classifier its scores raised where the attention arrives. The network
learns attention and scores that need less of it, and the module is left out afterwards.

Paper: Weakly Supervised Object Localization via Transformer with Implicit Spatial Calibration (Bai, Zhang, Wang, Wan),
ECCV 2022.

Symbols: S^0, F^0, semantic maps and attention -> `SemanticHead.maps`, `agnostic_attention`; E, similarity of cells ->
`similarity`; L, the Laplacian of the grid -> `laplacian`; lambda (released code: _loss_rate) -> `rates`; beta (thred)
-> `thresholds`; the inverse of L (lambda E - 1), which is the diffusion -> `newton_schulz`; ADB, a layer of the module
-> `diffused`.

Kept from the released code: four layers, one learned rate (from 1) and threshold (from 0.5) each, without bounds; the
similarity is the cosine of the class scores of two cells, not of their tokens; the inverse is the result of 16 steps of
its iteration in the first layer and 4 in the others, far from convergence, without gradient through its first guess;
the layers raise all classes alike, by 0 to 100 %; in training the classifier sees the raised scores, in evaluation the
plain ones, with other logits; the map is TS-CAM's with the attention brought to minimum 0 and maximum 1; the loss
trains the attention too. Initialisation and weight decay are those of TS-CAM.

Not kept: a cell without scores or a constant attention gave NaN; here its similarity is 0, and the rescaled map 0. The
similarity was computed in every layer; because raising scores does not change their direction, it is computed once. The
grid was 14x14; here it is the image's. Scores and attention of the layers are in float32 at every precision. The epoch
was chosen on the test images, which no setting offers. The variant `released` of the search spaces enlarges maps
bilinearly (`evaluation.interpolation`), has the 100 score thresholds of the released code, takes the last epoch, in
single precision, and all images of ImageNet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from wsol.method import Method
from wsol.methods._semantic import SemanticMethod, agnostic_attention, with_semantic_head
from wsol.network import Classifier
from wsol.schema import PluginConfig
from wsol.types import Activations

HEAD_KERNEL = 3
ITERATIONS = (16, 4, 4, 4)
"""Steps towards the inverse, layer by layer."""

FIRST_GUESS = 0.002
SMALLEST_DIVISOR = 1e-12


class Config(PluginConfig):
    """No settings: the module has the published form."""

    needs_tokens: ClassVar[bool] = True

    name: Literal["scm"] = "scm"


def build(config: Config, inner: Classifier) -> Method:
    """A transformer with TS-CAM's head and the module."""
    return SCM(with_semantic_head(inner, HEAD_KERNEL))


class SCM(SemanticMethod):
    """TS-CAM whose scores and attention are calibrated in training."""

    def __init__(self, network: Classifier) -> None:
        super().__init__(network)
        self.rates = nn.Parameter(torch.ones(len(ITERATIONS)))
        self.thresholds = nn.Parameter(torch.full((len(ITERATIONS),), 0.5))

    def activate(self, images: Tensor, labels: Tensor, taps: Iterable[str] = ()) -> Activations:
        """Run the network; in training the logits are those of the calibrated scores."""
        if not self.training:
            return super().activate(images, labels, taps)
        features, tapped = self.network.backbone(images, {*taps, *self.class_rows()})
        scores = self.semantic_head().maps(features)
        plain = Activations(features, scores.mean(dim=(2, 3)), tapped)
        with torch.autocast(features.device.type, enabled=False):
            raised = calibrated(scores.float(), self._attention(plain), self.rates, self.thresholds)
        return replace(plain, logits=raised.mean(dim=(2, 3)))

    def class_map(self, activations: Activations, labels: Tensor) -> Tensor:
        """Semantic map times rescaled attention (B, h, w)."""
        return self._attention(activations) * self.semantic_head().class_map(activations.features, labels)

    def _attention(self, activations: Activations) -> Tensor:
        """(B, h, w) in [0, 1]."""
        rows = [activations.taps[name] for name in self.class_rows()]
        attention = agnostic_attention(rows, activations.features.shape[2:])
        return rescaled(attention.flatten(1)).reshape(attention.shape)


def calibrated(scores: Tensor, attention: Tensor, rates: Tensor, thresholds: Tensor) -> Tensor:
    """The scores of the cells, raised layer by layer where the attention flows.

    Args:
        scores: (B, K, h, w) of all classes.
        attention: (B, h, w) in [0, 1].
        rates: (L,) lambda of each layer.
        thresholds: (L,) beta of each layer.

    Returns:
        (B, K, h, w).
    """
    alike, flowing = similarity(scores), attention.flatten(1)
    for rate, threshold, steps in zip(rates, thresholds, ITERATIONS, strict=True):
        scores, flowing = diffused(alike, scores, flowing, rate, threshold, steps)
    return scores


def diffused(
    alike: Tensor, scores: Tensor, flowing: Tensor, rate: Tensor, threshold: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """One layer.

    Args:
        alike: (B, P, P), similarity of all pairs of the P = h w cells.
        scores: (B, K, h, w) of all classes.
        flowing: (B, P), the attention.
        rate: lambda, a scalar.
        threshold: beta, a scalar, as a share of the largest attention.
        steps: number of iterations towards the inverse.

    Returns:
        scores and attention of the next layer.
    """
    spread = (diffusion(alike, rate, scores.shape[2:], steps) @ flowing[:, :, None]).squeeze(2)
    limit = threshold * flowing.amax(dim=1, keepdim=True)
    strength = spread / limit.where(limit != 0, 1.0)
    gain = rescaled(strength - strength.tanh())
    return scores + scores * gain.reshape(-1, 1, *scores.shape[2:]), flowing + gain


def diffusion(alike: Tensor, rate: Tensor, size: torch.Size | tuple[int, ...], steps: int) -> Tensor:
    """What (B, P, P) flows between cells of a grid of `size` (h, w); for the other arguments see `diffused`."""
    grid = laplacian(size[0], size[1]).to(alike.device, alike.dtype)
    return newton_schulz(grid * (rate * alike - 1), FIRST_GUESS, steps).mT


def similarity(scores: Tensor) -> Tensor:
    """Cosine (B, P, P) between the class scores of two cells; 0 for cells without scores (B, K, h, w)."""
    vectors = scores.flatten(2)
    lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    unit = vectors / lengths.where(lengths > SMALLEST_DIVISOR, 1.0)
    cosines: Tensor = unit.mT @ unit
    return cosines


def newton_schulz(matrix: Tensor, first_guess: float, steps: int) -> Tensor:
    """Newton-Schulz iteration towards the inverse of a matrix.

    Args:
        matrix: (B, P, P).
        first_guess: the iteration starts from this times the transposed matrix, which carries no gradient.
        steps: number of iterations; close to the inverse, each doubles the number of correct digits.

    Returns:
        (B, P, P).
    """
    found = first_guess * matrix.detach().mT
    twice = 2 * torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    for _ in range(steps):
        found = found @ (twice - matrix @ found)
    return found


@cache
def laplacian(height: int, width: int) -> Tensor:
    """Number of neighbours less adjacency (h w, h w) of a grid, row by row, each cell with up to four neighbours."""
    place = torch.arange(height * width)
    row, column = place // width, place % width
    distance = (row[:, None] - row).abs() + (column[:, None] - column).abs()
    adjacent = (distance == 1).float()
    return torch.diag(adjacent.sum(dim=1)) - adjacent


def rescaled(values: Tensor) -> Tensor:
    """Each row (B, P) to minimum 0 and maximum 1, with the gradient of both; a constant one to 0."""
    above = values - values.amin(dim=1, keepdim=True)
    highest = above.amax(dim=1, keepdim=True)
    return above / highest.where(highest > SMALLEST_DIVISOR, 1.0)
