"""CropCAM: the recorded numbers, its boxes and pictures, what it adds to other methods, and two workers as one."""

from __future__ import annotations

import datetime
import multiprocessing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

from tests.support import vectors
from wsol import build, plugins
from wsol.method import Method
from wsol.methods import crop_cam
from wsol.methods.crop_cam import consistency
from wsol.network import Backbone, BlockInfo, CamHead, Classifier
from wsol.normalizers.min_max import min_max
from wsol.ops import crop
from wsol.types import Batch, Progress

CLASSES, SIDE = 4, 32
PROGRESS = Progress(epoch=1, epochs=1, step=0, steps=1)
BASES = ("cam", "has", "cutmix", "adl", "acol", "spg", "tap", "bridging_gap")


def make(batch_norm: bool = True, **fields: object) -> Method:
    torch.manual_seed(0)
    plugin = plugins.load("backbone", "tiny")
    backbone = plugin.build(plugin.Config(width=8, batch_norm=batch_norm))
    return build.around(crop_cam.Config(**fields), Classifier(backbone, CamHead(backbone.channels, CLASSES)))


def make_batch(count: int = 8, seed: int = 1) -> Batch:
    """Noise with a bright square whose place is the class."""
    images = 0.2 * torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(count) % CLASSES
    for image, label in zip(images, labels.tolist(), strict=True):
        top, left = (label // 2) * SIDE // 2, (label % 2) * SIDE // 2
        image[:, top + 4 : top + 12, left + 4 : left + 12] += torch.tensor([1.0, -1.0, 0.5]).roll(label)[:, None, None]
    return Batch(images, labels)


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def seeded(method: Method, batch: Batch, progress: Progress = PROGRESS) -> dict[str, Tensor]:
    torch.manual_seed(3)
    return method.losses(batch, progress)


# --- recorded numbers -------------------------------------------------------------------------------------------------


def recorded_method(vector: dict[str, np.ndarray]) -> Method:
    """The recorded network with the recorded settings."""
    convs = (nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 24, 3, 2, 1), nn.Conv2d(24, 32, 3, 4, 1))
    names, channels = ("conv", "conv2", "conv3"), (16, 24, 32)
    blocks = {name: nn.Sequential(conv, nn.ReLU()) for name, conv in zip(names, convs, strict=True)}
    infos = {name: BlockInfo(count, stride) for name, count, stride in zip(names, channels, (2, 4, 16), strict=True)}
    network = Classifier(Backbone(blocks, infos), CamHead(32, 5))
    for name, parameter in recorded_parameters(network).items():
        parameter.data = torch.from_numpy(vector[f"param_{name}"])
    normalizer = {"minmax": "min_max"}.get(str(vector["norm_method"]), str(vector["norm_method"]))
    config = crop_cam.Config(
        positive_weight=float(vector["loss_pos"]),
        negative_weight=float(vector["loss_neg"]),
        classification_share=float(vector["loss_ratio"]),
        crop_threshold=float(vector["crop_threshold"]),
        max_crop_area=float(vector["crop_ratio"]),
        box_union={"true": "exact"}.get(str(vector["box_union"]), str(vector["box_union"])),
        normalizer={"name": normalizer if vector["crop_with_norm"] else "min_max"},
    )
    return build.around(config, network)


def recorded_parameters(network: Classifier) -> dict[str, nn.Parameter]:
    modules = {**{name: block[0] for name, block in network.backbone.blocks.items()}, "fc": network.head.linear}
    return {f"{name}.{kind}": getattr(module, kind) for name, module in modules.items() for kind in ("weight", "bias")}


def assert_recorded(found: Tensor, recorded: np.ndarray) -> None:
    """2e-4 of the largest value."""
    expected = torch.tensor(recorded, dtype=torch.float64)
    torch.testing.assert_close(
        found.detach().double().reshape(expected.shape), expected, rtol=0, atol=2e-4 * expected.abs().max().item()
    )


