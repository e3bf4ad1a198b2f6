"""The recorded maps, and extractors on every published backbone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support import vectors
from tests.support.recorded_networks import recorded_method
from wsol.config import EvaluationConfig
from wsol.contract.extracting import FROM_GRADIENTS, batch, extractor, make
from wsol.evaluation import normalised
from wsol.extractor import extract_together
from wsol.raw_scores import Extracted

BACKBONES = ("tiny", "efficientnet_lite0", "resnet50", "inception_v3", "vgg16")
RECORDED = {"grad_cam": "grad_cam", "grad_cam_pp": "grad_cam_plus_plus", "pcs": "pcs", "bag_cams": "bag_cams"}


@pytest.mark.parametrize("layer", ["layer1", "layer2", "layer3", "layer4"])
@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.parametrize("path", vectors.files("post_hoc_maps"))
def test_recorded_maps(path: Path, name: str, layer: str) -> None:
    arrays = vectors.load(path)
    images, labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"])
    config = EvaluationConfig.model_validate({"extractor": {"name": name, "block": layer}, "interpolation": "bilinear"})
    found = extractor(name, block=layer)(recorded_method(arrays), images, labels)
    enlarged = Extracted(config.extractor, found.maps, found.logits).resized(images.shape[-1], config.interpolation)
    np.testing.assert_allclose(normalised(enlarged, config), arrays[f"{RECORDED[name]}_{layer}"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.logits.numpy(), arrays["logits"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_published_backbone_at_several_blocks(backbone: str) -> None:
    built, (images, labels) = make("cam", backbone), batch(2)
    names = built.network.backbone.block_names
    blocks = [names[0], names[len(names) // 2], names[-1]]
    several = [extractor(name, block=block) for name in FROM_GRADIENTS for block in blocks]
    for scores in extract_together(several, built, images, labels):
        assert torch.isfinite(scores.maps).all() and len(scores.maps) == 2
