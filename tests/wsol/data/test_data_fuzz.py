"""Thousands of damaged images, masks and metadata: each is read, or refused in one line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.damage import damaged
from tests.wsol.data.test_image_modes import TABLE, store
from tests.wsol.data.test_metadata import GOOD, MASKS
from wsol.data import metadata
from wsol.data.masks import united
from wsol.data.rows import OUTSIDE
from wsol.errors import InputError

KINDS = ["jpg exif 6", "jpg cmyk", "jpg 2000", "png palette", "png 16 bit grey", "png 16 bit colour", "tiff", "gif"]
KINDS += ["tiff 12 bit", "tiff float", "tiff exif 5 compressed", "webp", "avif", "bmp", "pgm 16 bit", "png exif 6"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_images_and_masks_are_read_or_refused(kind: str, tmp_path: Path) -> None:
    whole, draw, refused = TABLE[kind][0](), random.Random(kind), 0
    for _ in range(50):
        content = damaged(whole, draw)
        try:
            assert store(tmp_path, "x", content, cache="off").read([0])[0].shape == (32, 32, 3)
        except InputError as error:
            refused += 1
            assert str(error).startswith(f"{tmp_path}/x: cannot be decoded (") and "\n" not in str(error)
        try:
            assert united([tmp_path / "x"], None, 8, tmp_path / "x").shape == (8, 8)
        except InputError as error:
            assert str(error).startswith(f"{tmp_path}/x: ") and "\n" not in str(error)
    assert refused, "some of these are damaged"


@pytest.mark.parametrize("localization", [GOOD["localization.txt"], MASKS], ids=["boxes", "masks"])
def test_damaged_metadata_is_read_or_refused(localization: str, tmp_path: Path) -> None:
    draw, refused = random.Random(localization), 0
    files = {**GOOD, "localization.txt": localization}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    for number in range(600):
        name = list(files)[number % len(files)]
        (tmp_path / name).write_bytes(damaged(files[name].encode(), draw))
        try:
            data = metadata.read(tmp_path, annotated=True)
            masks = [path for paths, ignored in data.masks or () for path in (*paths, ignored) if path]
            assert not [path for path in (*data.image_ids, *masks) if OUTSIDE.search(path)]
        except InputError as error:
            refused += 1
            assert str(error).startswith(f"{tmp_path}/") and "\n" not in str(error)
        (tmp_path / name).write_text(files[name])
    assert refused > 300
