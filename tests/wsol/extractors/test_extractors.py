"""The contract that every extractor keeps with every kind of method, and the recorded maps.

A new file in `wsol/extractors/` is tested here without being named, with the defaults of its `Config`.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support import vectors
from tests.support.extracting import (
    AT_BLOCKS,
    EXTRACTORS,
    FROM_GRADIENTS,
    METHODS,
    SIDE,
    batch,
    every_gradient,
    extractor,
    make,
    normalized,
)
from tests.support.recorded_networks import recorded_method
from tests.support.small_networks import CLASSES
from wsol.extractor import extract_together
from wsol.method import Method

BACKBONES = ("tiny", "efficientnet_lite0", "resnet50", "inception_v3", "vgg16")
RECORDED = {"grad_cam": "grad_cam", "grad_cam_pp": "grad_cam_plus_plus", "pcs": "pcs", "bag_cams": "bag_cams"}

every_extractor = pytest.mark.parametrize("name", EXTRACTORS)
every_block = pytest.mark.parametrize("name", AT_BLOCKS)

every_method = pytest.mark.parametrize("method", METHODS)


def early_block(method: Method) -> str:
    names = method.network.backbone.block_names
    return names[len(names) // 2 - 1]


# --- recorded maps ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["layer1", "layer2", "layer3", "layer4"])
@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.parametrize("path", vectors.files("post_hoc_maps"))
def test_recorded_maps(path: Path, name: str, layer: str) -> None:
    arrays = vectors.load(path)
    images, labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"])
    found = extractor(name, block=layer)(recorded_method(arrays), images, labels)
    np.testing.assert_allclose(
        normalized(found.maps, images.shape[-1]).numpy(), arrays[f"{RECORDED[name]}_{layer}"], rtol=0, atol=1e-4
    )
    np.testing.assert_allclose(found.logits.numpy(), arrays["logits"], rtol=0, atol=1e-4)


# --- the contract -----------------------------------------------------------------------------------------------------


@every_method
@every_extractor
def test_maps_are_finite_and_repeatable(name: str, method: str) -> None:
    built, (images, labels) = make(method), batch()
    first, second = (extractor(name)(built, images, labels) for _ in range(2))
    assert first.maps.ndim == 3 and len(first.maps) == len(labels) and first.maps.dtype == torch.float32
    assert first.logits.shape == (len(labels), CLASSES) and first.logits.dtype == torch.float32
    assert torch.isfinite(first.maps).all() and not first.maps.requires_grad and not first.logits.requires_grad
    assert (first.maps > 0).any()
    assert torch.equal(first.maps, second.maps) and torch.equal(first.logits, second.logits)
    assert torch.equal(first.logits, built.score_maps(images, labels).logits)


@every_method
@every_extractor
def test_maps_of_constant_images_are_finite(name: str, method: str) -> None:
    images = torch.tensor([0.0, 2.5])[:, None, None, None].expand(2, 3, SIDE, SIDE)
    finite = bool(torch.isfinite(extractor(name)(make(method), images, torch.tensor([1, 0])).maps).all())
    assert finite, (
        f"{name} of {method}: the map of an image of one colour has NaN or infinity: see that nothing is divided by 0"
    )


@pytest.mark.parametrize("early", [False, True], ids=["last", "early"])
@every_method
@every_gradient
def test_each_image_gets_the_map_of_its_own_class(name: str, method: str, early: bool) -> None:
    built, (images, labels) = make(method).double(), batch()  # Grad-CAM++ divides by differences that cancel
    extract = extractor(name, block=early_block(built) if early else None)
    batched = extract(built, images.double(), labels).maps
    for image, label in enumerate(labels):
        single = extract(built, images[image : image + 1].double(), label[None]).maps[0]
        torch.testing.assert_close(batched[image], single, rtol=1e-3, atol=1e-4 * float(single.max()))
    other = extract(built, images.double(), (labels + 1) % CLASSES).maps
    assert not torch.allclose(batched / batched.amax(), other / other.amax(), atol=1e-3)


def traces(method: Method) -> list[object]:
    """What an extractor must leave alone."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [
        [(module.training, *(len(getattr(module, kind)) for kind in hooks)) for module in method.modules()],
        [(p.requires_grad, p.grad is None) for p in method.parameters()],
        method.network.backbone._shared,
    ]


@pytest.mark.parametrize("training", [True, False])
@every_method
@every_block
def test_extractors_leave_modes_gradients_and_random_state_alone(name: str, method: str, training: bool) -> None:
    built, (images, labels) = make(method).train(training), batch()
    built.network.backbone.blocks["conv1"].requires_grad_(False)
    before, state, random = traces(built), copy.deepcopy(built.state_dict()), torch.get_rng_state()
    extractor(name, block=early_block(built))(built, images, labels)
    assert traces(built) == before and not images.requires_grad
    assert training or all(torch.equal(value, state[key]) for key, value in built.state_dict().items())
    assert training or torch.equal(torch.get_rng_state(), random)


@every_gradient
def test_everything_is_restored_after_an_exception(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    built, (images, labels) = make("cam"), batch()
    before, first = traces(built), extractor(name)(built, images, labels)

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(torch.autograd, "grad", fail)
        with pytest.raises(MemoryError):
            extractor(name)(built, images, labels)
    assert traces(built) == before
    assert torch.equal(extractor(name)(built, images, labels).maps, first.maps)


@every_block
def test_frozen_networks_and_calls_without_gradient_give_the_same_maps(name: str) -> None:
    built, (images, labels) = make("cam"), batch()
    extract = extractor(name, block=early_block(built))
    maps = extract(built, images, labels).maps
    with torch.no_grad():
        assert torch.equal(extract(built, images, labels).maps, maps)
    assert torch.equal(extract(built.requires_grad_(False), images, labels).maps, maps)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_published_backbone_at_several_blocks(backbone: str) -> None:
    built, (images, labels) = make("cam", backbone), batch(2)
    names = built.network.backbone.block_names
    blocks = [names[0], names[len(names) // 2], names[-1]]
    several = [extractor(name, block=block) for name in FROM_GRADIENTS for block in blocks]
    for scores in extract_together(several, built, images, labels):
        assert torch.isfinite(scores.maps).all() and len(scores.maps) == 2