@pytest.mark.parametrize("path", vectors.files("crop_cam"))
def test_crop_cam_is_the_published_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vector = vectors.load(path)
    images = (
        torch.from_numpy(vector["images_56_repeat_each_pixel_4x4"])
        .float()
        .repeat_interleave(4, 2)
        .repeat_interleave(4, 3)
    )
    labels, method = torch.from_numpy(vector["labels"]), recorded_method(vector)
    seen: dict[str, Tensor] = {}

    def watched(maps: Tensor, pasted: Tensor, scope: crop_cam.Scope) -> tuple[Tensor, Tensor]:
        seen.update(maps=maps, pasted=pasted)
        return consistency(maps, pasted, scope)

    monkeypatch.setattr(crop_cam, "consistency", watched)
    losses = method(Batch(images, labels), PROGRESS)
    total(losses).backward()
    assert_recorded(seen["maps"], vector["attention"])
    assert_recorded(seen["pasted"], vector["attention_crop"])
    assert_recorded(1 - seen["pasted"], vector["attention_background"])
    share = float(vector["loss_ratio"])
    assert_recorded(losses["classification"] / (2 * share), vector["classification_loss"])
    assert_recorded((losses["positive"] + losses["negative"]) / (2 * (1 - share)), vector["attention_loss"])
    assert_recorded(total(losses), vector["total_loss"])
    for name, parameter in recorded_parameters(method.network).items():
        assert parameter.grad is not None
        assert_recorded(parameter.grad, vector[f"grad_{name}"])

    boxes = method._boxes(torch.from_numpy(vector["attention"])[:, 0])
    assert torch.equal(boxes, torch.from_numpy(vector["crop_range_xywh"]))
    zoomed = crop.zoom(images, crop.rescaled(boxes, (14, 14), (224, 224)))
    assert_recorded(method.activate(zoomed, labels).logits, vector["logits_crop"])
    scores = method.eval().score_maps(images, labels)
    assert_recorded(scores.logits, vector["logits"])
    assert_recorded(scores.maps, vector["eval_cam"])


@pytest.mark.parametrize("path", vectors.files("crop_cam_evaluation"))
def test_evaluation_maps_are_the_published_ones(path: Path) -> None:
    """The released code has another IVR than its paper's, also in evaluation; with the paper's the maps differ."""
    vector = vectors.load(path)
    method = recorded_evaluation(vector, form="crop_cam")
    images = 2 * F.interpolate(torch.from_numpy(vector["noise"]), (224, 224), mode="bicubic", align_corners=False)
    labels, recorded = torch.from_numpy(vector["labels"]), torch.from_numpy(vector["maps_every_second"])

    maps = min_max(method.eval().score_maps(images, labels).maps)
    torch.testing.assert_close(maps[:, ::2, ::2], recorded, rtol=0, atol=1e-5)


def test_ivr_of_the_released_code_changes_what_evaluation_shows() -> None:
    """So a search for the published numbers needs `form: crop_cam`."""
    path = next((vectors.OWN / "crop_cam_evaluation").glob("ivr*feature_mean.npz"))
    vector = vectors.load(path)
    images = 2 * F.interpolate(torch.from_numpy(vector["noise"]), (224, 224), mode="bicubic", align_corners=False)
    labels, recorded = torch.from_numpy(vector["labels"]), torch.from_numpy(vector["maps_every_second"])
    maps = recorded_evaluation(vector, form="paper").eval().score_maps(images, labels).maps
    assert (min_max(maps)[:, ::2, ::2] - recorded).abs().max() > 0.1


def recorded_evaluation(vector: dict[str, np.ndarray], form: str) -> Method:
    """Three convolutions with ReLU, and the recorded settings of evaluation."""
    blocks, infos = {}, {}
    kernels = sorted(name for name in vector if name.startswith("param_") and vector[name].ndim == 4)
    for index, name in enumerate(kernels):
        weight = torch.from_numpy(vector[name])
        conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3, 2, 1)
        bias = torch.from_numpy(vector[name.replace("weight", "bias")])
        conv.load_state_dict({"weight": weight, "bias": bias})
        blocks[f"conv{index}"] = nn.Sequential(conv, nn.ReLU())
        infos[f"conv{index}"] = BlockInfo(weight.shape[0], 2 ** (index + 1))
    (linear,) = (name for name in vector if name.startswith("param_") and vector[name].ndim == 2)
    weight = torch.from_numpy(vector[linear])
    network = Classifier(Backbone(blocks, infos), CamHead(weight.shape[1], len(weight)))
    bias = torch.from_numpy(vector[linear.replace("weight", "bias")])
    network.head.linear.load_state_dict({"weight": weight, "bias": bias})
    kind = {"minmax": "min_max"}.get(str(vector["normalizer"]), str(vector["normalizer"]))
    percentile = {"lower_percentile": float(vector["lower_percentile"]), "form": form} if kind == "ivr" else {}
    config = crop_cam.Config(
        crop_threshold=float(vector["crop_threshold"]),
        max_crop_area=float(vector["max_crop_area"]),
        box_union="legacy",
        map_source={"class_map": "class"}.get(str(vector["map_source"]), str(vector["map_source"])),
        normalizer={"name": kind, **percentile},
    )
    return build.around(config, network)


