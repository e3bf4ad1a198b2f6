"""A trained method as one function of images, for programs without this package."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.extractor import predicted_classes
from wsol.method import Method
from wsol.network import CamHead
from wsol.schema import PluginConfig


class Deployed(nn.Module):
    """RGB images -> logits, and the raw map of the class with the highest one.

    Args:
        method: a trained method, which is put into evaluation mode.
        extractor: the extractor that makes its maps; only `cam`, which needs no gradient, is possible.

    Raises:
        InputError: the maps are made by another extractor, or leave out negative class weights where there are none.
    """

    def __init__(self, method: Method, extractor: PluginConfig) -> None:
        super().__init__()
        if extractor.name != "cam":
            raise InputError(
                f"evaluation.extractor: maps of {extractor.name} need more than a pass of the network, and this format"
                " holds one; export hub or safetensors, or choose the extractor cam"
            )
        self.method = method.eval()
        if getattr(extractor, "clip_negative_weights", False):
            for head in (module for module in method.modules() if isinstance(module, CamHead)):
                head.clip_negative_weights = True
        backbone = method.network.backbone
        self.mean = nn.Buffer(torch.tensor(backbone.pixel_mean).view(1, 3, 1, 1))
        self.std = nn.Buffer(torch.tensor(backbone.pixel_std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Run the network once.

        Args:
            images: (n, 3, S, S) float32 in [0, 1], RGB, resized to the side S that the network was evaluated with.

        Returns:
            logits (n, K) and raw maps (n, h, w), both float32; a higher value means more evidence.
        """
        seen = (images - self.mean) / self.std
        with self.method.network.backbone.shared_pass(seen, (), ()):
            scores = self.method.score_maps(seen, predicted_classes(self.method, seen))
        return scores.logits, scores.maps
