"""ImageNet-1k (ILSVRC 2012) with ImageNetV2: 1000 classes, one or more boxes per image.

*Splits.* train_weaksup is ImageNet train (1,281,167 images); **test is the original ImageNet val** (50,000);
train_fullsup is ImageNetV2 "Threshold0.7" (Recht et al., ICML 2019; 10,000 images, boxes by Choe et al., CVPR 2020),
which lies in the folder `val2`.

*Sources.* `ILSVRC2012_img_train.tar` and `ILSVRC2012_img_val.tar` from https://image-net.org/download.php, behind a
login, for non-commercial research and education; the folders `train` and `val` of an unpacked ImageNet, `val` flat or
sorted by class, are linked to. `imagenetv2-threshold0.7.tar.gz` from
https://huggingface.co/datasets/vaishaal/ImageNetV2 and the metadata from https://github.com/clovaai/wsolevaluation (MIT
licence) are downloaded. The archive of ImageNetV2 now names its images by a hash; the file `mapping.txt` (rows
`<k>/<j>.jpeg, <k>/<hash>.jpeg`) is put beside the metadata of `val` and restores their published names. Their sorted
order would not, and the boxes would silently belong to other images.

*Orientation.* Images are read as stored, without their EXIF orientation, as by the code of the published numbers.

*Layout.* `<root>/ILSVRC/train/<wnid>/*.JPEG`, `<root>/ILSVRC/val/ILSVRC2012_val_*.JPEG`,
`<root>/ILSVRC/val2/<0..999>/<0..9>.jpeg`; metadata in `<root>/metadata/ILSVRC/{train,val,test}`. If the metadata of
`train` are absent, they are made from the images: classes are the wnids in byte order.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from wsol import files
from wsol.data import archives, metadata
from wsol.data.dataset import SPLIT_FOLDERS, Dataset, Sizes
from wsol.data.metadata import Metadata
from wsol.data.rows import read_lines
from wsol.data.tree import check_tree
from wsol.datasets import _prepare
from wsol.datasets._download import download
from wsol.datasets._prepare import Archive, Part
from wsol.errors import InputError
from wsol.schema import DatasetConfig, FilePath

CLASSES = 1000
COUNTS = {
    "train_weaksup": {"images": 1281167, "classes": 1000},
    "train_fullsup": {"images": 10000, "classes": 1000, "boxes": 18532},
    "test": {"images": 50000, "classes": 1000, "boxes": 80477},
}
LOGIN = "from https://image-net.org/download.php, after a login"
TRAIN = Archive(
    "ILSVRC2012_img_train.tar",
    f"the training images, {LOGIN}",
    folders=("ILSVRC2012_img_train", "train"),
    size=147897477120,
    md5="1d675b47d978889d74fa0da5fadfb00e",
)
VAL = Archive(
    "ILSVRC2012_img_val.tar",
    f"the validation images, {LOGIN}",
    folders=("ILSVRC2012_img_val", "val"),
    size=6744924160,
    md5="29b22e2961454d5413ddabcf34fc5622",
)
V2 = Archive(
    "imagenetv2-threshold0.7.tar.gz",
    "ImageNetV2 Threshold0.7, from https://huggingface.co/datasets/vaishaal/ImageNetV2",
    folders=("imagenetv2-threshold0.7-format-val", "imagenetv2-threshold0.7"),
    url="https://huggingface.co/datasets/vaishaal/ImageNetV2/resolve/main/imagenetv2-threshold0.7.tar.gz",
)
MAPPING = "https://raw.githubusercontent.com/clovaai/wsolevaluation/e9972606b18064ea886f098f2b5b29b9ade75f09/metadata/ILSVRC/val/mapping.txt"


class Config(DatasetConfig):
    """ImageNet.

    Attributes:
        metadata: the folder that holds train, val and test; null: `<root>/metadata/ILSVRC`.
    """

    name: Literal["imagenet"] = "imagenet"
    metadata: FilePath | None = None


def build(config: Config) -> Dataset:
    """The data set; class names are those that torchvision ships with its weights."""
    from torchvision.models import ResNet50_Weights  # slow to import, and only the names are needed

    names = list(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])
    published = None if config.metadata else COUNTS
    return Dataset(
        config, images=_images(config), metadata=_metadata_root(config), class_names=names, published=published
    )


def sizes(config: Config) -> Sizes:
    """The published numbers of images."""
    return Sizes(CLASSES, **{split: counts["images"] for split, counts in COUNTS.items()})


def prepare(config: Config, source: Path | None, log: Callable[[str], None]) -> None:
    """Get the metadata and the archives, in `source` or downloaded, bring every image to its place, verify; what is in
    place stays.

    Raises:
        InputError: a file is missing or damaged; the message says how to get it.
    """
    tree, images = _metadata_root(config), _images(config)
    if config.metadata is None:
        offers_train = source is not None and (source / "metadata" / "ILSVRC" / "train" / metadata.IDS).is_file()
        splits = ["train_fullsup", "test", *(["train_weaksup"] if offers_train else [])]
        counts = {SPLIT_FOLDERS[split]: COUNTS[split] for split in splits}
        _prepare.fetch_metadata(config, "ILSVRC", tree, source, log, counts)
    validation = _part(VAL, images / "val", tree / "test")
    v2 = _part(V2, images / "val2", tree / "val")
    train = images / "train"
    absent = [part.archive for part in (validation, v2) if part.missing()] + ([] if train.is_dir() else [TRAIN])
    _prepare.require(config, source, absent)
    if v2.missing():
        place = _prepare.obtain(config, source, V2, log)
        v2 = replace(v2, wanted=_renamed(v2.wanted, place, tree / "val" / "mapping.txt", source, log))
    _prepare.gather(config, source, [validation, v2], log)
    if not train.is_dir():
        number = COUNTS["train_weaksup"]["images"] if config.metadata is None else None
        _bring_train(_prepare.obtain(config, source, TRAIN, log), train, number, log)
    if not (tree / "train" / metadata.IDS).is_file():
        _write_train_metadata(images, tree / "train", log)
    check_tree(build(config), log)


def _part(archive: Archive, target: Path, folder: Path) -> Part:
    """The part of an archive whose image ids are paths below the name of `target`, such as `val2/0/1.jpeg`."""
    sizes = {name.removeprefix(f"{target.name}/"): size for name, size in _prepare.listed_sizes(folder).items()}
    known = {name: size for name, size in sizes.items() if size is not None}
    return Part(archive, target, {name: name for name in sizes}, known)


def _images(config: Config) -> Path:
    return Path(config.root) / "ILSVRC"


def _metadata_root(config: Config) -> Path:
    return Path(config.metadata) if config.metadata else Path(config.root) / "metadata" / "ILSVRC"


def _bring_train(place: Path, target: Path, number: int | None, log: Callable[[str], None]) -> None:
    """Link to a folder of classes, or unpack the archive, which holds one archive per class; a class that is complete
    is not unpacked again. `number` of images is checked before the folder gets its place; None: any."""
    if place.is_dir():
        _require_whole(place, target, number)
        target.symlink_to(place.resolve())
        log(f"{target}: a link to {place}")
        return
    temporary = target.with_name(".train.tmp")
    if not temporary.is_dir():
        temporary.mkdir(parents=True)
        archives.require_room(temporary, place.stat().st_size, place)
    packed = place.stat().st_size
    with archives.readable(place), tarfile.open(place, tarinfo=archives.StrictHeader) as outer:
        for name, member in archives.plain_members(outer, place, packed):
            wnid, inner = Path(name).stem, outer.extractfile(member)
            if inner is None or (temporary / wnid).is_dir():
                continue
            part = target.with_name(".train.class.tmp")
            shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
            with tarfile.open(fileobj=inner, tarinfo=archives.StrictHeader) as images:
                archives.unpack_tar(images, part, place, member.size)
            part.rename(temporary / wnid)
            log(f"{wnid}: unpacked")
    _require_classes(temporary)
    try:
        _require_whole(temporary, target, number)
    except InputError:
        shutil.rmtree(temporary)  # its classes count as complete, so nothing would be added to it
        raise
    temporary.rename(target)


def _require_whole(folder: Path, target: Path, number: int | None) -> None:
    _require_classes(folder)
    found = sum(1 for _ in folder.glob("*/*.JPEG"))
    if number not in (None, found):
        raise InputError(
            f"{target}: holds {found} images instead of {number}; it is not complete, and not put in place"
        )


def _require_classes(folder: Path) -> None:
    found = sum(path.is_dir() for path in folder.iterdir())
    if found != CLASSES:
        raise InputError(
            f"{folder}: holds {found} folders of classes instead of {CLASSES}; {TRAIN.name} is not complete, get it"
            " again"
        )


def _renamed(
    wanted: Mapping[str, str], place: Path, mapping: Path, source: Path | None, log: Callable[[str], None]
) -> dict[str, str]:
    """Names of the images in this archive -> their published names."""
    with archives.readable(place):
        first = next((name for name, _ in archives.members(place) if name.endswith(".jpeg")), "")
    if Path(first).stem.isdigit():
        return dict(wanted)
    if source is not None and (source / "mapping.txt").is_file() and not mapping.is_file():
        files.write_text(mapping, "\n".join(read_lines(source / "mapping.txt")))
    download(MAPPING, mapping, log, check=_read_mapping)
    found = _read_mapping(mapping)
    lost = [name for name in wanted if name not in found]
    if lost:
        raise InputError(
            f"{mapping}: has no row for {len(lost)} of {len(wanted)} images of ImageNetV2, the first: {lost[0]}; delete"
            f" it, get {MAPPING}"
        )
    return {found[name]: name for name in wanted}


def _read_mapping(path: Path) -> dict[str, str]:
    """Published name -> name in the archive."""
    rows = [[field.strip() for field in line.split(",")] for line in read_lines(path)]
    for number, row in enumerate(rows, start=1):
        if len(row) != 2:
            raise InputError(
                f"{path}:{number}: expected `<k>/<j>.jpeg, <k>/<hash>.jpeg`, got {', '.join(row)!r}; delete it, get"
                f" {MAPPING}"
            )
    return dict(rows)


def _write_train_metadata(images: Path, folder: Path, log: Callable[[str], None]) -> None:
    _require_classes(images / "train")
    wnids = sorted(path.name for path in (images / "train").iterdir() if path.is_dir())
    listed = [
        (f"train/{wnid}/{path.name}", label)
        for label, wnid in enumerate(wnids)
        for path in sorted((images / "train" / wnid).glob("*.JPEG"))
    ]
    if len(listed) != (number := COUNTS["train_weaksup"]["images"]):
        raise InputError(f"{images / 'train'}: holds {len(listed)} images instead of {number}; it is not complete")
    log(f"{folder}: made from the {len(listed)} images of {images / 'train'}")
    names, labels = zip(*listed, strict=True)
    metadata.write(folder, Metadata(folder, names, np.array(labels, dtype=np.int64), None, None, None))