@pytest.mark.parametrize(
    ("weights", "contrast", "whole"),
    [
        ((0.9, 0.1, 0.9), 1.116003, 1.835091),
        ((0.2, 1.3, 0.9), 0.317560, 1.675403),
        ((1.0, 0.0, 0.4), 1.190476, 2.144967),
        ((0.8, 0.8, 0.2), 0.708975, 1.492558),
    ],
)
def test_loss_by_hand(weights: tuple[float, float, float], contrast: float, whole: float) -> None:
    positive, negative, share = weights
    method = make(positive_weight=positive, negative_weight=negative, classification_share=share)
    maps, pasted = torch.tensor([[[1.0, 0.0], [0.5, 0.25]]]), torch.tensor([[[1.0, 0.5], [0.0, 0.25]]])
    assert [d.item() for d in consistency(maps, pasted, "batch")] == pytest.approx([0.190476, 0.554258], abs=1e-6)
    terms = method._consistency(maps, pasted)
    assert total(terms).item() == pytest.approx(2 * (1 - share) * contrast, abs=2e-6)
    assert total(terms).item() + 2 * share * 0.895495 == pytest.approx(whole, abs=2e-6)


# --- boxes and pictures -----------------------------------------------------------------------------------------------


def rectangles(*boxes: tuple[int, int, int, int], side: int = 28) -> Tensor:
    mask = torch.zeros(1, side, side, dtype=torch.bool)
    for x, y, w, h in boxes:
        mask[0, y : y + h, x : x + w] = True
    return mask


def test_boxes_of_two_components() -> None:
    mask = rectangles((18, 20, 6, 4), (4, 3, 3, 3))
    assert crop.enclosing_boxes(mask).tolist() == [[4, 3, 20, 21]]
    assert crop.legacy_boxes(mask).tolist() == [[4, 3, 6, 4]]


@pytest.mark.parametrize("find", [crop.enclosing_boxes, crop.legacy_boxes])
def test_box_without_cells_is_the_whole_map(find) -> None:
    masks = torch.zeros(2, 5, 7, dtype=torch.bool)
    masks[1, 4, 6] = True
    assert find(masks).tolist() == [[0, 0, 7, 5], [6, 4, 1, 1]]


