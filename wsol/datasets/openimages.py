"""OpenImages30k: 100 classes, scored against instance masks (PxAP) instead of boxes.

*Splits.* A selection from the instance masks of Open Images V5 by Choe et al. (CVPR 2020): 29,819 images in train_weaksup, 2,500 in train_fullsup
(the published protocol uses 5 of the 25 per class: `fullsup_per_class: 5`), 5,000 in test.

*Sources.* `OpenImages_images.zip` and `OpenImages_annotations.zip`, linked from `dataset/prepare_openimages.sh` of
https://github.com/clovaai/wsolevaluation; the metadata from there too (MIT licence). Images are listed as CC BY 2.0, annotations as CC BY 4.0.

*Layout.* `<root>/OpenImages/{train,val,test}/<mid>/<hex>.jpg`; in val and test the masks `<hex>_m<mid>_<hex8>.png` and one
`<hex>_ignore.png` are beside the image. Metadata in `<root>/metadata/OpenImages/{train,val,test}`.
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
    ("OpenImages_annotations", "OpenImages_annotations.zip"): f"the masks, linked from dataset/prepare_openimages.sh of {_prepare.REFERENCE}",
    ("OpenImages_images", "OpenImages_images.zip"): f"the images, linked from dataset/prepare_openimages.sh of {_prepare.REFERENCE}",
}
CLASSES = 100


class Config(DatasetConfig):
    """OpenImages30k.

    Attributes:
        metadata: holds train, val and test; null: `<root>/metadata/OpenImages`.
    """

    name: Literal["openimages"] = "openimages"
    metadata: str | None = None


def build(config: Config) -> Dataset:
    """The data set; classes are named by their machine ids, the folder names."""
    tree = _metadata_root(config)
    if not (tree / "test").is_dir():
        raise InputError(f"{tree / 'test'}: no such folder, it should hold the metadata of openimages; run `{prepare_command(config)}`")
    test = metadata.read(tree / "test", annotated=True, num_classes=CLASSES)
    mids = {label: Path(name).parent.name for name, label in zip(test.image_ids, test.labels.tolist(), strict=True)}
    names = [mids.get(label, str(label)) for label in range(CLASSES)]
    return Dataset(config, images=Path(config.root) / "OpenImages", metadata=tree, class_names=names)


def prepare(config: Config, source: Path | None, log: Callable[[str], None]) -> None:
    """Unpack both archives of the source folder, copy `<source>/metadata/OpenImages`, verify."""
    _prepare.copy_metadata(config, "OpenImages", _metadata_root(config), source, log)
    data = build(config)
    names: list[str] = []
    for split, folder in SPLIT_FOLDERS.items():
        rows = metadata.read(data.metadata_root / folder, annotated=split != "train_weaksup", num_classes=CLASSES)
        names += [*rows.image_ids, *(path for paths, ignore in rows.masks or () for path in (*paths, ignore))]
    _prepare.gather(config, source, ARCHIVES, names, data.image_root, log)
    check_tree(data, log)


def _metadata_root(config: Config) -> Path:
    return Path(config.metadata) if config.metadata else Path(config.root) / "metadata" / "OpenImages"
