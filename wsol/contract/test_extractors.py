"""The contract that every extractor keeps with every kind of method."""

from __future__ import annotations

import copy

import pytest
import torch

from wsol.contract.extracting import AT_BLOCKS, EXTRACTORS, METHODS, SIDE, batch, every_gradient, extractor, make
from wsol.contract.networks import CLASSES
from wsol.method import Method

every_extractor = pytest.mark.parametrize("name", EXTRACTORS)
every_block = pytest.mark.parametrize("name", AT_BLOCKS)
every_method = pytest.mark.parametrize("method", METHODS)


def early_block(method: Method) -> str:
    names = method.network.backbone.block_names
    return names[len(names) // 2 - 1]


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