def contour_boxes(mask: np.ndarray) -> list[int]:
    """The released rule on OpenCV's contours, in their order."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    x, y, w, h = cv2.boundingRect(contours[0])
    for contour in contours[1:]:
        left, top, width, height = cv2.boundingRect(contour)
        x, y = min(x, left), min(y, top)
        w, h = max(w, left + width - x), max(h, top + height - y)
    return [x, y, w, h]


@pytest.mark.parametrize("density", [0.02, 0.1, 0.3, 0.6])
def test_boxes_on_random_masks(density: float) -> None:
    masks = torch.rand(60, 14, 11, generator=torch.Generator().manual_seed(0)) < density
    masks = masks[masks.flatten(1).any(1)]
    assert crop.legacy_boxes(masks).tolist() == [contour_boxes(mask) for mask in masks.numpy()]
    expected = [[*(f := mask.nonzero().amin(0).flip(0)), *(mask.nonzero().amax(0).flip(0) - f + 1)] for mask in masks]
    assert crop.enclosing_boxes(masks).tolist() == [[int(value) for value in box] for box in expected]


@pytest.mark.parametrize(
    ("box", "square"),
    [
        ((24, 4, 4, 20), (16, 4, 12, 20)),
        ((0, 4, 4, 20), (0, 4, 20, 20)),
        ((5, 5, 6, 7), (4, 5, 7, 7)),
        ((10, 0, 3, 28), (0, 0, 28, 28)),
        ((20, 10, 8, 4), (20, 8, 8, 8)),
        ((1, 20, 10, 5), (1, 17, 10, 10)),
        ((4, 3, 20, 21), (3, 3, 21, 21)),
    ],
)
def test_squares_of_the_reference(box: tuple[int, ...], square: tuple[int, ...]) -> None:
    assert crop.squared(torch.tensor([box]), (28, 28)).tolist() == [list(square)]


def test_zoom_sees_only_its_box() -> None:
    images = torch.randn(2, 3, 16, 16)
    boxes = torch.tensor([[4, 8, 6, 3], [0, 0, 16, 16]])
    zoomed = crop.zoom(images, boxes)
    torch.testing.assert_close(zoomed[1], images[1])
    outside = torch.ones(16, 16).bool()
    outside[8:11, 4:10] = False
    assert torch.equal(zoomed[0], crop.zoom(images.masked_fill(outside, 9.0), boxes)[0])


def test_paste_normalises_inside_its_box_and_leaves_single_cells() -> None:
    maps, inside = torch.rand(3, 8, 8), torch.randn(3, 8, 8)
    inside[2] = float("nan")
    pasted = crop.paste(maps, inside, torch.tensor([[2, 3, 4, 2], [5, 5, 1, 1], [0, 0, 8, 8]]), min_max)
    region = pasted[0, 3:5, 2:6]
    assert (region.min(), region.max()) == (0, 1)
    changed = pasted[0] != maps[0]
    changed[3:5, 2:6] = False
    assert not changed.any() and torch.equal(pasted[1], maps[1]) and not pasted[2].any()


def test_boxes_of_cells_that_do_not_divide_the_image() -> None:
    boxes = torch.tensor([[0, 0, 3, 7], [6, 2, 1, 1]])
    assert crop.rescaled(boxes, (7, 7), (100, 50)).tolist() == [[0, 0, 21, 100], [42, 28, 8, 14]]


# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["batch", "worker", "sample"])
def test_consistency_of_zero_maps_is_finite(scope: crop_cam.Scope) -> None:
    maps = torch.zeros(2, 3, 3, requires_grad=True)
    for pasted in (torch.zeros(2, 3, 3), torch.ones(2, 3, 3)):
        distances = torch.stack(consistency(maps, pasted, scope))
        (gradient,) = torch.autograd.grad(distances.sum(), maps)
        assert distances.tolist() == [1, 1] and not gradient.any()


def test_cosine_per_image_is_the_mean_over_images() -> None:
    maps, pasted = torch.rand(4, 5, 5) * torch.tensor([0.1, 1, 1, 1])[:, None, None], torch.rand(4, 5, 5)
    single = torch.stack(
        [torch.stack(consistency(m[None], p[None], "batch")) for m, p in zip(maps, pasted, strict=True)]
    )
    torch.testing.assert_close(torch.stack(consistency(maps, pasted, "sample")), single.mean(0))
    assert not torch.allclose(torch.stack(consistency(maps, pasted, "batch")), single.mean(0), atol=1e-4)


@pytest.mark.parametrize(
    "fields", [{}, {"paste_at": "image"}, {"cosine": "sample"}, {"box_union": "legacy"}, {"map_source": "feature_mean"}]
)
def test_consistency_trains_the_network_through_the_first_map(fields: dict[str, object]) -> None:
    """Without cross entropy; both distances' terms fall."""
    method, batch = make(classification_share=0.0, crop_threshold=0.5, **fields), make_batch()
    before = method(batch, PROGRESS)
    assert before["classification"] == 0
    (before["positive"] + before["negative"]).backward(retain_graph=True)
    assert all(p.grad.abs().sum() > 0 for p in method.network.backbone.parameters() if p.ndim > 1)
    assert (method.network.head.linear.weight.grad is not None) == (method.config.map_source == "class")
    for term in ("positive", "negative"):
        method = make(classification_share=0.0, crop_threshold=0.5, **fields)
        optimizer = torch.optim.SGD(method.parameters(), lr=0.05, momentum=0.9)
        for _ in range(20):
            optimizer.zero_grad()
            method(batch, PROGRESS)[term].backward()
            optimizer.step()
        assert method(batch, PROGRESS)[term] < before[term] - 0.01


