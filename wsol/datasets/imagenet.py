"""ImageNet-1k (ILSVRC 2012) with ImageNetV2: 1000 classes, one or more boxes per image.

*Splits.* train_weaksup is ImageNet train (1,281,167 images); **test is the original ImageNet val** (50,000); train_fullsup is ImageNetV2
"Threshold0.7" (Recht et al., ICML 2019; 10,000 images, boxes by Choe et al., CVPR 2020), which lies in the folder `val2`.

*Sources.* `ILSVRC2012_img_train.tar` and `ILSVRC2012_img_val.tar` from https://image-net.org/download.php, behind a login, for
non-commercial research and education; `imagenetv2-threshold0.7.tar.gz` from https://huggingface.co/datasets/vaishaal/ImageNetV2; the
metadata from https://github.com/clovaai/wsolevaluation (MIT licence). The archive of ImageNetV2 now names its images by a hash; the
file `mapping.txt` (rows `<k>/<j>.jpeg, <k>/<hash>.jpeg`) belongs beside the metadata of `val` and gives them their published names back.
Sorted order does not: the boxes would silently belong to other images.

*Layout.* `<root>/ILSVRC/train/<wnid>/*.JPEG`, `<root>/ILSVRC/val/ILSVRC2012_val_*.JPEG`, `<root>/ILSVRC/val2/<0..999>/<0..9>.jpeg`; metadata in
`<root>/metadata/ILSVRC/{train,val,test}`. Where the metadata of `train` is absent it is made from the images: classes are the wnids in byte order.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from wsol import metadata
from wsol.config import DatasetConfig
from wsol.data import Dataset, check_tree
from wsol.datasets import _prepare
from wsol.errors import InputError
from wsol.metadata import Metadata

CLASSES = 1000
LOGIN = "from https://image-net.org/download.php, after a login"
V2 = "ImageNetV2 Threshold0.7, from https://huggingface.co/datasets/vaishaal/ImageNetV2"
MAPPING = "https://raw.githubusercontent.com/clovaai/wsolevaluation/e9972606b18064ea886f098f2b5b29b9ade75f09/metadata/ILSVRC/val/mapping.txt"
V2_FOLDERS = ("imagenetv2-threshold0.7-format-val", "imagenetv2-threshold0.7")


class Config(DatasetConfig):
    """ImageNet.

    Attributes:
        metadata: holds train, val and test; null: `<root>/metadata/ILSVRC`.
    """

    name: Literal["imagenet"] = "imagenet"
    metadata: str | None = None


def build(config: Config) -> Dataset:
    """The data set; class names are those that torchvision ships with its weights."""
    from torchvision.models import ResNet50_Weights  # slow to import, and only the names are needed

    names = list(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])
    return Dataset(config, images=_images(config), metadata=_metadata_root(config), class_names=names)


def prepare(config: Config, source: Path | None, log: Callable[[str], None]) -> None:
    """Unpack the three archives of the source folder, copy `<source>/metadata/ILSVRC`, verify; what is in place is kept."""
    _prepare.copy_metadata(config, "ILSVRC", _metadata_root(config), source, log, generated=("train",))
    images = _images(config)
    images.mkdir(parents=True, exist_ok=True)
    if not (images / "val").is_dir():
        archive = _prepare.find(source, ("ILSVRC2012_img_val.tar",), config, f"the validation images, {LOGIN}")
        _unpack_whole(archive, images / "val", log)
    if not (images / "val2").is_dir():
        _bring_v2(config, source, images / "val2", log)
    if not (images / "train").is_dir():
        archive = _prepare.find(source, ("ILSVRC2012_img_train.tar",), config, f"the training images, {LOGIN}")
        _unpack_train(archive, images / "train", log)
    if not (_metadata_root(config) / "train" / metadata.IDS).is_file():
        _write_train_metadata(images, _metadata_root(config) / "train", log)
    check_tree(build(config), log)


def _images(config: Config) -> Path:
    return Path(config.root) / "ILSVRC"


def _metadata_root(config: Config) -> Path:
    return Path(config.metadata) if config.metadata else Path(config.root) / "metadata" / "ILSVRC"


def _unpack_whole(archive: Path, target: Path, log: Callable[[str], None]) -> None:
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    _prepare.unpack(archive, temporary, log)
    temporary.rename(target)


def _unpack_train(archive: Path, target: Path, log: Callable[[str], None]) -> None:
    """The archive holds one archive per class, read in place; a class that is complete is not unpacked again."""
    temporary = target.with_name(".train.tmp")
    try:
        with tarfile.open(archive) as outer:
            for member in outer:
                wnid, inner = Path(member.name).stem, outer.extractfile(member)
                if inner is None or (temporary / wnid).is_dir():
                    continue
                log(f"unpacking {wnid}")
                part = temporary / f".{wnid}"
                with tarfile.open(fileobj=inner) as images:
                    images.extractall(part, filter="data")
                part.rename(temporary / wnid)
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"{archive}: cannot be unpacked ({error}); the file may be damaged or cut short, get it again") from None
    temporary.rename(target)


def _bring_v2(config: Config, source: Path | None, target: Path, log: Callable[[str], None]) -> None:
    found = _prepare.find(source, (*V2_FOLDERS, "imagenetv2-threshold0.7.tar.gz"), config, V2)
    temporary = target.with_name(".val2.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    if found.is_dir():
        shutil.copytree(found, temporary / found.name)
    else:
        _prepare.unpack(found, temporary, log)
    inner = next((temporary / name for name in V2_FOLDERS if (temporary / name).is_dir()), None)
    if inner is None:
        raise InputError(f"{found}: holds neither {' nor '.join(V2_FOLDERS)}; expected {V2}")
    if not (inner / "0" / "0.jpeg").is_file():
        _rename_v2(inner, _metadata_root(config) / "val" / "mapping.txt")
    inner.rename(target)
    shutil.rmtree(temporary)


def _rename_v2(folder: Path, mapping: Path) -> None:
    if not mapping.is_file():
        raise InputError(f"{mapping}: no such file. The images of ImageNetV2 are named by a hash, and this file has their names: {MAPPING}")
    for number, line in enumerate(mapping.read_text(encoding="utf-8").splitlines(), start=1):
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 2 or not (folder / fields[1]).is_file():
            raise InputError(f"{mapping}:{number}: expected `<k>/<j>.jpeg, <k>/<hash>.jpeg` with an existing second file, got {line!r}")
        (folder / fields[1]).rename(folder / fields[0])


def _write_train_metadata(images: Path, folder: Path, log: Callable[[str], None]) -> None:
    wnids = sorted(path.name for path in (images / "train").iterdir() if path.is_dir())
    if len(wnids) != CLASSES:
        raise InputError(f"{images / 'train'}: holds {len(wnids)} classes instead of {CLASSES}; unpack ILSVRC2012_img_train.tar again")
    files = [(f"train/{wnid}/{path.name}", label) for label, wnid in enumerate(wnids) for path in sorted((images / "train" / wnid).glob("*.JPEG"))]
    log(f"writing {folder} from the {len(files)} images of {images / 'train'}")
    names, labels = zip(*files, strict=True)
    metadata.write(folder, Metadata(folder, names, np.array(labels, dtype=np.int64), None, None, None))
