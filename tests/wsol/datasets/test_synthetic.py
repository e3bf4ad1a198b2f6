"""Rendered images: the same everywhere, whole, and made once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.small_archives import quiet
from wsol.data.tree import check_tree
from wsol.datasets import synthetic

LITTLE: dict[str, Any] = {"classes": 2, "train_images": 4, "fullsup_images": 3, "test_images": 3}


def test_rendering_is_the_same_everywhere() -> None:
    config, digest = synthetic.Config(classes=24), hashlib.sha256()
    for split, label, index in ((0, 0, 0), (1, 3, 1), (2, 5, 2), (0, 23, 7)):
        image, mask = synthetic.render(config, split, label, index)
        digest.update(image.tobytes() + mask.tobytes())
    assert digest.hexdigest() == "e61b35362ebe1b95d83ce99152ee27ce34cca2a45ee3cb5f211e0f5d135019aa"


def test_synthetic_tree_is_complete_and_made_once(tmp_path: Path) -> None:
    config = synthetic.Config(root=str(tmp_path), **LITTLE)
    synthetic.prepare(config, None, quiet)
    dataset = synthetic.build(config)
    counts = check_tree(dataset, quiet)
    assert {name: (count["images"], count["boxes"]) for name, count in counts.items()} == {
        "train_weaksup": (8, 0),
        "train_fullsup": (6, 6),
        "test": (6, 6),
    }
    before = {path: path.stat().st_mtime_ns for path in dataset.image_root.rglob("*")}
    assert {path: path.stat().st_mtime_ns for path in synthetic.build(config).image_root.rglob("*")} == before
    assert dataset.class_names == ["red checks", "green rows"] and dataset.num_classes == 2


def test_synthetic_masks_agree_with_the_boxes(tmp_path: Path) -> None:
    boxes = synthetic.build(synthetic.Config(root=str(tmp_path), **LITTLE)).split("test")
    dataset = synthetic.build(synthetic.Config(root=str(tmp_path), annotations="masks", **LITTLE))
    assert check_tree(dataset, quiet)["test"]["masks"] == 6
    masks = dataset.split("test")
    assert masks.image_ids == boxes.image_ids
    for position in range(6):
        mask = masks.annotation(position, 64).mask
        assert mask is not None and set(np.unique(mask)) == {0, 1, 255}
        rows, columns = np.nonzero(mask == 1)
        assert boxes.annotation(position, 64).boxes.tolist() == [[columns.min(), rows.min(), columns.max(), rows.max()]]


def test_synthetic_objects_vary_in_size_and_place() -> None:
    config, boxes = synthetic.Config(), []
    for label, index in ((label, index) for label in range(6) for index in range(15)):
        rows, columns = np.nonzero(synthetic.render(config, 1, label, index)[1])
        boxes.append((columns.min(), rows.min(), columns.max(), rows.max()))
    x0, y0, x1, y1 = np.array(boxes).T
    share = (x1 - x0 + 1) * (y1 - y0 + 1) / 64**2
    assert share.min() >= 0.10 and share.max() < 0.60
    assert min((share < 0.22).mean(), ((share >= 0.22) & (share < 0.38)).mean(), (share >= 0.38).mean()) > 0.3
    distance = np.maximum(abs(x0 + x1 - 63), abs(y0 + y1 - 63)) / 2
    assert np.quantile(distance, 0.5) > 6, "half of the objects are a tenth of the image off the centre"


def test_synthetic_classes_have_names_of_their_own() -> None:
    assert len({synthetic.class_name(label) for label in range(24)}) == 24


def test_synthetic_settings_do_not_share_a_folder(tmp_path: Path) -> None:
    roots = {
        synthetic.build(synthetic.Config(root=str(tmp_path), **{**LITTLE, **change})).image_root
        for change in ({}, {"seed": 1}, {"side": 48})
    }
    assert len(roots) == 3
    assert synthetic.build(synthetic.Config(root=str(tmp_path), image_size=32, **LITTLE)).image_root in roots, (
        "not a setting of the rendering"
    )
