"""Few-shot learning: what its loss counts, and that a class never reaches the map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from wsol import plugins
from wsol.config import EvaluationConfig
from wsol.contract.networks import CLASSES, make
from wsol.contract.stacks import make_batch
from wsol.errors import InputError
from wsol.extractor import extract_together
from wsol.extractors import cam, grad_cam
from wsol.method import Method
from wsol.methods.few_shot import Config, SaliencyHead, saliency_loss
from wsol.metric import Sample
from wsol.network import CamHead
from wsol.ops.resize import resize_maps
from wsol.types import Annotation, Progress

PROGRESS = Progress(1, 4, 0, 20)
SIDE, CELLS = 32, 8


def drawn(seed: int = 0, images: int = 3) -> tuple[Tensor, Tensor]:
    """Scores on 8 x 8 cells, and targets on 32 x 32 pixels of which some are ignored."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 2, (images, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    targets[torch.rand(targets.shape, generator=generator) < 0.3] = 255
    return torch.randn(images, CELLS, CELLS, generator=generator, requires_grad=True), targets


def by_hand(scores: Tensor, targets: Tensor) -> Tensor:
    """Pixel by pixel: -log p where there is an object, -log(1 - p) where there is none."""
    probability = F.interpolate(scores[:, None], size=targets.shape[1:], mode="bilinear")[:, 0].double().sigmoid()
    images = []
    for one, target in zip(probability, targets, strict=True):
        images.append(torch.cat([-one[target == 1].log(), -(1 - one[target == 0]).log()]).mean())
    return torch.stack(images).mean()


def test_the_loss_is_the_mean_cross_entropy_of_the_pixels_that_count() -> None:
    scores, targets = drawn()
    loss = saliency_loss(scores, targets, at_image=True)
    torch.testing.assert_close(loss.double(), by_hand(scores, targets), rtol=1e-5, atol=0)


@pytest.mark.parametrize("at_image", [True, False])
def test_what_is_ignored_changes_nothing_and_gets_no_gradient(at_image: bool) -> None:
    scores, targets = drawn()
    whole = targets.clone()
    whole[:, : SIDE // 2] = 255  # the upper half of the cells, and what they are enlarged to but for a border
    upper = scores.detach().clone()
    upper[:, : CELLS // 2 - 1] += 5.0
    losses = [saliency_loss(one, whole, at_image=at_image) for one in (scores, upper)]
    torch.testing.assert_close(losses[0], losses[1])
    (gradient,) = torch.autograd.grad(losses[0], scores)
    assert not gradient[:, : CELLS // 2 - 1].any() and gradient[:, CELLS // 2 :].all()
    nothing = torch.full_like(targets, 255)
    assert saliency_loss(scores, nothing, at_image=at_image) == 0
    (gradient,) = torch.autograd.grad(saliency_loss(scores, nothing, at_image=at_image), scores)
    assert not gradient.any()


def test_a_cell_is_taught_the_share_of_its_pixels_that_are_object() -> None:
    """And weighs as much as it has pixels that count: its best probability is that share."""
    targets = torch.zeros(1, 4, 4, dtype=torch.uint8)
    targets[0, :2, :2] = torch.tensor([[1, 0], [255, 255]])
    targets[0, 2:, 2:] = 1
    scores = torch.tensor([[[0.0, -40.0], [-40.0, 40.0]]], requires_grad=True)
    loss = saliency_loss(scores, targets, at_image=False)
    torch.testing.assert_close(loss, torch.tensor(0.5).log().neg() * 2 / 14, rtol=1e-5, atol=1e-7)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert gradient[0, 0, 0].abs() < 1e-7


def test_images_count_alike_so_that_workers_change_nothing() -> None:
    scores, targets = drawn(images=4)
    targets[0, 1:] = 255  # a row counts as much as a whole image
    whole = saliency_loss(scores, targets, at_image=True)
    halves = [saliency_loss(scores[rank::2], targets[rank::2], at_image=True) for rank in range(2)]
    torch.testing.assert_close(whole, torch.stack(halves).mean())


def test_features_that_know_the_target_are_learned_to_the_end() -> None:
    """The loss goes to 0, and every box is found."""
    targets = torch.zeros(4, SIDE, SIDE, dtype=torch.uint8)
    boxes = [(4, 4, 19, 27), (8, 0, 31, 15), (0, 12, 11, 23), (16, 16, 27, 31)]
    for target, (x0, y0, x1, y1) in zip(targets, boxes, strict=True):
        target[y0 : y1 + 1, x0 : x1 + 1] = 1
    features = F.avg_pool2d(targets.float(), SIDE // CELLS)[:, None].repeat(1, 2, 1, 1)
    torch.manual_seed(0)
    head = SaliencyHead(CamHead(2, CLASSES), initial_share=0.4)
    optimizer = torch.optim.Adam(head.saliency.parameters(), lr=0.3)
    for _ in range(300):
        optimizer.zero_grad()
        loss = saliency_loss(head.scores(features), targets, at_image=False)
        loss.backward()
        optimizer.step()
    assert loss < 1e-3
    config = EvaluationConfig()
    metric = plugins.build("metric", config.metrics[0], 0.01)
    maps = resize_maps(head.class_map(features, torch.zeros(4).long()).detach(), (SIDE, SIDE))
    for score_map, box in zip(plugins.build("normalizer", config.normalizer)(maps), boxes, strict=True):
        annotation = Annotation((SIDE, SIDE), np.array([box]))
        metric.update(Sample(score_map.numpy(), annotation, 0, None, 0.01))
    assert metric.compute()["max_box_acc_v2"] == 100.0


def test_the_first_map_is_the_share_that_was_given() -> None:
    head = SaliencyHead(CamHead(4, CLASSES), initial_share=0.3)
    head.saliency.weight.data.zero_()
    torch.testing.assert_close(
        head.class_map(torch.randn(1, 4, 3, 3), torch.zeros(1).long()), torch.full((1, 3, 3), 0.3)
    )


def test_no_class_reaches_the_map_and_no_map_the_classifier() -> None:
    method, batch = make("few_shot").train(), make_batch()
    terms = method(batch, PROGRESS)
    assert set(terms) == {"saliency", "classification"}
    blocks = list(method.network.backbone.parameters())
    gradients = torch.autograd.grad(terms["classification"], blocks, retain_graph=True, allow_unused=True)
    assert all(gradient is None for gradient in gradients)
    method.eval()
    others = (batch.labels + 1) % CLASSES
    maps = [method.score_maps(batch.images, labels).maps for labels in (batch.labels, others)]
    assert torch.equal(*maps) and maps[0].min() > 0 and maps[0].max() < 1


def test_it_says_what_it_lacks() -> None:
    method, batch = make("few_shot"), make_batch(2)
    with pytest.raises(ValueError, match="the batch has no targets"):
        method.train()(replace(batch, targets=None), PROGRESS)
    assert isinstance(method.eval(), Method)
    with pytest.raises(InputError, match="does not classify by the output of its block"):
        extract_together([grad_cam.build(grad_cam.Config())], method, batch.images, batch.labels)
    with pytest.raises(InputError, match="not made of class weights"):
        cam.build(cam.Config(clip_negative_weights=True))(method, batch.images, batch.labels)


def test_the_share_is_what_is_configured() -> None:
    assert Config().fullsup_share() == 0.8 and Config(train_share=1).fullsup_share() == 1.0
    others = [name for name in plugins.names("method") if name != "few_shot"]
    assert [name for name in others if plugins.load("method", name).Config().fullsup_share()] == []
