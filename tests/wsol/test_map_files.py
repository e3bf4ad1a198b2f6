"""Maps from files and to files: scored like the network that made them, at every scale that their numbers can have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wsol.config import EvaluationConfig
from wsol.data.images import ImageStore
from wsol.errors import InputError
from wsol.evaluation import evaluate
from wsol.method import Method
from wsol.scoring import map_sizes, score, score_files


def test_saved_maps_score_like_the_network(scene: tuple[Method, ImageStore, EvaluationConfig], tmp_path: Path) -> None:
    method, images, config = scene
    ours = score(method, images, config, save_to=tmp_path / "maps")
    assert ours.metrics == evaluate(method, images, config)
    assert set(map_sizes(tmp_path / "maps", images.split)) == {(4, 4)}
    theirs = score_files(tmp_path / "maps", images.split, images.size, config)
    boxes = [name for name in ours.metrics if name.startswith("max_box_acc")]
    assert boxes and all(theirs.metrics[name] == ours.metrics[name] for name in boxes)
    assert all(np.array_equal(theirs.replicates[name], ours.replicates[name], equal_nan=True) for name in boxes)
    assert "gt_known/loc" in theirs.metrics and "top1/cls" not in theirs.metrics
    curve = ours.curves["max_box_acc_v2/iou_50"]
    assert curve.max() == ours.metrics["max_box_acc_v2/iou_50"] and len(curve) == 100


def test_maps_that_cannot_be_used_are_all_named(
    scene: tuple[Method, ImageStore, EvaluationConfig], tmp_path: Path
) -> None:
    _, images, config = scene
    for number, image_id in enumerate(images.split.image_ids[1:]):
        path = tmp_path / f"{image_id}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, [np.zeros((2, 3, 3)), np.array([["a"]]), np.zeros((0, 3))][number % 3])
    first = tmp_path / f"{images.split.image_ids[0]}.npy"
    with pytest.raises(InputError, match=rf"{len(images)} of the {len(images)} maps") as caught:
        score_files(tmp_path, images.split, images.size, config)
    text = str(caught.value)
    assert f"{first}: no such file" in text and "(2, 3, 3) float64" in text and "<U1" in text and "(0, 3)" in text


def test_a_metric_that_cannot_count_the_split_is_named(
    scene: tuple[Method, ImageStore, EvaluationConfig], tmp_path: Path
) -> None:
    """Before the first image, whether maps come from a network or from files."""
    method, images, config = scene
    masked = EvaluationConfig.model_validate({**config.model_dump(), "test_metrics": [{"name": "pxap"}]})
    images.split.name = "test"
    score(method, images, config, save_to=tmp_path / "maps")
    message = r"evaluation\.test_metrics: pxap on test: this image has no mask"
    with pytest.raises(InputError, match=message):
        score_files(tmp_path / "maps", images.split, images.size, masked)
    with pytest.raises(InputError, match=message):
        score(method, images, masked, save_to=tmp_path / "others")
    assert not (tmp_path / "others").exists()


@pytest.mark.parametrize("normalizer", ["min_max", "max", "pas", "ivr"])
@pytest.mark.parametrize("scale", [2.0**140, 2.0**1000, 2.0**-160, 2.0**-900], ids=["1e42", "1e301", "1e-48", "1e-271"])
def test_the_scale_of_a_map_changes_nothing(
    scale: float, normalizer: str, scene: tuple[Method, ImageStore, EvaluationConfig], tmp_path: Path
) -> None:
    """Powers of two, so that not a bit of the scaled map is rounded; the numbers lie outside of float32."""
    _, images, plain = scene
    config = EvaluationConfig.model_validate({**plain.model_dump(), "normalizer": {"name": normalizer}})
    random = np.random.default_rng(0)
    for image_id in images.split.image_ids:
        score_map = random.random((5, 7)) - 0.25
        for folder, factor in (("plain", 1.0), ("scaled", scale)):
            path = tmp_path / folder / f"{image_id}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, score_map * factor)
    found, expected = (
        score_files(tmp_path / folder, images.split, images.size, config) for folder in ("scaled", "plain")
    )
    assert expected.metrics["degenerate_maps"] == 0 and found.metrics == expected.metrics


def test_a_shift_beyond_float32_leaves_the_object(
    scene: tuple[Method, ImageStore, EvaluationConfig], tmp_path: Path
) -> None:
    _, images, config = scene
    for image_id in images.split.image_ids:
        path = tmp_path / f"{image_id}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        score_map = np.zeros((8, 8))
        score_map[2:5, 3:6] = 1
        np.save(path, 3e9 + score_map)  # float32 numbers of this size are 256 apart
    assert score_files(tmp_path, images.split, images.size, config).metrics["degenerate_maps"] == 0
