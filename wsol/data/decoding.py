"""Decodes one picture: from a file of any kind to 8-bit RGB, or to the values of a mask.

*Depth.* What has 8 bits a channel stays as it is. More bits are brought to 8 by the file's own depth: of 16 (or, in
TIFF, 12) bits the upper 8 count, as Pillow does itself for colour images; of mode `I` (16-bit PGM, integer TIFF) the
values are 16-bit ones, 0 to 65535; floating-point TIFF is 0 (black) to 1 (white). Values outside are refused: to
stretch each file by its own range would make the images of a data set incomparable. Alpha is ignored.

*Orientation.* As displayed, with the EXIF orientation applied like `ImageOps.exif_transpose`, if requested; else as
stored. TIFF is always as displayed.

*Warnings.* Pillow's own, such as of broken EXIF data, reach no user: what matters is checked here and by who asks.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from wsol.errors import first_line
from wsol.opencv import cv2

warnings.filterwarnings("ignore", module=r"PIL\.")  # for the whole process: no filter of a block is safe in threads

Pixels = NDArray[np.uint8]
Side = tuple[int, int]
"""Width and height in pixels."""

EXIF_ORIENTATION, TIFF_BITS, TIFF_PHOTOMETRIC, WHITE_IS_ZERO = 0x0112, 258, 262, 0
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> from the stored to the displayed image."""


class Undecodable(Exception):
    """A file is no picture, or is damaged, or the brightness of its values is not defined: the message says which."""


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """A picture file whose pixels are not read yet.

    Raises:
        FileNotFoundError: there is no such file.
        Undecodable: Pillow raises an error, here or inside of the block.
    """
    try:
        # opened here, not by Pillow: it would map uncompressed TIFF into memory with sides that EXIF has turned
        with path.open("rb") as file, Image.open(file) as image:
            yield image
    except (FileNotFoundError, Undecodable):
        raise
    except UnidentifiedImageError:
        raise Undecodable("it is no image, or damaged at its beginning") from None
    except Exception as error:  # its plugins raise any kind of exception at damaged files
        raise Undecodable(first_line(error)) from None


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 is as stored. Broken EXIF data are ignored, as in viewers."""
    if image.format == "TIFF":  # turned by Pillow, its size as well
        return 1
    try:
        value = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:
        return 1
    return value if value in TURNS else 1


def size(image: Image.Image, *, displayed: bool) -> Side:
    """Width and height, as displayed or as stored."""
    width, height = image.size
    return (height, width) if displayed and orientation(image) >= 5 else (width, height)


def rgb(image: Image.Image, *, displayed: bool) -> Image.Image:
    """8-bit RGB of an opened file; raises Undecodable if values are outside of the range of their type."""
    made = _eight_bits(image).convert("RGB") if image.mode[0] in "IF" else image.convert("RGB")
    turn = TURNS.get(orientation(image)) if displayed else None
    return made if turn is None else made.transpose(turn)


def square(image: Image.Image, side: int, *, displayed: bool) -> Pixels:
    """An opened file as networks see it, (side, side, 3) uint8 RGB: resized with PIL's bilinear filter without keeping
    the aspect ratio. Raises Undecodable as `rgb` does."""
    return np.asarray(rgb(image, displayed=displayed).resize((side, side), Image.Resampling.BILINEAR))


def mask_values(path: Path) -> NDArray[Any]:
    """The values of a mask at the file's own depth, as displayed.

    Returns:
        (H, W), or (H, W, 3) for colour files; alpha is left out.

    Raises:
        FileNotFoundError, Undecodable: see `opened`.
    """
    with opened(path) as image:
        deep_color = (
            ";16" in str(getattr(image, "tile", "")) and image.mode[0] != "I"
        )  # of which Pillow keeps the upper 8 bits only
        plain = image if image.mode in ("1", "L", "RGB") or image.mode[0] in "IF" else _without_alpha(image)
        turn = TURNS.get(orientation(image))
        values: NDArray[Any] = np.asarray(plain if turn is None else plain.transpose(turn))
    if not deep_color:
        return values
    deep: NDArray[Any] | None = cv2.imread(str(path), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    if deep is None:
        raise Undecodable("16 bits a channel, which OpenCV cannot read")
    return deep


def blank_color(pixels: Pixels) -> str | None:
    """`black` or `white` where all pixels are that, in all channels."""
    first = int(pixels.flat[0])
    return {0: "black", 255: "white"}[first] if first in (0, 255) and bool((pixels == first).all()) else None


def _without_alpha(image: Image.Image) -> Image.Image:
    return image.convert("L" if image.mode in ("LA", "La") else "RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits, or floating-point grey, as mode `L`."""
    tags = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    if image.mode == "F":
        if not (values.min() >= 0 and values.max() <= 1):
            raise Undecodable(
                f"floating-point values from {values.min():g} to {values.max():g}, where 0 is black and 1 is white;"
                " convert it to 8 or 16 bits"
            )
        grey = np.rint(values * 255)
    else:
        bits = int(tags.get(TIFF_BITS, (16,))[0]) if image.mode != "I" else 16
        if values.min() < 0 or values.max() >= 2**bits:
            raise Undecodable(
                f"values from {values.min()} to {values.max()}, where 0 is black and {2**bits - 1} is white; convert it"
                " to 8 or 16 bits"
            )
        grey = values >> (bits - 8)
    if tags.get(TIFF_PHOTOMETRIC) == WHITE_IS_ZERO:
        grey = 255 - grey
    return Image.fromarray(grey.astype(np.uint8))