def test_the_second_look_learns_from_cross_entropy_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch, looks = make(crop_threshold=0.5).train(), make_batch(), []
    activate = method.base.activate

    def watched(images, labels, taps=()):
        looks.append(activate(images, labels, taps))
        return looks[-1]

    monkeypatch.setattr(method.base, "activate", watched)
    losses = method(batch, PROGRESS)
    first, second = looks
    for term in ("positive", "negative"):
        reached = torch.autograd.grad(
            losses[term], (first.features, second.features), retain_graph=True, allow_unused=True
        )
        assert reached[0] is not None and reached[0].any() and reached[1] is None
    assert all(g.any() for g in torch.autograd.grad(losses["classification"], (first.features, second.features)))


@pytest.mark.parametrize("name", BASES)
def test_the_terms_of_both_looks_of_the_base_are_added(name: str) -> None:
    """With all cells in the box both looks see nearly the same image, so every term is twice that of one look."""
    method, batch = (
        make(base={"name": name}, crop_threshold=0.0, classification_share=0.7, batch_norm=False),
        make_batch(),
    )
    method._boxes = lambda maps: torch.tensor([[0, 0, *maps.shape[1:]]] * len(maps))
    method.eval()  # the methods draw in training
    alone, joint = seeded(method.base, batch), seeded(method, batch)
    assert set(joint) == {*alone, "positive", "negative"}
    for term, value in alone.items():
        torch.testing.assert_close(joint[term], 2 * (0.7 if term == "classification" else 1.0) * value)


@pytest.mark.parametrize("name", BASES)
def test_every_base_trains_and_is_evaluated(name: str) -> None:
    method, batch = make(base={"name": name}, crop_threshold=0.5, max_crop_area=1.0).train(), make_batch()
    torch.manual_seed(0)
    losses = method(batch, PROGRESS)
    total(losses).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in method.parameters())
    maps = method.eval().score_maps(batch.images, batch.labels).maps
    assert maps.shape == (8, SIDE, SIDE) and maps.min() >= 0 and maps.max() <= 1 and maps.flatten(1).std(1).min() > 0


def test_before_its_start_epoch_it_is_the_base_with_all_gradients() -> None:
    method, batch = make(start_epoch=3).train(), make_batch()
    early, late = (seeded(method, batch, replace(PROGRESS, epoch=epoch, epochs=4)) for epoch in (2, 3))
    assert early.keys() == {"classification"} and late.keys() == {"classification", "positive", "negative"}
    torch.testing.assert_close(early["classification"], seeded(method.base, batch)["classification"])
    total(early).backward()
    assert all(p.grad is not None for p in method.parameters())


def test_broken_images_give_finite_losses() -> None:
    """A constant image, and a network whose maps are all zero."""
    method, batch = make(batch_norm=False), make_batch()
    constant = replace(batch, images=torch.zeros_like(batch.images))
    dead = make(batch_norm=False)
    dead.network.head.linear.weight.data.zero_()
    for one, images in ((method, constant), (dead, batch)):
        losses = one(images, PROGRESS)
        total(losses).backward()
        assert all(torch.isfinite(value) for value in losses.values())
        assert all(torch.isfinite(p.grad).all() for p in one.parameters())
        assert torch.isfinite(one.eval().score_maps(images.images, images.labels).maps).all()


def test_a_step_in_bfloat16_compares_maps_in_float32() -> None:
    method, batch = make(), make_batch()
    with torch.autocast("cpu", torch.bfloat16):
        losses = method(batch, PROGRESS)
        maps = method.eval().score_maps(batch.images, batch.labels).maps
    total(losses).backward()
    assert losses["positive"].dtype == losses["negative"].dtype == maps.dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in method.parameters())


@pytest.mark.parametrize("normalizer", plugins.names("normalizer"))
def test_every_normalizer_is_differentiable_inside(normalizer: str) -> None:
    method = make(normalizer={"name": normalizer}, classification_share=0.2, crop_threshold=0.5)
    total(method(make_batch(), PROGRESS)).backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters())


# --- maps -------------------------------------------------------------------------------------------------------------


def test_feature_mean_needs_no_class_and_class_mean_no_one_class() -> None:
    batch = make_batch()
    for source, other in (("feature_mean", True), ("class_mean", True), ("class", False)):
        method = make(map_source=source).eval()
        first, second = (
            method.score_maps(batch.images, labels).maps for labels in (batch.labels, (batch.labels + 1) % CLASSES)
        )
        assert torch.equal(first, second) == other
    activations = method.activate(batch.images, batch.labels)
    sources = {
        source: make(map_source=source).eval()._map(activations, batch.label_sets())
        for source in ("feature_mean", "class_mean")
    }
    torch.testing.assert_close(sources["feature_mean"], activations.features.mean(1))
    weight = method.network.head.linear.weight.mean(0)
    torch.testing.assert_close(
        sources["class_mean"], torch.einsum("bchw,c->bhw", activations.features, weight) / len(weight)
    )


