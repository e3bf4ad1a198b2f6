"""CUB-200-2011 with CUBV2: 200 bird species, one box per image.

*Splits.* train_weaksup and test are the official ones (Wah et al., 2011; 5,994 and 5,794 images); train_fullsup is
CUBV2 (1,000 images from Flickr, boxes by Choe et al., CVPR 2020), which has 3 to 6 images per class. The test images
have no object below 4 % of the image; CUBSmall (Hwang et al., Neurocomputing 2025; 197 images) has only such objects:
`test_images` adds it to the test images or replaces them; it is never used for selection.

*Masks.* The official test images have segmentations too, for the metrics over pixels (`evaluation.test_metrics: [{name:
pxap}, {name: piou}]`); `prepare` takes them if `segmentations.tgz` is in `--source` or `<root>/downloads`. Their grey
levels count the annotators who marked a pixel; every pixel that anyone marked (every level above 0) belongs to the
object, and nothing is ignored, as far as one can tell like in the released code of BagCAMs (Zhu et al., ECCV 2022).
CUBV2 has no masks.

*Sources.* `CUB_200_2011.tgz` from https://data.caltech.edu/records/65de6-vp158, which `prepare` downloads, and
`CUBV2.tar`, linked from `dataset/prepare_cub.sh` of https://github.com/clovaai/wsolevaluation; the metadata from there
too (MIT licence). `segmentations.tgz` is from https://data.caltech.edu/records/w9d68-gec53. `CUBSmall.zip` and its
metadata are linked from https://github.com/dongjunhwang/small_object_wsol. The images belong to their photographers:
CUB for non-commercial research and education, CUBV2 and CUBSmall under the Creative Commons licences listed beside
their metadata.

*Orientation.* Images are read as stored, without their EXIF orientation, as by the code of the published numbers.

*Layout.* `<root>/CUB/<NNN.Class_name>/<file>.jpg`, all splits together, masks in
`<root>/CUB/segmentations/<NNN.Class_name>/<file>.png`; metadata in `<root>/metadata/CUB/{train,val,test,small}`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from wsol.data import metadata
from wsol.data.dataset import SPLIT_FOLDERS, Dataset, Sizes, prepare_command
from wsol.data.tree import check_tree
from wsol.datasets import _prepare
from wsol.datasets._prepare import Archive, Part
from wsol.errors import InputError
from wsol.files import is_dir
from wsol.schema import DatasetConfig, FilePath

CUB = Archive(
    "CUB_200_2011.tgz",
    "the images of CUB-200-2011, from https://data.caltech.edu/records/65de6-vp158",
    folders=("CUB_200_2011",),
    url="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
    size=1150585339,
    md5="97eceeb196236b17998738112f37df78",
)
CUBV2 = Archive(
    "CUBV2.tar", f"the images of CUBV2, linked from dataset/prepare_cub.sh of {_prepare.REFERENCE}", folders=("CUBV2",)
)
SEGMENTATIONS = Archive(
    "segmentations.tgz",
    "the segmentations of CUB-200-2011, from https://data.caltech.edu/records/w9d68-gec53",
    folders=("segmentations",),
    url="https://data.caltech.edu/records/w9d68-gec53/files/segmentations.tgz",
    size=39272883,
    md5="4d47ba1228eae64f2fa547c47bc65255",
)
SMALL_REFERENCE = "https://github.com/dongjunhwang/small_object_wsol"
CUB_SMALL = Archive(
    "CUBSmall.zip",
    f"the images of CUBSmall, linked from dataset/prepare_cub.sh of {SMALL_REFERENCE}",
    folders=("CUBSmall",),
)

TEST_FOLDERS = {"official": "test", "small": "small", "both": "test_and_small"}
COUNTS = {
    "train": {"images": 5994, "classes": 200},
    "val": {"images": 1000, "classes": 200, "boxes": 1000},
    "test": {"images": 5794, "classes": 200, "boxes": 5794},
    "small": {"images": 197, "classes": 197, "boxes": 197},
    "test_and_small": {"images": 5991, "classes": 200, "boxes": 5991},
}


class Config(DatasetConfig):
    """CUB.

    Attributes:
        metadata: the folder that holds train, val and test; null: `<root>/metadata/CUB`.
        test_images: the images of test: those of CUB (`official`), those of CUBSmall (`small`), or `both`.
    """

    name: Literal["cub"] = "cub"
    metadata: FilePath | None = None
    test_images: Literal["official", "small", "both"] = "official"


def build(config: Config) -> Dataset:
    """The data set; class names come from the folders of the images. Raises InputError if it is not prepared."""
    tree, folder = _metadata_root(config), TEST_FOLDERS[config.test_images]
    for needed in {"test", folder}:
        if not is_dir(tree / needed):
            raise InputError(
                f"{tree / needed}: no such folder, it should hold the metadata of cub; run `{prepare_command(config)}`"
            )
    test = metadata.read(tree / "test", annotated=True, num_classes=200)
    names = {label: name.split("/")[0] for name, label in zip(test.image_ids, test.labels.tolist(), strict=True)}
    readable = [names.get(label, f"{label + 1:03}").split(".", 1)[-1].replace("_", " ") for label in range(200)]
    published = {"train_weaksup": COUNTS["train"], "train_fullsup": COUNTS["val"], "test": COUNTS[folder]}
    return Dataset(
        config,
        images=Path(config.root) / "CUB",
        metadata=tree,
        class_names=readable,
        published=None if config.metadata else published,
        test_folder=folder,
        without_masks=_how_to_get_masks(config),
    )


def sizes(config: Config) -> Sizes:
    """The published numbers of images."""
    return Sizes(200, *(COUNTS[folder]["images"] for folder in ("train", "val", TEST_FOLDERS[config.test_images])))


def prepare(config: Config, source: Path | None, log: Callable[[str], None]) -> None:
    """Get the metadata and the archives, in `source` or downloaded, bring every listed image to its place, verify.

    Raises:
        InputError: a file is missing or damaged; the message says how to get it.
    """
    tree, images = _metadata_root(config), Path(config.root) / "CUB"
    if config.metadata is None:
        counts = {folder: COUNTS[folder] for folder in SPLIT_FOLDERS.values()}
        _prepare.fetch_metadata(config, "CUB", tree, source, log, counts)
    parts = [_part(CUB, images, tree / "train", tree / "test"), _part(CUBV2, images, tree / "val")]
    if config.test_images != "official":
        small = {"small": COUNTS["small"]}
        _prepare.fetch_metadata(config, "CUB", tree, source, log, small, reference=SMALL_REFERENCE)
        metadata.write(tree / "test_and_small", _joined(tree / "test", tree / "small"))
        parts.append(_part(CUB_SMALL, images, tree / "small"))
    masked = _with_masks(metadata.read(tree / "test", annotated=True, num_classes=200))
    takes_masks = _prepare.find(config, source, SEGMENTATIONS) or (tree / "test" / metadata.MASKS).exists()
    if takes_masks:
        paths = [path for mask, _ in masked.masks or () for path in mask]
        wanted = {path.removeprefix("segmentations/"): path for path in paths}
        parts.append(Part(SEGMENTATIONS, images, wanted))
    _prepare.gather(config, source, parts, log)
    if takes_masks:
        metadata.write_masks(tree / "test", masked)
    check_tree(build(config), log)


def _with_masks(data: metadata.Metadata) -> metadata.Metadata:
    """The official test images with their segmentations, one each."""
    names = [Path(name).with_suffix(".png").as_posix() for name in data.image_ids]
    return replace(data, masks=tuple(((f"segmentations/{name}",), "") for name in names))


def _how_to_get_masks(config: Config) -> dict[str, str]:
    """Split -> how to get its masks; CUBSmall has none."""
    to_get = {"test": _prepare.how_to_get(config, SEGMENTATIONS)} if config.test_images == "official" else {}
    return {"train_fullsup": "CUBV2 has no masks: evaluation.test_metrics are of test alone", **to_get}


def _part(archive: Archive, images: Path, *folders: Path) -> Part:
    sizes = _prepare.listed_sizes(*folders)
    known = {name: size for name, size in sizes.items() if size is not None}
    return Part(archive, images, {name: name for name in sizes}, known)


def _joined(*folders: Path) -> metadata.Metadata:
    parts = [metadata.read(folder, annotated=True, num_classes=200) for folder in folders]
    return metadata.Metadata(
        folders[0],
        tuple(name for part in parts for name in part.image_ids),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.sizes for part in parts if part.sizes is not None]),
        tuple(boxes for part in parts for boxes in part.boxes or ()),
        None,
    )


def _metadata_root(config: Config) -> Path:
    return Path(config.metadata) if config.metadata else Path(config.root) / "metadata" / "CUB"
