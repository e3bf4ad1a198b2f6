"""`init`: writes a search-space file for a folder of the user's own images. It asks nothing; what it decides is said in
comments of the file."""

from __future__ import annotations

import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path

from orchestrator.console import console
from orchestrator.experiment.load import parse_experiment
from orchestrator.experiment.paths import Values
from orchestrator.formats import one_line, to_yaml
from wsol.data import metadata
from wsol.data.dataset import SPLIT_FOLDERS
from wsol.data.metadata import CLASS_NAMES, IDS, Metadata
from wsol.errors import InputError, listed
from wsol.files import exists, is_dir, is_file, write_text

MANY_IMAGES = 100_000
"""From this number of training images on, the schedule is the one for ImageNet; below, the one for CUB."""

BOX_METRICS = "[{name: max_box_acc_v2}, {name: max_box_acc}, {name: max_box_acc_by_size}, {name: top1}]"
MASK_METRICS = "[{name: pxap}, {name: piou}, {name: pxap_by_size}]"

TEMPLATE = """\
# CAM (Zhou et al., CVPR 2016) on the images in {folder}; written by `python launch.py init`, change what you like.
#   python launch.py validate {file}             after every change
#   python launch.py search {file} --dry-run     the first points; hours and disk, from one measured step
#   python launch.py search {file}               the search, one test of its winner, the report
# {counts}
# Ranges, and 30 random draws: the protocol's (Choe et al., CVPR 2020); learning rate: the one that it tuned for CUB.
# Any value can be changed on the command line: study.trials=6 study.sampler=tpe method=has
# `python launch.py list methods`, or backbones, ... says what there is. Without a GPU take a small network:
#   backbone=efficientnet_lite0 data.image_size=128 data.resize_size=146
trial:  # a complete training, the first point of the search
  method: {{name: cam}}
  backbone: {{name: resnet50, stride: 8, weights: imagenet}}
  data:
{data}
  optim: {{lr: 2.3222617e-4, head_lr_scale: 10, weight_decay: 1e-4, lr_decay_every: {decay}}}
  training: {{epochs: {epochs}, batch_size: {batch}}}  # {schedule}
  evaluation:
    metrics: {metrics}
search:  # dotted path in `trial` -> what is drawn
  optim.lr: {{low: 1e-5, high: 1, log: true}}
  backbone.stride: {{choices: [8, 16]}}  # maps of 28 x 28 or 14 x 14 cells
study: {{objective: train_fullsup/{objective}, trials: 30, sampler: random, seed: 0}}
resources: {{workers: 1}}  # processes for each trial; each takes one GPU where there are any
"""


@dataclass(frozen=True, slots=True)
class Found:
    """A folder of images with its metadata.

    Attributes:
        images: image ids are relative to it.
        metadata: holds `train`, `val` and `test`.
        masks: mask paths are relative to it; None: there are none.
        splits: name of the split -> the content of its four files.
    """

    images: Path
    metadata: Path
    masks: Path | None
    splits: dict[str, Metadata]

    @property
    def classes(self) -> int:
        """Number of classes: one more than the largest label of all splits."""
        return 1 + max(int(split.labels.max()) for split in self.splits.values())


def init(folder: Path) -> Path:
    """Write `<name of the folder>.yaml` in the current folder, and say what comes next.

    Args:
        folder: holds the images, below `images` or itself, and the folders `train`, `val` and `test` of the published
            format, below `metadata` or itself.

    Returns:
        the file.

    Raises:
        InputError: the file exists already, there is no metadata, or an image that it names is missing; nothing was
            written.
    """
    file = Path(f"{folder.resolve().name or 'images'}.yaml")
    if exists(file):
        raise InputError(f"{file}: exists already; move it away, or search it: python launch.py search {file}")
    found = find(folder)
    text = search_space(folder, file, found)
    parse_experiment(text, str(file))
    write_text(file, text)
    place = shlex.quote(str(file))
    console.print(f"{file}: {_counts(found)}")
    console.print(f"first: python launch.py search {place} --dry-run      first points, hours and disk")
    console.print(f"then:  python launch.py search {place}")
    return file


