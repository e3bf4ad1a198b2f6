"""What is drawn on a photo."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from orchestrator.pictures.drawing import encoded_png, map_overlay, photo_with_boxes, prediction_overlay, save_jpeg


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


def test_the_picture_of_a_prediction_has_the_shape_of_its_photo() -> None:
    image, scores = np.zeros((224, 224, 3), np.uint8), np.zeros((224, 224))
    scores[112:, :112] = 1.0
    nothing = np.empty((0, 4), np.int64)
    plain = prediction_overlay(image, (800, 400), scores, nothing)
    assert plain.shape == (112, 224, 3)
    assert plain[60:, :108].min(axis=2).all() and not plain[:50].any() and not plain[:, 116:].any()
    boxes = np.array([[124, 0, 223, 99], [0, 124, 99, 223]])
    drawn = np.argwhere((prediction_overlay(image, (800, 400), scores, boxes) == 255).all(axis=2))
    right, left = drawn[drawn[:, 1] >= 112], drawn[drawn[:, 1] < 112]
    assert np.abs(right.min(axis=0) - [0, 124]).max() <= 2 and np.abs(right.max(axis=0) - [49, 223]).max() <= 2
    assert np.abs(left.min(axis=0) - [62, 0]).max() <= 2 and np.abs(left.max(axis=0) - [111, 99]).max() <= 2
    assert prediction_overlay(image, (9000, 3), scores, boxes).shape == (16, 224, 3)
    assert prediction_overlay(image[:32, :32], (3, 4), scores[-32:, :32], boxes[:0]).shape == (192, 144, 3)


def test_a_png_is_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    back = cv2.imdecode(np.frombuffer(encoded_png(picture), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(back[:, :, ::-1], picture)
