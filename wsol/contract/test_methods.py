"""The contract that every method keeps, on every backbone that it works on."""

from __future__ import annotations

import copy
import functools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from wsol.contract.networks import CLASSES, make, total
from wsol.contract.stacks import METHODS, RATE, SHORT_STACKS, SIDE, TINY_RATE, every_long_stack, make_batch
from wsol.method import Method
from wsol.types import Batch, Progress

DEEP = ("resnet50", "inception_v3")
"""They leave 2x2 cells of small images, and a method may hide all four."""

FIRST, LAST = Progress(epoch=1, epochs=4, step=0, steps=20), Progress(epoch=4, epochs=4, step=19, steps=20)

every_method = pytest.mark.parametrize("name", METHODS)
every_stack = pytest.mark.parametrize(("name", "backbone"), SHORT_STACKS, scope="module")
"""The tests of a stack run one after the other."""


@functools.lru_cache(maxsize=1)
def untouched(name: str, backbone: str) -> Method:
    """The method in evaluation, for the tests of a stack that leave it as it is."""
    return make(name, backbone).eval()


@torch.no_grad()
def mean_loss(method: Method, batch: Batch, progress: Progress) -> Tensor:
    """Over several draws of what a method hides or mixes: one draw may hide all of a small map."""
    losses = []
    for seed in range(4):
        torch.manual_seed(seed)
        losses.append(total(method(batch, progress)))
    return torch.stack(losses).mean()


@every_stack
def test_every_step_has_named_finite_loss_terms_and_a_gradient_for_every_parameter(name: str, backbone: str) -> None:
    """Distributed training waits for every one of them."""
    method = make(name, backbone).train()
    trainable = {key: p for key, p in method.named_parameters() if p.requires_grad}
    assert trainable
    for progress in (FIRST, LAST):
        method.zero_grad(set_to_none=True)
        losses = method(make_batch(3), progress)  # one class is absent: the bias learns even where a method hides all
        assert losses
        for term, value in losses.items():
            assert isinstance(term, str) and term.isidentifier(), (
                f"{name}: the loss term {term!r} needs a name of letters, digits and _"
            )
            assert value.shape == () and torch.isfinite(value), (
                f"{name}: the loss term {term} should be one finite number, is {value}"
            )
        total(losses).backward()  # type: ignore[no-untyped-call]
        gradients = {key: p.grad for key, p in trainable.items() if p.grad is not None}
        unused = [key for key in trainable if key not in gradients]
        assert not unused, (
            f"{name} on {backbone}: no loss term depends on {', '.join(unused)}: use them in every step, or leave them"
            " out or frozen"
        )
        broken = [key for key, gradient in gradients.items() if not torch.isfinite(gradient).all()]
        assert not broken, f"{name} on {backbone}: the gradient of {', '.join(broken)} has NaN or infinity"
    assert any(gradient.abs().sum() > 0 for gradient in gradients.values())


@every_stack
def test_parameter_groups_hold_every_trainable_parameter_once(name: str, backbone: str) -> None:
    method = untouched(name, backbone)
    grouped = [id(p) for group in method.parameter_groups() for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in method.parameters() if p.requires_grad)


@every_long_stack
def test_loss_falls(name: str, backbone: str) -> None:
    method, batch = make(name, backbone).train(), make_batch(side=2 * SIDE if backbone in DEEP else SIDE)
    before = mean_loss(method, batch, FIRST)
    optimizer = torch.optim.SGD(method.parameters(), lr=TINY_RATE if backbone == "tiny" else RATE, momentum=0.9)
    for step in range(20):
        optimizer.zero_grad()
        total(method(batch, Progress(1, 4, step, 20))).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert mean_loss(method, batch, FIRST) < before, (
        f"{name} on {backbone}: the loss does not fall over 20 steps on one batch"
    )