def find(folder: Path) -> Found:
    """Find images and metadata below a folder, and read the metadata.

    Raises:
        InputError: a file is missing or damaged; see `init`.
    """
    if not is_dir(folder):
        raise InputError(f"{folder}: no such folder; give the one that holds your images")
    place = next((one for one in (folder / "metadata", folder) if _is_metadata(one)), None)
    if place is None:
        missing = listed([str(folder / "metadata" / name / IDS) for name in SPLIT_FOLDERS.values()])
        raise InputError(
            f"{folder}: has no metadata: {missing} are missing. train needs class labels, val and"
            " test boxes or masks: `python launch.py data prepare coco`, voc or yolo makes all of it from annotations"
        )
    splits = {
        name: metadata.read(place / where, annotated=name != "train_weaksup") for name, where in SPLIT_FOLDERS.items()
    }
    first = splits["train_weaksup"].image_ids[0]
    images = next((one for one in (folder / "images", folder) if is_file(one / first)), None)
    if images is None:
        raise InputError(f"{folder}: neither images/{first} nor {first} is there, the first image of {place}/train")
    return Found(images, place, _masks_folder(folder, images, splits["test"]), splits)


def search_space(folder: Path, file: Path, found: Found) -> str:
    """The text of the search-space file."""
    images = len(found.splits["train_weaksup"].image_ids)
    is_large, has_masks = images >= MANY_IMAGES, found.splits["test"].boxes is None
    data: Values = {"name": "folder", "images": str(found.images), "metadata": str(found.metadata)}
    if found.masks not in (None, found.images):
        data["masks"] = str(found.masks)
    if names := class_names(found):
        data["class_names"] = names
    return TEMPLATE.format(
        folder=one_line(str(folder)),
        file=one_line(shlex.quote(str(file))),
        counts=_counts(found),
        data=textwrap.indent(to_yaml(data).rstrip(), " " * 4),
        decay=3 if is_large else 15,
        epochs=10 if is_large else 50,
        batch=min(images, 32),
        schedule="as for ImageNet: there are as many images" if is_large else "as for CUB",
        metrics=MASK_METRICS if has_masks else BOX_METRICS,
        objective="pxap" if has_masks else "max_box_acc_v2",
    )


def class_names(found: Found) -> list[str]:
    """Class names, taken from the folders that hold the training images of each class. Empty where a class has several
    folders, or several classes share one; and where a file names the classes, which the data set reads itself."""
    if is_file(found.metadata / CLASS_NAMES):
        return []
    train = found.splits["train_weaksup"]
    pairs = {(int(label), Path(name).parent.name) for label, name in zip(train.labels, train.image_ids, strict=True)}
    names = [name for _, name in sorted(pairs)]
    is_one_each = [label for label, _ in sorted(pairs)] == list(range(found.classes)) and len(
        set(names)
    ) == found.classes
    return names if is_one_each and all(names) else []


def _is_metadata(folder: Path) -> bool:
    return any(is_file(folder / name / IDS) for name in SPLIT_FOLDERS.values())


def _masks_folder(folder: Path, images: Path, test: Metadata) -> Path | None:
    """The folder of the masks: `masks` if the first mask of test is there, else the folder of the images."""
    if test.masks is None:
        return None
    first = test.masks[0][0][0]
    return images if is_file(images / first) or not is_file(folder / "masks" / first) else folder / "masks"


def _counts(found: Found) -> str:
    sizes = {name: len(split.image_ids) for name, split in found.splits.items()}
    shapes = "masks" if found.splits["test"].boxes is None else "boxes"
    return (
        f"{found.classes} classes; {sizes['train_weaksup']} images with class labels to train on,"
        f" {sizes['train_fullsup']} with {shapes} to choose by, {sizes['test']} to test"
    )
