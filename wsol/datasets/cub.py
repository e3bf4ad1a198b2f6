"""CUB-200-2011 with CUBV2: 200 bird species, one box per image.

*Splits.* train_weaksup and test are the official ones (Wah et al., 2011; 5,994 and 5,794 images); train_fullsup is CUBV2 (1,000 images from
Flickr, boxes by Choe et al., CVPR 2020), which has 3 to 6 images per class.

*Sources.* `CUB_200_2011.tgz` from https://data.caltech.edu/records/65de6-vp158 and `CUBV2.tar`, linked from `dataset/prepare_cub.sh` of
https://github.com/clovaai/wsolevaluation; the metadata from there too (MIT licence). The images belong to their photographers: CUB for
non-commercial research and education, CUBV2 under the Creative Commons licences listed in `release/CUBV2_image_licenses.txt` there.

*Layout.* `<root>/CUB/<NNN.Class_name>/<file>.jpg`, all splits together; metadata in `<root>/metadata/CUB/{train,val,test}`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from wsol import metadata
from wsol.config import DatasetConfig
from wsol.data import SPLIT_FOLDERS, Dataset, check_tree, prepare_command
from wsol.datasets import _prepare
from wsol.errors import InputError

ARCHIVES: _prepare.Archives = {
    ("CUB_200_2011", "CUB_200_2011.tgz"): "the images of CUB-200-2011, from https://data.caltech.edu/records/65de6-vp158",
    ("CUBV2", "CUBV2.tar"): f"the images of CUBV2, linked from dataset/prepare_cub.sh of {_prepare.REFERENCE}",
}


class Config(DatasetConfig):
    """CUB.

    Attributes:
        metadata: holds train, val and test; null: `<root>/metadata/CUB`.
    """

    name: Literal["cub"] = "cub"
    metadata: str | None = None


def build(config: Config) -> Dataset:
    """The data set; class names come from the folders of the images."""
    tree = _metadata_root(config)
    if not (tree / "test").is_dir():
        raise InputError(f"{tree / 'test'}: no such folder, it should hold the metadata of cub; run `{prepare_command(config)}`")
    test = metadata.read(tree / "test", annotated=True, num_classes=200)
    names = {label: name.split("/")[0] for name, label in zip(test.image_ids, test.labels.tolist(), strict=True)}
    readable = [names.get(label, f"{label + 1:03}").split(".", 1)[-1].replace("_", " ") for label in range(200)]
    return Dataset(config, images=Path(config.root) / "CUB", metadata=tree, class_names=readable)


def prepare(config: Config, source: Path | None, log: Callable[[str], None]) -> None:
    """Unpack both archives of the source folder, copy `<source>/metadata/CUB`, verify."""
    _prepare.copy_metadata(config, "CUB", _metadata_root(config), source, log)
    data = build(config)
    listed = [metadata.read(data.metadata_root / folder, annotated=False).image_ids for folder in SPLIT_FOLDERS.values()]
    _prepare.gather(config, source, ARCHIVES, [name for names in listed for name in names], data.image_root, log)
    check_tree(data, log)


def _metadata_root(config: Config) -> Path:
    return Path(config.metadata) if config.metadata else Path(config.root) / "metadata" / "CUB"