@every_stack
def test_maps_are_finite_and_repeatable(name: str, backbone: str) -> None:
    method, batch = untouched(name, backbone), make_batch(4)
    first, second = (method.score_maps(batch.images, batch.labels) for _ in range(2))
    assert first.maps.ndim == 3 and len(first.maps) == len(batch.labels) and first.maps.dtype == torch.float32
    assert first.logits.shape == (len(batch.labels), CLASSES) and first.logits.dtype == torch.float32
    assert torch.isfinite(first.maps).all() and torch.isfinite(first.logits).all()
    assert not first.maps.requires_grad and not first.logits.requires_grad
    assert torch.equal(first.maps, second.maps) and torch.equal(first.logits, second.logits)


@every_stack
def test_maps_of_constant_images_are_finite(name: str, backbone: str) -> None:
    images = torch.tensor([0.0, 2.5])[:, None, None, None].expand(2, 3, SIDE, SIDE)
    finite = bool(torch.isfinite(untouched(name, backbone).score_maps(images, torch.tensor([1, 0])).maps).all())
    assert finite, (
        f"{name} on {backbone}: the map of an image of one colour has NaN or infinity: see that nothing is divided by 0"
    )


@every_stack
def test_each_image_gets_the_map_of_its_own_class(name: str, backbone: str) -> None:
    method, images = untouched(name, backbone), make_batch(4).images
    labels = torch.tensor([3, 0, 0, 2])
    batched = method.score_maps(images, labels)
    for image in range(len(labels)):
        single = method.score_maps(images[image : image + 1], labels[image : image + 1])
        torch.testing.assert_close(batched.maps[image], single.maps[0], rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(batched.logits[image], single.logits[0], rtol=1e-3, atol=1e-5)


@every_method
@pytest.mark.parametrize("training", [True, False])
def test_score_maps_leave_modes_gradients_and_random_state_alone(name: str, training: bool) -> None:
    method, batch = make(name).train(training), make_batch()
    modes = [module.training for module in method.modules()]
    frozen = [p.requires_grad for p in method.parameters()]
    if not training:
        state = copy.deepcopy(method.state_dict())
    random = torch.get_rng_state()
    method.score_maps(batch.images, batch.labels)
    assert [module.training for module in method.modules()] == modes
    assert [p.requires_grad for p in method.parameters()] == frozen
    assert all(p.grad is None for p in method.parameters())
    if not training:
        assert torch.equal(torch.get_rng_state(), random)
        assert all(torch.equal(value, state[key]) for key, value in method.state_dict().items())


@every_method
def test_training_steps_do_not_change_their_batch(name: str) -> None:
    method, batch = make(name).train(), make_batch()
    images, labels = batch.images.clone(), batch.labels.clone()
    total(method(batch, LAST)).backward()  # type: ignore[no-untyped-call]
    assert torch.equal(batch.images, images) and torch.equal(batch.labels, labels)
    assert batch.mixed_labels is None


@every_method
def test_steps_repeat_with_the_seed(name: str) -> None:
    first, second = (mean_loss(make(name).train(), make_batch(), LAST) for _ in range(2))
    assert torch.equal(first, second)


@every_method
def test_label_mixing_composes(name: str) -> None:
    """Two label sets with the same labels are one label set."""
    plain = make_batch()
    same = replace(plain, mixed_labels=plain.labels, mixed_weight=0.3)
    losses = []
    for batch in (plain, same):
        method = make(name).train()
        torch.manual_seed(7)
        losses.append(total(method.losses(batch, LAST)))
    torch.testing.assert_close(losses[0], losses[1])


@every_long_stack
def test_checkpoint_round_trip(name: str, backbone: str, tmp_path: Path) -> None:
    method, batch = make(name, backbone).train(), make_batch(4)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.01)
    total(method(batch, FIRST)).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    torch.save(method.state_dict(), tmp_path / "weights.pt")
    again = make(name, backbone)
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    maps, restored = (m.eval().score_maps(batch.images, batch.labels).maps for m in (method, again))
    assert torch.equal(maps, restored)
