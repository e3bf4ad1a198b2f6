"""What is drawn on a photo."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from orchestrator.pictures.drawing import map_overlay, photo_with_boxes, save_jpeg


def test_pictures_enlarge_small_images_and_keep_boxes_on_pixels() -> None:
    picture = photo_with_boxes(np.full((64, 64, 3), 128, np.uint8), np.array([[10, 20, 39, 49]]))
    assert picture.shape == (192, 192, 3)
    green = np.argwhere((picture == (64, 224, 96)).all(axis=2))
    assert np.abs(green.min(axis=0) - [60, 30]).max() <= 1
    assert np.abs(green.max(axis=0) - [149, 119]).max() <= 1


def test_pictures_of_degenerate_input() -> None:
    image = np.zeros((224, 224, 3), np.uint8)
    plain = map_overlay(image, np.full((224, 224), np.nan), None, np.zeros((0, 4)))
    assert plain.shape == (224, 224, 3)
    assert not plain.any()
    assert map_overlay(image, np.ones((224, 224)), np.zeros(4), np.array([[0, 0, 223, 223]])).any()
    assert not image.any()


def test_pictures_are_the_same_every_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image, scores, box = (
        rng.integers(0, 256, (96, 96, 3)).astype(np.uint8),
        rng.random((96, 96)),
        np.array([5, 5, 60, 70]),
    )
    for name in ("a.jpg", "b.jpg"):
        save_jpeg(tmp_path / name, map_overlay(image, scores, box, box[None]))
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    save_jpeg(tmp_path / "red.jpg", red)
    assert cv2.imread(str(tmp_path / "red.jpg"))[16, 16].argmax() == 2
