"""The content of annotations in another format, before anything is decided: images, their objects, their classes.

A format is a file beside this one, with `Config`, whose fields are its settings, `EXAMPLE`, settings as a user writes
them, and `read(config) -> Source`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from wsol.data.decoding import Side
from wsol.data.imports.locating import absolute
from wsol.errors import InputError
from wsol.schema import FilePath, Strict

Edges = tuple[float, float, float, float]
"""Left, top, right and bottom edge of a box; 0 0 is the upper left corner of the first pixel, so that a box of one
pixel is 0 0 1 1."""

SPLITS = ("train", "val", "test")
POOL = ""
"""The split of images that are for training unless they are drawn for val or test."""
FARTHEST = 1e9
"""Numbers of pixels in annotations are below it."""


class Config(Strict):
    """The settings of every format. `val` is train_fullsup, for choosing hyperparameters.

    Attributes:
        annotations: the file or folder.
        images: the folder of the images; it stays as it is.
        val: a share of each class's images in `annotations`, between 0 and 1, drawn at random; or a file or folder that
            lists the images.
        test: like `val`.
        seed: random seed of the shares.
    """

    annotations: FilePath
    images: FilePath
    val: float | FilePath = 0.1
    test: float | FilePath = 0.2
    seed: int = Field(default=0, ge=0)

    @property
    def shares(self) -> dict[str, float]:
        """`val` and `test`, if they are shares."""
        return {split: value for split in ("val", "test") if isinstance(value := getattr(self, split), float)}

    @property
    def lists(self) -> dict[str, Path]:
        """`POOL`, `val` and `test`, if a file or folder lists their images."""
        found = {POOL: getattr(self, "train", None), "val": self.val, "test": self.test}
        return {split: Path(value) for split, value in found.items() if isinstance(value, str)}

    @field_validator("val", "test", check_fields=False)
    @classmethod
    def _is_a_share(cls, value: float | str | None, info: ValidationInfo) -> float | str | None:
        if isinstance(value, str) or value is None:
            return value
        other = info.data.get("val") if info.field_name == "test" else None
        if not 0 < value < 1 or (isinstance(other, float) and value + other >= 1):
            raise ValueError(f"{value:g} is no share: val and test are above 0, and below 1 together")
        return value


@dataclass(frozen=True, slots=True)
class Outlines:
    """A region as polygons: each x0, y0, x1, y1, ... in pixels."""

    polygons: Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class RunLengths:
    """A region as run lengths down the columns; `counts` is text if they are compressed."""

    size: Side
    counts: str | Sequence[int]


@dataclass(frozen=True, slots=True)
class Object:
    """An object of an image.

    Attributes:
        where: place in the file, for messages.
        category: key of `Source.classes`.
        edges: the edges of its box; None: those of its region.
        region: its pixels; None: not known.
        hidden: whether it shows its class but is no object to localise: a crowd, or a difficult object.
    """

    where: str
    category: str
    edges: Edges | None
    region: Outlines | RunLengths | None = None
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Listed:
    """An image with its objects, as a file lists it.

    Attributes:
        where: place in the file, for messages.
        names: possible names of the image file, relative to the images; the first existing one is taken.
        stem: its name without its ending, tried before them; empty: none.
        objects: its objects, in the order of the file.
        size: size in pixels, as annotated; None: not known.
        split: `val`, `test`, or `POOL`.
        relative: whether edges are shares of width and height.
    """

    where: str
    names: tuple[str, ...]
    objects: tuple[Object, ...]
    size: Side | None = None
    split: str = POOL
    relative: bool = False
    stem: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Everything that was read.

    Attributes:
        classes: key -> name, in the order that the labels get.
        order: what that order is, for the user.
        images: the images that are listed.
        root: folder of the image files.
        shares: `val` or `test` -> share of each class to draw from the images in `POOL`; what is left is for training.
        with_masks: whether objects have regions, which are written as masks beside their boxes; objects without one are
            left out.
        hidden: the name of a hidden object, for the user.
        notes: what the reader left out or decided, one sentence each.
    """

    classes: dict[str, str]
    order: str
    images: list[Listed]
    root: Path
    shares: dict[str, float]
    with_masks: bool = False
    hidden: str = ""
    notes: list[str] = field(default_factory=list)


def require_different(places: Mapping[str, Sequence[Path]]) -> None:
    """Raise InputError if one file or folder lists the images of two splits."""
    split_of: dict[Path, str] = {}
    for split in SPLITS:
        for place in places.get(POOL if split == "train" else split, ()):
            first = split_of.setdefault(absolute(place), split)
            if first != split:
                raise InputError(
                    f"{place}: lists the images of {first} and of {split}; name another place, or let {split}=0.1 draw"
                    " a share of the training images"
                )


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a file of annotations.

    Raises:
        InputError: it cannot be read, or is larger than `limit` bytes.
    """
    try:
        size = path.stat().st_size
        if size > limit:
            raise InputError(f"{path}: has {size:,} bytes, more than the {limit:,} of such a file; give another one")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name an existing file") from None
