"""TS-CAM: the recorded numbers and boxes, the couplings, the head, and where its bias starts."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support import recorded_tokens, vectors
from tests.support.published_networks import drawn_weight
from wsol.config import EvaluationConfig
from wsol.contract.networks import CLASSES, make, random_network
from wsol.evaluation import normalised
from wsol.method import Method
from wsol.methods import ts_cam as plugin
from wsol.methods._semantic import SemanticHead, agnostic_attention
from wsol.network import CamHead, Classifier
from wsol.ops.boxes import boxes_by_level, iou, levels_at
from wsol.raw_scores import Extracted
from wsol.tokens import TokenBackbone
from wsol.types import Batch, Progress

IMAGES, LABELS = torch.randn(3, 3, 48, 64, generator=torch.Generator().manual_seed(1)), torch.tensor([2, 0, 2])


def assert_as_recorded(found: Tensor, recorded: np.ndarray, tolerance: float) -> None:
    """Within a share of the largest recorded value."""
    assert found.shape == recorded.shape
    np.testing.assert_allclose(found.detach().numpy(), recorded, rtol=0, atol=tolerance * np.abs(recorded).max())


def of_every_class(maps: np.ndarray, labels: Tensor) -> np.ndarray:
    return maps[np.arange(len(labels)), labels.numpy()]


@pytest.mark.parametrize("path", vectors.files("ts_cam", "grid*"))
def test_recorded_heads(path: Path) -> None:
    arrays = vectors.load(path)
    classes, channels = arrays["head_weight"].shape[:2]
    side = arrays["maps"].shape[2]
    head = SemanticHead(channels, classes, 3)
    head.conv.load_state_dict({key: torch.from_numpy(arrays[f"head_{key}"]) for key in ("weight", "bias")})
    tokens, labels = torch.from_numpy(arrays["patch_tokens"]).requires_grad_(), torch.from_numpy(arrays["labels"])
    features = tokens.transpose(1, 2).reshape(-1, channels, side, side)
    logits = head(features)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    assert_as_recorded(logits, arrays["logits"], 1e-5)
    assert_as_recorded(head.maps(features), arrays["semantic_maps"], 1e-5)
    assert loss.item() == pytest.approx(float(arrays["loss"]), rel=1e-5)
    gradients = {"patch_tokens": tokens, "head_weight": head.conv.weight, "head_bias": head.conv.bias}
    for name, tensor in gradients.items():
        assert tensor is not None and tensor.grad is not None
        assert_as_recorded(tensor.grad, arrays[f"grad_{name}"], 1e-5)
    attention = agnostic_attention(torch.from_numpy(arrays["attention"])[:, :, :, 0], (side, side))
    assert_as_recorded(attention, arrays["agnostic_attention"], 1e-5)
    for label in range(classes):
        asked = torch.full_like(labels, label)
        assert_as_recorded(attention * head.class_map(features, asked), arrays["maps"][:, label], 1e-5)


@pytest.mark.parametrize("path", [*vectors.files("deit_forward", "width*"), *vectors.files("deit_forward", "deit_*")])
def test_recorded_networks(path: Path) -> None:
    arrays = vectors.load(path)
    backbone = recorded_tokens.recorded_backbone(arrays)
    method = plugin.build(
        plugin.Config(), Classifier(backbone, CamHead(backbone.channels, recorded_tokens.CLASSES))
    ).eval()
    salt, conv = str(arrays["key_salt"]), method.network.head.conv
    conv.load_state_dict(  # type: ignore[union-attr, operator]
        {key: drawn_weight(f"head.{key}", tuple(value.shape), salt) for key, value in conv.state_dict().items()}  # type: ignore[union-attr, operator]
    )
    images = recorded_tokens.recorded_images(arrays, len(arrays["logits"]), int(arrays["img_size"]))
    for label in range(recorded_tokens.CLASSES):
        labels = torch.full((len(images),), label)
        scores = method.score_maps(images, labels)
        assert_as_recorded(
            scores.maps / np.abs(arrays["ts_cam_maps"]).max(),
            arrays["ts_cam_maps"][:, label] / np.abs(arrays["ts_cam_maps"]).max(),
            1e-4,
        )
        assert_as_recorded(scores.logits, arrays["ts_cam_logits"], 1e-4)
    if "loss" in arrays:
        check_gradients(method, arrays, images)


def check_gradients(method: Method, arrays: dict[str, np.ndarray], images: Tensor) -> None:
    batch = Batch(images, torch.from_numpy(arrays["labels"]))
    loss = method.losses(batch, Progress(1, 1, 0, 1))["classification"]
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays["loss"]), rel=1e-4)
    found = {
        recorded_tokens.published_name(key): parameter.grad
        for key, parameter in method.network.backbone.blocks.named_parameters()
    }
    found["head.bias"] = method.network.head.conv.bias.grad  # type: ignore[union-attr]
    recorded = [key for key in arrays if key.startswith("grad_")]
    assert len(recorded) == 8
    for key in recorded:
        gradient = found[key.removeprefix("grad_")]
        assert gradient is not None
        assert_as_recorded(gradient, arrays[key], 1e-4)


@pytest.mark.parametrize("path", vectors.files("ts_cam", "boxes*"))
def test_recorded_boxes_and_hits(path: Path) -> None:
    """From maps to boxes at fixed thresholds. The recorded boxes end a pixel beyond the image where ours end on it."""
    arrays = vectors.load(path)
    config = EvaluationConfig(interpolation="bilinear")
    levels = levels_at(arrays["thresholds"].astype(np.float64), 255)
    np.testing.assert_array_equal(np.argsort(-arrays["logits"], axis=1, kind="stable")[:, :5], arrays["top5"])
    for image, label in enumerate(arrays["labels"]):
        truth = arrays["gt_boxes"][image : image + 1]
        recorded = {int(label): arrays["boxes_label"][:, image]}
        recorded.update(
            {int(c): arrays["boxes_top5"][:, image, place] for place, c in enumerate(arrays["top5"][image])}
        )
        for asked, boxes in recorded.items():
            maps = Extracted(config.extractor, torch.from_numpy(arrays["maps"][image, asked : asked + 1]), None)
            (score_map,) = normalised(maps.resized(224, config.interpolation), config)
            np.testing.assert_array_equal(boxes_by_level(score_map).largest[levels], boxes.clip(max=223))
        overlap = iou(arrays["boxes_label"][:, image], truth)[:, 0]
        np.testing.assert_allclose(overlap, arrays["iou_label"][:, image], rtol=0, atol=1e-6)
        right = arrays["top5"][image] == label
        hits = np.stack(
            [iou(boxes, truth)[:, 0] > 0.5 for boxes in arrays["boxes_top5"][:, image].transpose(1, 0, 2)], 1
        )
        for column, places in enumerate((1, 5)):
            found = (hits & right)[:, :places].any(axis=1)
            np.testing.assert_array_equal(found, arrays["loc_top1_top5"][:, image, column] > 0)
            known = np.full(len(levels), right[:places].any())
            np.testing.assert_array_equal(known, arrays["cls_top1_top5"][:, image, column] > 0)


def built(**fields: object) -> Method:
    network = copy.deepcopy(random_network("deit"))
    torch.manual_seed(0)
    return plugin.build(plugin.Config(**fields), network).eval()  # type: ignore[arg-type]


def test_couplings_and_blocks() -> None:
    maps = {how: built(coupling=how).score_maps(IMAGES, LABELS).maps for how in ("product", "attention", "semantic")}
    torch.testing.assert_close(maps["product"], maps["attention"] * maps["semantic"])
    assert (maps["attention"] > 0).all() and (maps["semantic"] < 0).any()
    backbone = built().network.backbone
    assert isinstance(backbone, TokenBackbone)
    rows = backbone(IMAGES, backbone.class_rows())[1]
    by_block = [rows[name].mean(1)[:, 1:].reshape(3, 3, 4) for name in backbone.class_rows()]
    for count in (1, 2, 3, 12):
        found = built(coupling="attention", last_blocks=count).score_maps(IMAGES, LABELS).maps
        torch.testing.assert_close(found, torch.stack(by_block[-count:]).sum(0))
    torch.testing.assert_close(maps["attention"], torch.stack(by_block).sum(0))


@pytest.mark.parametrize("kernel", [1, 3])
def test_the_mean_of_the_semantic_map_is_the_logit(kernel: int) -> None:
    method = built(head_kernel=kernel, coupling="semantic")
    scores = method.score_maps(IMAGES, LABELS)
    torch.testing.assert_close(scores.maps.mean((1, 2)), scores.logits.gather(1, LABELS[:, None])[:, 0])
    conv = method.network.head.conv
    limit = (48 * kernel**2) ** -0.5  # type: ignore[operator]
    assert 0.9 * limit < conv.weight.abs().max() <= limit and conv.bias.abs().max() <= limit  # type: ignore[union-attr, operator]


def test_a_pretrained_bias_starts_where_the_classes_are_imagenets() -> None:
    network = copy.deepcopy(random_network("deit"))
    backbone = network.backbone
    assert isinstance(backbone, TokenBackbone)
    for classes, taken in ((CLASSES, True), (CLASSES + 1, False)):
        backbone.class_token_classifier = torch.zeros(classes, 48), torch.full((classes,), 7.0)
        method = plugin.build(plugin.Config(), copy.deepcopy(network))
        assert bool((method.network.head.conv.bias == 7).all()) == taken  # type: ignore[union-attr]


def test_attention_has_no_part_in_the_loss() -> None:
    """The class token's last attention is not used: what only it reads gets no gradient from the loss."""
    method = make("ts_cam").train()
    activations = method.activate(IMAGES, LABELS)
    last = activations.taps[method.class_rows()[-1]]  # type: ignore[operator]
    (gradient,) = torch.autograd.grad(activations.logits.sum(), last, allow_unused=True)
    assert gradient is None