def test_max_crop_area_chooses_image_by_image_and_changes_no_weight() -> None:
    batch, weights = make_batch(), make().state_dict()
    maps, areas = {}, torch.empty(0)
    for limit in (0.0, 0.4, 1.0):
        method = make(max_crop_area=limit, crop_threshold=0.6).eval()
        method.load_state_dict(weights)
        maps[limit] = method.score_maps(batch.images, batch.labels).maps
        cells = min_max(method.class_map(method.activate(batch.images, batch.labels), batch.labels))
        areas = method._boxes(cells)[:, 2:].double().prod(1) / cells[0].numel()
    small = areas < 0.4
    assert small.any() and not small.all()
    changed = (maps[0.0] != maps[1.0]).flatten(1).any(1)
    assert torch.equal(changed, areas < 1)
    torch.testing.assert_close(maps[0.4], torch.where(small[:, None, None], maps[1.0], maps[0.0]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_without_a_small_box_there_is_no_second_look(limit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch, looks = make(max_crop_area=limit, crop_threshold=0.6).eval(), make_batch(), []
    forward = method.network.forward
    monkeypatch.setattr(method.network, "forward", lambda *arguments: looks.append(1) or forward(*arguments))
    method.score_maps(batch.images, batch.labels)
    assert len(looks) == (1 if limit == 0 else 2)


@pytest.mark.parametrize(
    "fields",
    [
        {"classification_share": 1.1},
        {"crop_threshold": 1.0},
        {"max_crop_area": -0.1},
        {"start_epoch": 0},
        {"map_source": "mean"},
        {"base": {"name": "camm"}},
        {"base": {"name": "has", "drop_rate": 2.0}},
        {"normalizer": {"name": "ivr", "lower_percentile": 1.0}},
    ],
)
def test_ranges(fields: dict[str, object]) -> None:
    with pytest.raises((ValidationError, ValueError)):
        crop_cam.Config(**fields)


# --- two workers ------------------------------------------------------------------------------------------------------

SHARES = (slice(0, 5), slice(5, 8))


def step(module: nn.Module, method: Method, batch: Batch, weight: float) -> dict[str, Tensor]:
    losses = module(batch, PROGRESS)
    (total(losses) * weight).backward()
    values = {"positive": losses["positive"].detach(), "negative": losses["negative"].detach()}
    return {**values, **{name: p.grad for name, p in method.named_parameters()}}


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{folder}/store", rank=rank, world_size=2, timeout=datetime.timedelta(seconds=60)
    )
    whole = make_batch()
    for scope in ("batch", "worker"):
        method = make(batch_norm=False, cosine=scope, classification_share=0.3, crop_threshold=0.5)
        share = Batch(whole.images[SHARES[rank]], whole.labels[SHARES[rank]])
        wrapped = nn.parallel.DistributedDataParallel(method)
        torch.save(step(wrapped, method, share, 2 * len(share.labels) / 8), Path(folder) / f"{scope}_{rank}.pt")
    dist.destroy_process_group()


def test_two_workers_equal_one(tmp_path: Path) -> None:
    """Also with shares of 5 and 3 images; a cosine of each worker's maps is another loss."""
    multiprocessing.set_forkserver_preload(["torch._dynamo"])  # imported once for both
    torch.multiprocessing.start_processes(worker, (str(tmp_path),), nprocs=2, start_method="forkserver")
    method = make(batch_norm=False, classification_share=0.3, crop_threshold=0.5)
    alone = step(method, method, make_batch(), 1.0)
    for rank in range(2):
        together, apart = (
            torch.load(tmp_path / f"{scope}_{rank}.pt", weights_only=True) for scope in ("batch", "worker")
        )
        for name, value in alone.items():
            torch.testing.assert_close(together[name], value, rtol=0, atol=1e-5 * max(1.0, value.abs().max().item()))
        assert not torch.allclose(apart["positive"], alone["positive"], atol=1e-5)
