"""What each kind of image file becomes: a table of files, most of them the same picture."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from wsol.data import decoding
from wsol.data.dataset import Split
from wsol.data.images import ImageStore
from wsol.data.metadata import Metadata
from wsol.errors import InputError
from wsol.schema import DatasetConfig

WIDTH, HEIGHT = 48, 32
ORIENTATION, BITS, PHOTOMETRIC = 274, 258, 262


def picture() -> Image.Image:
    """Four colours, no two corners alike: any turn shows."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[: HEIGHT // 2, : WIDTH // 2] = 240, 30, 30
    pixels[: HEIGHT // 2, WIDTH // 2 :] = 30, 200, 30
    pixels[HEIGHT // 2 :, : WIDTH // 2] = 30, 30, 200
    pixels[HEIGHT // 2 :, WIDTH // 2 :] = 220, 220, 120
    return Image.fromarray(pixels)


COLOR = np.asarray(picture(), np.int16)
GREY = np.asarray(picture().convert("L").convert("RGB"), np.int16)
TWO = np.asarray(picture().convert("L").point(lambda value: 255 * (value > 100)).convert("RGB"), np.int16)
DEEP = GREY[:, :, 0].astype(np.uint16) * 257


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def by_opencv(pixels: np.ndarray, ending: str) -> bytes:
    return bytes(cv2.imencode(ending, pixels)[1])


def turned(orientation: int, kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    """A file that is displayed as the picture, and stored as EXIF's orientation says."""
    back = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    turn = back.get(orientation, decoding.TURNS.get(orientation))
    image, exif = image or picture(), Image.Exif()
    exif[ORIENTATION] = orientation
    return saved(image if turn is None else image.transpose(turn), kind, exif=exif, **options)


def tiff(values: np.ndarray, bits: int, photometric: int = 1, order: str = "<") -> bytes:
    """Uncompressed grey TIFF of whole numbers; 12 bits are packed."""
    if bits == 12:
        pairs = values.astype(np.uint16).reshape(-1, 2)
        high, low = pairs[:, 0], pairs[:, 1]
        data = np.stack([high >> 4, (high & 15) << 4 | low >> 8, low & 255], 1).astype(np.uint8).tobytes()
    else:
        data = values.astype(f"{order}u{bits // 8}").tobytes()
    height, width = values.shape
    rows = {256: width, 257: height, BITS: bits, 259: 1, PHOTOMETRIC: photometric, 277: 1, 278: height, 279: len(data)}
    entries = sorted({**rows, 273: 8 + 2 + 12 * 9 + 4}.items())
    table = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in entries)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    return head + struct.pack(f"{order}H", 9) + table + b"\0\0\0\0" + data


def with_alpha(alpha: int) -> Image.Image:
    image = picture().convert("RGBA")
    image.putalpha(alpha)
    return image


def palette(**options: Any) -> bytes:
    return saved(picture().convert("P", palette=Image.Palette.ADAPTIVE), "PNG", **options)


def deep(*channels: np.ndarray) -> np.ndarray:
    """16 bits a channel, in OpenCV's order."""
    return np.stack([channel.astype(np.uint16) * 257 for channel in channels], 2)


BGR = (COLOR[:, :, 2], COLOR[:, :, 1], COLOR[:, :, 0])
TABLE: dict[str, tuple[Callable[[], bytes], np.ndarray | str]] = {
    "jpg": (lambda: saved(picture(), "JPEG", quality=95), COLOR),
    "jpg progressive": (lambda: saved(picture(), "JPEG", quality=95, progressive=True), COLOR),
    "jpg grey": (lambda: saved(picture().convert("L"), "JPEG", quality=95), GREY),
    "jpg cmyk": (lambda: saved(picture().convert("CMYK"), "JPEG", quality=95), COLOR),
    **{f"jpg exif {k}": (lambda k=k: turned(k, "JPEG", quality=95), COLOR) for k in range(9)},  # type: ignore[misc]
    "jpg broken exif": (lambda: saved(picture(), "JPEG", quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f"), COLOR),
    "jpg named png": (lambda: saved(picture(), "JPEG", quality=95), COLOR),
    "jpg 2000": (lambda: saved(picture(), "JPEG2000"), COLOR),
    "png": (lambda: saved(picture(), "PNG"), COLOR),
    "png grey": (lambda: saved(picture().convert("L"), "PNG"), GREY),
    "png 1 bit": (lambda: saved(Image.fromarray(TWO.astype(np.uint8)).convert("1"), "PNG"), TWO),
    "png alpha": (lambda: saved(with_alpha(255), "PNG"), COLOR),
    "png transparent": (lambda: saved(with_alpha(0), "PNG"), COLOR),
    "png grey and alpha": (lambda: saved(picture().convert("LA"), "PNG"), GREY),
    "png palette": (palette, COLOR),
    "png palette, one transparent": (lambda: palette(transparency=1), COLOR),
    "png 16 bit grey": (lambda: saved(Image.fromarray(DEEP), "PNG"), GREY),
    "png 16 bit, values below 256": (lambda: saved(Image.fromarray(DEEP >> 8), "PNG"), GREY * 0),
    "png 16 bit colour": (lambda: by_opencv(deep(*BGR), ".png"), COLOR),
    "png 16 bit colour and alpha": (lambda: by_opencv(deep(*BGR, COLOR[:, :, 0] * 0), ".png"), COLOR),
    "png exif 6": (lambda: turned(6, "PNG"), COLOR),
    "png 16 bit exif 8": (lambda: turned(8, "PNG", Image.fromarray(DEEP)), GREY),
    "pgm 16 bit": (lambda: b"P5 48 32 65535\n" + DEEP.astype(">u2").tobytes(), GREY),
    "pgm 12 bit": (lambda: b"P5 48 32 4095\n" + (DEEP >> 4).astype(">u2").tobytes(), GREY),
    "tiff": (lambda: saved(picture(), "TIFF"), COLOR),
    "tiff cmyk": (lambda: saved(picture().convert("CMYK"), "TIFF"), COLOR),
    "tiff 12 bit": (lambda: tiff(DEEP >> 4, 12), GREY),
    "tiff 16 bit": (lambda: tiff(DEEP, 16), GREY),
    "tiff 16 bit, big-endian": (lambda: tiff(DEEP, 16, order=">"), GREY),
    "tiff 16 bit, white is 0": (lambda: tiff(65535 - DEEP, 16, photometric=0), GREY),
    "tiff 16 bit colour": (lambda: by_opencv(deep(*BGR), ".tiff"), COLOR),
    "tiff 32 bit, 16 used": (lambda: tiff(DEEP, 32), GREY),
    "tiff 32 bit": (lambda: tiff(DEEP.astype(np.uint32) * 30000, 32), "where 0 is black and 65535 is white"),
    "tiff float": (lambda: saved(Image.fromarray((GREY[:, :, 0] / 255).astype(np.float32)), "TIFF"), GREY),
    "tiff float to 255": (
        lambda: saved(Image.fromarray(GREY[:, :, 0].astype(np.float32)), "TIFF"),
        "floating-point values from 49 to 209, where 0 is black and 1 is white",
    ),
    "tiff float, not finite": (
        lambda: saved(Image.fromarray(np.full((HEIGHT, WIDTH), np.nan, np.float32)), "TIFF"),
        "floating-point values from nan",
    ),
    "tiff exif 6": (lambda: turned(6, "TIFF"), COLOR),
    "tiff exif 6 grey": (lambda: turned(6, "TIFF", picture().convert("L")), GREY),
    "tiff exif 5 compressed": (lambda: turned(5, "TIFF", compression="tiff_lzw"), COLOR),
    "bmp": (lambda: saved(picture(), "BMP"), COLOR),
    "gif": (lambda: saved(picture(), "GIF"), COLOR),
    "gif of two": (
        lambda: saved(picture(), "GIF", save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT))]),
        COLOR,
    ),
    "webp": (lambda: saved(picture(), "WEBP", lossless=True), COLOR),
    "webp exif 6": (lambda: turned(6, "WEBP", lossless=True), COLOR),
    "avif": (lambda: saved(picture(), "AVIF", quality=95), COLOR),
    "avif exif 6": (lambda: turned(6, "AVIF", quality=95), COLOR),
    "1 x 1": (lambda: saved(Image.new("RGB", (1, 1), (240, 30, 30)), "PNG"), COLOR[:1, :1]),
    "jpg truncated": (lambda: saved(picture(), "JPEG")[:-50], "image file is truncated"),
    "png truncated": (lambda: saved(picture(), "PNG")[:-30], "truncated|broken"),
    "png damaged": (lambda: saved(picture(), "PNG")[:60] + bytes(40), "."),
    "avif truncated": (lambda: saved(picture(), "AVIF")[:-40], "."),
    "avif damaged": (lambda: saved(picture(), "AVIF")[:200] + bytes(200), "."),
    "webp truncated": (lambda: saved(picture(), "WEBP")[:-30], "."),
    "zero bytes": (lambda: b"", "it is no image, or damaged at its beginning"),
    "text": (lambda: b"<html>Not found</html>", "it is no image, or damaged at its beginning"),
}


def store(root: Path, name: str, content: bytes, size: tuple[int, int] | None = None, **settings: Any) -> ImageStore:
    """A data set of one image of the user's own."""
    (root / name).write_bytes(content)
    sizes = None if size is None else np.array([size])
    split = Split(
        "test", Metadata(root, (name,), np.zeros(1, np.int64), sizes, None, None), root, root, "x", displayed=True
    )
    return ImageStore(split, 32, DatasetConfig(name="x", root=str(root), **settings))


@pytest.mark.parametrize("kind", TABLE)
@pytest.mark.filterwarnings("error", "ignore:Corrupt EXIF data")
def test_every_kind_of_file_is_the_picture_or_one_line(kind: str, tmp_path: Path) -> None:
    make, expected = TABLE[kind]
    name = "x.png" if kind == "jpg named png" else "x.jpg"
    if isinstance(expected, str):
        with pytest.raises(InputError) as caught:
            store(tmp_path, name, make(), cache="off").read([0])
        message = str(caught.value)
        assert re.fullmatch(rf"{tmp_path}/{name}: cannot be decoded \(.*({expected}).*\); replace the file", message)
        return
    size = (expected.shape[1], expected.shape[0])
    with decoding.opened(store(tmp_path, name, make(), cache="off").split.image_path(0)) as image:
        assert decoding.size(image, displayed=True) == size, "known before it is decoded"
        whole = np.asarray(decoding.rgb(image, displayed=True), np.int16)
    assert whole.shape == expected.shape
    assert np.abs(whole - expected).mean() < 8, f"{np.abs(whole - expected).mean():.1f} of 255 off"
    square = store(tmp_path, name, make(), size, cache="off").read([0])[0]
    resized = Image.fromarray(expected.astype(np.uint8)).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.abs(square.astype(np.int16) - np.asarray(resized)).mean() < 8


def test_more_than_8_bits_are_the_upper_8(tmp_path: Path) -> None:
    """Grey and colour files of the same values become the same pixels."""
    values = np.arange(WIDTH * HEIGHT, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 42
    files = [saved(Image.fromarray(values), "PNG"), by_opencv(np.stack([values] * 3, 2), ".png"), tiff(values, 16)]
    for content in files:
        with decoding.opened(store(tmp_path, "x", content, cache="off").split.image_path(0)) as image:
            np.testing.assert_array_equal(np.asarray(decoding.rgb(image, displayed=True))[:, :, 1], values >> 8)


@pytest.mark.parametrize("cache", ["on", "off"])
def test_a_size_that_fits_the_unturned_file_only_is_named(tmp_path: Path, cache: str) -> None:
    content = turned(6, "JPEG")
    with pytest.raises(InputError) as caught:
        store(tmp_path, "x.jpg", content, (HEIGHT, WIDTH), cache=cache).read([0])
    assert str(caught.value) == (
        f"{tmp_path}/x.jpg: has 48 x 32 pixels, image_sizes.txt says 32 x 48, which fits the file without its EXIF"
        " orientation 6; annotate it as displayed, or remove the orientation"
    )
    with pytest.raises(InputError, match=r"x\.jpg: has 48 x 32 pixels, image_sizes\.txt says 40 x 30$"):
        store(tmp_path, "x.jpg", content, (40, 30), cache=cache).read([0])


def test_published_data_sets_are_read_as_stored(tmp_path: Path) -> None:
    """The published numbers come from code that ignores the EXIF orientation."""
    own = store(tmp_path, "x.png", turned(6, "PNG"), cache="off").split
    stored = Split("test", own.metadata, tmp_path, tmp_path, "x")
    assert not stored.displayed
    config = DatasetConfig(name="x", root=str(tmp_path), cache="off")
    as_stored, as_displayed = (ImageStore(split, 32, config).read([0])[0] for split in (stored, own))
    with Image.open(own.image_path(0)) as opened:
        plain = np.asarray(opened.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(as_stored, plain)
    assert (as_stored != as_displayed).any()
    assert stored.metadata.sizes is None
    sized = Split(
        "test", Metadata(tmp_path, ("x.png",), own.labels, np.array([[48, 32]]), None, None), tmp_path, tmp_path, "x"
    )
    with pytest.raises(InputError, match=r"says 48 x 32, which fits it as displayed \(EXIF orientation 6\)"):
        ImageStore(sized, 32, config).read([0])


def test_caches_of_another_rule_are_not_used_again(tmp_path: Path) -> None:
    own = store(tmp_path, "x.png", turned(3, "PNG"))
    stored = ImageStore(
        Split("test", own.split.metadata, tmp_path, tmp_path, "x"), 32, DatasetConfig(name="x", root=str(tmp_path))
    )
    assert own.cached and stored.cached and (own.read([0])[0] != stored.read([0])[0]).any()


def test_images_of_one_colour_are_counted_while_the_cache_is_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{index}.png" for index in range(12)]
    for index, name in enumerate(names):
        color = {0: (0, 0, 0), 1: (255, 255, 255)}.get(index, (0, 0, index))
        Image.new("RGB", (9, 9), color).save(tmp_path / name)
    Image.fromarray(DEEP >> 8).save(tmp_path / "11.png")
    data = Metadata(tmp_path, tuple(names), np.zeros(12, np.int64), None, None, None)
    ImageStore(Split("test", data, tmp_path, tmp_path, "x"), 8, DatasetConfig(name="x", root=str(tmp_path)))
    said = [line for line in capsys.readouterr().err.splitlines() if "all black" in line]
    assert said == ["x-8: 3 of 12 images are all black or all white: 0.png (black), 1.png (white), 11.png (black)"]
    uncached = DatasetConfig(name="x", root=str(tmp_path), cache="off")
    store = ImageStore(Split("test", data, tmp_path, tmp_path, "x"), 8, uncached)
    for _ in range(2):
        store.read([5, 11, 0])
    assert capsys.readouterr().err == "x-8: 11.png is all black\n", "once"
