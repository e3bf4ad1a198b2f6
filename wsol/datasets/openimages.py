"""OpenImages30k: 100 classes, scored against instance masks (PxAP) instead of boxes.

*Splits.* A selection from the instance masks of Open Images V5 by Choe et al. (CVPR 2020): 29,819 images in
train_weaksup, 2,500 in train_fullsup (the published protocol uses 5 of the 25 per class: `fullsup_per_class: 5`), 5,000
in test.

*Sources.* `OpenImages_images.zip` and `OpenImages_annotations.zip`, linked from `dataset/prepare_openimages.sh` of
https://github.com/clovaai/wsolevaluation; the metadata from there too (MIT licence). Images are listed as CC BY 2.0,
annotations as CC BY 4.0.

*Orientation.* Images are read as stored, without their EXIF orientation, as by the code of the published numbers.

*Layout.* `<root>/OpenImages/{train,val,test}/<mid>/<hex>.jpg`; in val and test the masks `<hex>_m<mid>_<hex8>.png` and
one `<hex>_ignore.png` are beside the image. Metadata in `<root>/metadata/OpenImages/{train,val,test}`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from wsol.data import metadata
from wsol.data.dataset import SPLIT_FOLDERS, Dataset, Sizes, prepare_command
from wsol.data.tree import check_tree
from wsol.datasets import _prepare
from wsol.datasets._prepare import Archive, Part
from wsol.errors import InputError
from wsol.files import is_dir
from wsol.schema import DatasetConfig, FilePath

LINKED = f"linked from dataset/prepare_openimages.sh of {_prepare.REFERENCE}"
IMAGES = Archive("OpenImages_images.zip", f"the images, {LINKED}", folders=("OpenImages_images",))
MASKS = Archive("OpenImages_annotations.zip", f"the masks, {LINKED}", folders=("OpenImages_annotations",))
CLASSES = 100
COUNTS = {
    "train_weaksup": {"images": 29819, "classes": 100},
    "train_fullsup": {"images": 2500, "classes": 100, "masks": 3854},
    "test": {"images": 5000, "classes": 100, "masks": 7632},
}


class Config(DatasetConfig):
    """OpenImages30k.

    Attributes:
        metadata: the folder that holds train, val and test; null: `<root>/metadata/OpenImages`.
    """

    name: Literal["openimages"] = "openimages"
    metadata: FilePath | None = None


def build(config: Config) -> Dataset:
    """The data set; classes are named by their machine ids, the folder names. Raises InputError where it is not
    prepared."""
    tree = _metadata_root(config)
    if not is_dir(tree / "test"):
        raise InputError(
            f"{tree / 'test'}: no such folder, it should hold the metadata of openimages; run"
            f" `{prepare_command(config)}`"
        )
    test = metadata.read(tree / "test", annotated=True, num_classes=CLASSES)
    mids = {label: Path(name).parent.name for name, label in zip(test.image_ids, test.labels.tolist(), strict=True)}
    names = [mids.get(label, str(label)) for label in range(CLASSES)]
    published = None if config.metadata else COUNTS
    return Dataset(
        config, images=Path(config.root) / "OpenImages", metadata=tree, class_names=names, published=published
    )


def sizes(config: Config) -> Sizes:
    """The published numbers of images."""
    return Sizes(CLASSES, **{split: counts["images"] for split, counts in COUNTS.items()})


def prepare(config: Config, source: Path | None, log: Callable[[str], None]) -> None:
    """Get the metadata, bring every listed image and mask from the archives to its place, verify.

    Raises:
        InputError: a file is missing or damaged; the message says how to get it.
    """
    tree, target = _metadata_root(config), Path(config.root) / "OpenImages"
    if config.metadata is None:
        counts = {folder: COUNTS[split] for split, folder in SPLIT_FOLDERS.items()}
        _prepare.fetch_metadata(config, "OpenImages", tree, source, log, counts)
    images: list[str] = []
    masks: list[str] = []
    for split, folder in SPLIT_FOLDERS.items():
        rows = metadata.read(tree / folder, annotated=split != "train_weaksup", num_classes=CLASSES)
        images += rows.image_ids
        masks += [path for paths, ignore in rows.masks or () for path in (*paths, ignore) if path]
    parts = [
        Part(archive, target, {name: name for name in names}) for archive, names in ((MASKS, masks), (IMAGES, images))
    ]
    _prepare.gather(config, source, parts, log)
    check_tree(build(config), log)


def _metadata_root(config: Config) -> Path:
    return Path(config.metadata) if config.metadata else Path(config.root) / "metadata" / "OpenImages"
