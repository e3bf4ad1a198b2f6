"""Extractors on transformers: the contract at whole blocks and at what an attention reads, and what they are equal to
behind average pooling."""

from __future__ import annotations

import pytest
import torch

from wsol.contract.extracting import AT_BLOCKS, FROM_GRADIENTS, batch, extractor, make
from wsol.contract.networks import CLASSES
from wsol.errors import InputError
from wsol.extractor import Extractor, extract_together, output_at
from wsol.extractors.ablation_cam import ablated_scores

BLOCKS = ("patch_embed", "blocks_1", "blocks_2.norm1", "norm")
SIDE = 48


def unguided(name: str, block: str | None) -> Extractor:
    return extractor(name, block=block, **({"guided": False} if name == "bag_cams" else {}))


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("name", AT_BLOCKS)
def test_maps_are_finite_repeatable_and_of_the_size_of_the_grid(name: str, block: str) -> None:
    if name == "ablation_cam" and "." in block:
        with pytest.raises(InputError, match=r"goes on behind a whole block, and blocks_2\.norm1 is inside"):
            unguided(name, block)(make("cam", "deit"), *batch(side=SIDE))
        return
    built, (images, labels) = make("cam", "deit"), batch(side=SIDE)
    first, second = (unguided(name, block)(built, images, labels) for _ in range(2))
    assert first.maps.shape == (len(labels), 3, 3) and first.maps.dtype == torch.float32
    assert torch.isfinite(first.maps).all() and not first.maps.requires_grad
    assert torch.equal(first.maps, second.maps)
    torch.testing.assert_close(first.logits, built.score_maps(images, labels).logits)


@pytest.mark.parametrize("method", ["cam", "adl", "crop_cam"])
@pytest.mark.parametrize("name", FROM_GRADIENTS)
def test_each_image_gets_the_map_of_its_own_class(name: str, method: str) -> None:
    built, (images, labels) = make(method, "deit").double(), batch(side=SIDE)
    extract = unguided(name, "blocks_2.norm1")
    batched = extract(built, images.double(), labels).maps
    for image, label in enumerate(labels):
        single = extract(built, images[image : image + 1].double(), label[None]).maps[0]
        torch.testing.assert_close(batched[image], single, rtol=1e-3, atol=1e-4 * float(single.abs().max()))
    assert not torch.allclose(batched, extract(built, images.double(), (labels + 1) % CLASSES).maps)


def test_several_take_one_pass() -> None:
    built, (images, labels) = make("cam", "deit"), batch(side=SIDE)
    several = [unguided(name, block) for name in FROM_GRADIENTS for block in BLOCKS] + [extractor("cam")]
    alone = [extract(built, images, labels) for extract in several]
    forward: list[str] = []
    for name, block in built.network.backbone.blocks.items():
        block.register_forward_hook(lambda *_, name=name: forward.append(name))
    for one, other in zip(alone, extract_together(several, built, images, labels), strict=True):
        torch.testing.assert_close(one.maps, other.maps, rtol=1e-3, atol=1e-4 * float(one.maps.abs().max()))
    assert forward == built.network.backbone.block_names


def test_at_the_features_gradients_are_the_class_weights() -> None:
    built, (images, labels) = make("cam", "deit"), batch(side=SIDE)
    own = built.score_maps(images, labels).maps.relu() * built.network.backbone.channels / 9
    torch.testing.assert_close(extractor("grad_cam")(built, images, labels).maps, own, rtol=1e-3, atol=1e-6)


def test_ablation_at_the_features_is_the_weight_times_the_mean() -> None:
    built, (images, labels) = make("cam", "deit"), batch(side=SIDE)
    output, logits = output_at(built, "norm", images, labels)
    score = logits.gather(1, labels[:, None])
    weight = built.network.head.linear.weight.detach()[labels] * output.mean(dim=(2, 3))  # type: ignore[union-attr]
    ablated = ablated_scores(built, "norm", images, labels, output, 32)
    torch.testing.assert_close(score - ablated, weight, rtol=1e-3, atol=1e-6)


@torch.no_grad()
def test_an_ablated_channel_keeps_the_class_token_of_its_image() -> None:
    built, (images, labels) = make("cam", "deit"), batch(3, SIDE)
    backbone = built.network.backbone
    output, _ = output_at(built, "blocks_0", images, labels)
    _, taps = backbone(images, ["blocks_0.prefix"])
    gone = output.clone()
    gone[:, 5] = 0
    features = backbone(images, after=("blocks_0", gone, taps["blocks_0.prefix"]))[0]
    expected = built.network.head(features).gather(1, labels[:, None])[:, 0]
    for chunk in (1, 48):
        found = ablated_scores(built, "blocks_0", images, labels, output, chunk)
        torch.testing.assert_close(found[:, 5], expected)
