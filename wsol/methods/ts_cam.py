"""TS-CAM.

Idea: in a transformer, the attention of the class token covers the whole object but is class-agnostic, while a
convolution on the patch tokens tells classes apart but only responds to the most discriminative parts. The map of a
class is the product of both.

Paper: TS-CAM: Token Semantic Coupled Attention Map for Weakly Supervised Object Localization (Gao, Wan, Pan, Peng,
Tian, Han, Zhou, Ye), ICCV 2021.

Symbols: t^p, the patch tokens behind the last norm -> `Activations.features`; S_c, semantic map of class c ->
`SemanticHead.class_map`; A_*, attention of the class token, mean over heads and summed over layers ->
`agnostic_attention`; M_c -> `class_map`; drop path -> `backbone.drop_path`.

Kept from the released code: the logits are means of the semantic maps, and the class token is not classified; its
attention to itself is dropped without scaling up the rest; no ReLU and no scaling before the product, so a map is
negative where its class scores negatively; a 3x3 convolution with bias, initialised by torch's default, because the
code's initialisation does not reach convolutions; on ImageNet, its bias starts from that of the pretrained classifier,
whose shape fits. Weight decay applies to weights, but not to biases, norms, class token and positions
(`optim.optimizer: adamw`); all parameters learn at one rate (`optim.head_lr_scale: 1`).

Not kept: the whole attention was computed in every block, and the maps of every class, also in training, where nothing
uses them; here only the class token's row and the map of the label are. Boxes were taken at one fixed threshold from an
8-bit map, which was NaN if it was constant; here evaluation is the same for all methods, and `fixed_box_acc` has the
threshold. The epoch was chosen on the test images, which no setting offers. The variant `released` of the search spaces
enlarges maps bilinearly (`evaluation.interpolation`), takes the last epoch, in single precision, all images of
ImageNet, and the seed of the released code, which draws other numbers here.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from wsol.method import Method
from wsol.methods._semantic import SemanticMethod, agnostic_attention, with_semantic_head
from wsol.network import Classifier
from wsol.schema import PluginConfig
from wsol.types import Activations


class Config(PluginConfig):
    """Settings of the head and of the coupling.

    Attributes:
        head_kernel: side in cells of the convolution that computes the semantic maps.
        coupling: the map is the product of semantic map and attention, as published, or one of the two alone. Changes
            no weight.
        last_blocks: the attention is summed over this number of last blocks; null: over all. Changes no weight.
    """

    needs_tokens: ClassVar[bool] = True

    name: Literal["ts_cam"] = "ts_cam"
    head_kernel: Literal[1, 3] = 3
    coupling: Literal["product", "attention", "semantic"] = "product"
    last_blocks: int | None = Field(default=None, ge=1)


def build(config: Config, inner: Classifier) -> Method:
    """A transformer with the convolution in place of its head."""
    return TSCAM(with_semantic_head(inner, config.head_kernel), config)


class TSCAM(SemanticMethod):
    """Trains with cross entropy on the means of semantic maps; its map couples them with the attention."""

    def __init__(self, network: Classifier, config: Config) -> None:
        super().__init__(network)
        self.config = config

    def class_map(self, activations: Activations, labels: Tensor) -> Tensor:
        """Semantic map times attention (B, h, w), or what `coupling` says."""
        names = self.class_rows()[-(self.config.last_blocks or 0) :]
        features = activations.features
        attention = agnostic_attention([activations.taps[name] for name in names], features.shape[2:])
        if self.config.coupling == "attention":
            return attention
        semantic = self.semantic_head().class_map(features, labels)
        if self.config.coupling == "semantic":
            return semantic
        return attention * semantic
