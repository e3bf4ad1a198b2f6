"""CropCAM: the recorded numbers, and what it does to maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tests.support import vectors
from tests.support.crop_cam import (
    CLASSES,
    assert_recorded,
    evaluated_images,
    evaluated_network,
    make,
    make_batch,
    recorded_images,
    recorded_network,
    recorded_parameters,
)
from tests.support.published_methods import PROGRESS
from wsol import build
from wsol.contract.networks import total
from wsol.method import Method
from wsol.methods import crop_cam
from wsol.methods.crop_cam import consistency
from wsol.normalizers.min_max import min_max
from wsol.ops import crop
from wsol.types import Activations, Batch

# --- recorded numbers -------------------------------------------------------------------------------------------------


def recorded_method(vector: dict[str, np.ndarray]) -> Method:
    """The recorded network with the recorded settings."""
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
    return build.around(config, recorded_network(vector))


@pytest.mark.parametrize("path", vectors.files("crop_cam"))
def test_crop_cam_is_the_published_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vector = vectors.load(path)
    images = recorded_images(vector)
    labels, method = torch.from_numpy(vector["labels"]), recorded_method(vector)
    seen: dict[str, Tensor] = {}
    looks: list[Tensor] = []
    activate = method.activate

    def compared(maps: Tensor, pasted: Tensor, scope: crop_cam.Scope) -> tuple[Tensor, Tensor]:
        seen.update(maps=maps, pasted=pasted)
        return consistency(maps, pasted, scope)

    def pasted(maps: Tensor, raw: Tensor, boxes: Tensor, normalize: Callable[[Tensor], Tensor]) -> Tensor:
        seen.update(boxes=boxes)
        return crop.paste(maps, raw, boxes, normalize)

    def watched(*arguments: Any) -> Activations:
        found = activate(*arguments)
        looks.append(found.logits)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(crop_cam, "consistency", compared)
        patch.setattr(crop_cam, "paste", pasted)
        patch.setattr(method, "activate", watched)
        losses = method(Batch(images, labels), PROGRESS)
    total(losses).backward()
    assert_recorded(seen["maps"][:, None], vector["attention"])
    assert torch.equal(seen["boxes"], torch.from_numpy(vector["crop_range_xywh"]))
    assert_recorded(seen["pasted"][:, None], vector["attention_crop"])
    assert_recorded(1 - seen["pasted"][:, None], vector["attention_background"])
    for look, name in zip(looks, ("logits", "logits_crop"), strict=True):
        assert_recorded(look, vector[name])
    share = float(vector["loss_ratio"])
    assert_recorded(losses["classification"] / (2 * share), vector["classification_loss"])
    assert_recorded((losses["positive"] + losses["negative"]) / (2 * (1 - share)), vector["attention_loss"])
    assert_recorded(total(losses), vector["total_loss"])
    for name, parameter in recorded_parameters(method.network).items():
        assert parameter.grad is not None
        assert_recorded(parameter.grad, vector[f"grad_{name}"])

    scores = method.eval().score_maps(images, labels)
    assert_recorded(scores.logits, vector["logits"])
    assert_recorded(scores.maps, vector["eval_cam"])


@pytest.mark.parametrize("path", vectors.files("crop_cam_evaluation"))
def test_evaluation_maps_are_the_published_ones(path: Path) -> None:
    """The released code has another IVR than its paper's, also in evaluation; with the paper's the maps differ."""
    vector = vectors.load(path)
    method = recorded_evaluation(vector, form="crop_cam")
    images = evaluated_images(vector)
    labels, recorded = torch.from_numpy(vector["labels"]), torch.from_numpy(vector["maps_every_second"])

    maps = min_max(method.eval().score_maps(images, labels).maps)
    torch.testing.assert_close(maps[:, ::2, ::2], recorded, rtol=0, atol=1e-5)


def test_ivr_of_the_released_code_changes_what_evaluation_shows() -> None:
    """So a search for the published numbers needs `form: crop_cam`."""
    path = next((vectors.OWN / "crop_cam_evaluation").glob("ivr*feature_mean.npz"))
    vector = vectors.load(path)
    images = evaluated_images(vector)
    labels, recorded = torch.from_numpy(vector["labels"]), torch.from_numpy(vector["maps_every_second"])
    maps = recorded_evaluation(vector, form="paper").eval().score_maps(images, labels).maps
    assert (min_max(maps)[:, ::2, ::2] - recorded).abs().max() > 0.1


def recorded_evaluation(vector: dict[str, np.ndarray], form: str) -> Method:
    """The recorded network with the recorded settings of evaluation."""
    kind = {"minmax": "min_max"}.get(str(vector["normalizer"]), str(vector["normalizer"]))
    percentile = {"lower_percentile": float(vector["lower_percentile"]), "form": form}
    config = crop_cam.Config(
        crop_threshold=float(vector["crop_threshold"]),
        max_crop_area=float(vector["max_crop_area"]),
        box_union="legacy",
        map_source={"class_map": "class"}.get(str(vector["map_source"]), str(vector["map_source"])),
        normalizer={"name": kind, **(percentile if kind == "ivr" else {})},
    )
    return build.around(config, evaluated_network(vector))


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
