"""The base classes of every `Config`: strict models, and the settings of all backbones and all data sets. It imports no
plugin, so that plugins and `config.py` can both import it."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

Interpolation = Literal["bicubic", "bilinear"]
"""How a map is enlarged."""

FilePath = Annotated[str, AfterValidator(os.path.expanduser)]
"""A file or folder as a user writes it: `~` at the start is the user's home folder."""


LARGEST, SMALLEST = 3.4028234663852886e38, 1.401298464324817e-45
"""The largest and the smallest positive 32-bit float; tensors hold such numbers."""


class Strict(BaseModel):
    """Frozen, typed without guessing (`"3"` is no number, `true` is no number), closed to unknown keys and to numbers
    that do not fit a 64-bit whole number or a 32-bit float."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _fits(cls, value: object) -> object:
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and not -(2**63) <= number < 2**63:
                raise ValueError(
                    f"must lie within 64-bit whole numbers, -2^63 to 2^63 - 1, not of {number.bit_length()} bits"
                )
            if isinstance(number, float) and number and not SMALLEST <= abs(number) <= LARGEST:
                raise ValueError(f"is beyond 32-bit floats, {SMALLEST:.2g} to {LARGEST:.2g}: {number:g}")
        return value


class PluginConfig(Strict):
    """Settings of one plugin; `name` is the plugin's file name.

    Attributes:
        needs_initial_run: the method learns nothing about classes itself, so it must start from another run.
        needs_tokens: the method or extractor reads the attention of a transformer.
    """

    needs_initial_run: ClassVar[bool] = False
    needs_tokens: ClassVar[bool] = False

    name: str

    def with_bases(self) -> Iterator[PluginConfig]:
        """This plugin, then the one inside of it (`base`), then the one inside of that."""
        inside: PluginConfig | None = self
        while inside is not None:
            yield inside
            inside = getattr(inside, "base", None)

    def reason_against_tokens(self) -> str:
        """Why a method or an extractor cannot work on a transformer; nothing where it can."""
        return ""

    def fullsup_share(self) -> float:
        """The share of each class's images of train_fullsup that a method trains on, with their boxes or masks and in
        place of train_weaksup, from 0 to 1; 0: it trains on class labels alone."""
        return 0.0


class BackboneConfig(PluginConfig):
    """The settings of every backbone.

    Attributes:
        has_tokens: the backbone is a transformer, see `wsol/tokens.py`.
        image_side_multiple: sides of images in pixels are multiples of this.
        weights: `imagenet` (the published ImageNet weights), `none` (random), or a file with a state dict.
        stride: pixels of the image per cell of the feature map.
    """

    has_tokens: ClassVar[bool] = False
    image_side_multiple: ClassVar[int] = 1

    weights: FilePath = "imagenet"
    stride: Literal[8, 16, 32] = 16

    @field_validator("weights", mode="before")
    @classmethod
    def _has_a_word_for_none(cls, weights: Any) -> Any:
        if weights is None:
            raise ValueError("null has no meaning here: write `none` for random weights")
        return weights


class DatasetConfig(PluginConfig):
    """The settings of every data set.

    Attributes:
        root: folder that holds the data sets; relative paths start at the working directory. Or an archive of such a
            folder, a path or an address that ends in .tar (`s3://bucket/cub.tar`; made by `tar -cf cub.tar -C data CUB
            metadata/CUB`), unpacked below `stage`.
        image_size: side in pixels of the square that the network sees and of the evaluation grid.
        resize_size: side in pixels to which training images are resized before the random crop of `image_size`.
        subset_per_class: train on this many images of each class of train_weaksup (the same ones in every trial); null:
            all.
        subset_list: train on the images that this file beside the metadata of train_weaksup lists instead, such as
            `image_ids_proxy.txt`, if there is one; null: no list.
        fullsup_per_class: use this many images of each class of train_fullsup, fewer where a class has fewer; null:
            all.
        subset_seed: draws both subsets.
        cache: decode the images once into a memory-mapped file: `auto` (if it fits on the disk), `on` or `off`.
        workers: number of threads that read images.
        stage: folder on each node's own disk, to which the packed images are copied once per node; needed where `root`
            is an archive, which is unpacked there once per node; null: they are read where they are.
    """

    root: FilePath = "data"
    image_size: int = Field(default=224, ge=8, le=4096)
    resize_size: int = Field(default=256, ge=8, le=4096)
    subset_per_class: int | None = Field(default=None, ge=1)
    subset_list: str | None = Field(default=None, min_length=1)
    fullsup_per_class: int | None = Field(default=None, ge=1)
    subset_seed: int = Field(default=0, ge=0)
    cache: Literal["auto", "on", "off"] = "auto"
    workers: int = Field(default=4, ge=1)
    stage: FilePath | None = Field(default=None, min_length=1, validate_default=True)

    @field_validator("stage")
    @classmethod
    def _has_what_to_stage(cls, stage: str | None, info: ValidationInfo) -> str | None:
        root = info.data.get("root", "")
        if "://" in root and not is_archive(root):
            raise ValueError(f"data.root {root} is an address and must be of an archive that ends in .tar")
        if is_archive(root) and stage is None:
            raise ValueError(
                f"data.root {root} is an archive: set data.stage to a folder on each node's own disk, where it is"
                " unpacked"
            )
        if not is_archive(root) and stage is not None and info.data.get("cache") == "off":
            raise ValueError("what is copied are the packed images: data.cache must not be off")
        return stage

    @field_validator("resize_size")
    @classmethod
    def _holds_a_crop(cls, resize_size: int, info: ValidationInfo) -> int:
        if resize_size < info.data.get("image_size", 0):
            raise ValueError(
                f"{resize_size} is smaller than image_size {info.data['image_size']}: no crop of that size fits"
            )
        return resize_size


def meanings(config: type[BaseModel]) -> dict[str, str]:
    """What the fields of a configuration mean: name -> text of the `Attributes` in the docstrings of the class and its
    bases."""
    found: dict[str, str] = {}
    for cls in reversed(config.__mro__):
        attributes = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:")[2]
        entries = (entry.strip().partition(": ") for entry in re.split(r"\n    (?=\w+: )", attributes))
        found.update({name: " ".join(text.split()) for name, _, text in entries if name})
    return found


def is_archive(root: str) -> bool:
    """Whether a root of data sets is a file to unpack."""
    return root.partition("?")[0].endswith(".tar")


CHANGES_NO_NUMBER = ("data.root", "data.cache", "data.workers", "data.stage")
"""Settings that say where images are and how they are read; they do not change what is trained."""


def differing(one: BaseModel, other: BaseModel) -> list[str]:
    """The dotted paths in which two configurations differ, with both values; settings that change no number are left
    out."""
    return [
        f"{path}: {ours!r} and {theirs!r}"
        for path, ours, theirs in _differing("", one.model_dump(mode="json"), other.model_dump(mode="json"))
        if path not in CHANGES_NO_NUMBER
    ]


def _differing(path: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in {**one, **other}:
            yield from _differing(f"{path}.{name}".lstrip("."), one.get(name), other.get(name))
    elif one != other:
        yield path, one, other


def first_problem(error: ValidationError) -> str:
    """The first problem of some content, with its place."""
    return problem_text(error.errors(include_url=False)[0])


def problem_text(problem: Mapping[str, Any]) -> str:
    """One of pydantic's problems in words, with its place."""
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
