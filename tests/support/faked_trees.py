"""The three published data sets with faked images, under the published names and sizes. Names are patterned after the
published ones, or, with WSOL_METADATA, the published ones themselves."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from tests.support.tiny import Launch
from wsol.data import metadata
from wsol.data.dataset import SPLIT_FOLDERS
from wsol.data.metadata import Metadata
from wsol.datasets import _prepare, cub, imagenet, openimages

Files = dict[str, bytes]

NOWHERE = "http://127.0.0.1:1"
V2_FOLDER = "imagenetv2-threshold0.7-format-val"


@cache
def picture(width: int, height: int, kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.effect_noise((8, 8), 64).resize((width, height)).convert("RGB").save(file, kind)
    return file.getvalue()


@cache
def mask(grey: int) -> bytes:
    """Half of it is the object; not as large as its image, like many of the published ones."""
    pixels = np.zeros((60, 80), np.uint8)
    pixels[:30] = grey
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def published(name: str, folder: str, count: int) -> Metadata | None:
    """The first published row of each of the first classes; None without WSOL_METADATA."""
    root = Path(os.environ.get("WSOL_METADATA", "")) / name / folder
    if "WSOL_METADATA" not in os.environ or not root.is_dir():
        return None
    data = metadata.read(root, annotated=folder != "train")
    chosen = np.unique(data.labels, return_index=True)[1][:count].tolist()
    return Metadata(
        root,
        tuple(data.image_ids[i] for i in chosen),
        data.labels[chosen],
        None if data.sizes is None else data.sizes[chosen],
        None if data.boxes is None else tuple(data.boxes[i] for i in chosen),
        None if data.masks is None else tuple(data.masks[i] for i in chosen),
    )


def patterned(folder: str, names: list[str], *, kind: str) -> Metadata:
    """One image of each class, with a box, with two masks, or with labels only."""
    labels, sizes = np.arange(len(names)), np.array([[500, 333 + label % 7] for label in range(len(names))])
    if kind == "labels":
        return Metadata(Path(folder), tuple(names), labels, None, None, None)
    if kind == "boxes":
        return Metadata(
            Path(folder), tuple(names), labels, sizes, tuple(np.array([[60, 27, 385, 331]]) for _ in names), None
        )
    stems = [name.removesuffix(".jpg") for name in names]
    rows = tuple(
        ((f"{s}_m{s.split('/')[1]}_6554d965.png", f"{s}_m{s.split('/')[1]}_8856c605.png"), f"{s}_ignore.png")
        for s in stems
    )
    return Metadata(Path(folder), tuple(names), labels, None, None, rows)


def rows_of(name: str, folder: str, *, real: bool) -> Metadata:
    """The metadata of a faked split, an image of each of the first classes."""
    count = {"CUB": 20, "ILSVRC": 12, "OpenImages": 20}[name]
    if real and (data := published(name, folder, count)) is not None:
        return data
    if name == "CUB":
        return patterned(
            folder, [f"{k + 1:03}.Bird_{k + 1}/{folder}_{k:04}_{7 * k}.jpg" for k in range(count)], kind="boxes"
        )
    if name == "OpenImages":
        names = [f"{folder}/0{k:04x}z/{k:016x}.jpg" for k in range(count)]
        return patterned(folder, names, kind="labels" if folder == "train" else "masks")
    names = [f"val2/{k}/0.jpeg" if folder == "val" else f"val/ILSVRC2012_val_{k + 1:08}.JPEG" for k in range(count)]
    return patterned(folder, names, kind="boxes")


def put(path: Path, files: Files) -> None:
    """An archive of the kind that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as opened:
            for name, content in files.items():
                opened.writestr(name, content)
        return
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def images_of(data: Metadata) -> Files:
    sizes = [(96, 64)] * len(data.image_ids) if data.sizes is None else [tuple(size) for size in data.sizes.tolist()]
    return {name: picture(*size) for name, size in zip(data.image_ids, sizes, strict=True)}


@cache
def inner_tar(wnid: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo(f"{wnid}_10026.JPEG")
        member.size = len(picture(40, 30))
        archive.addfile(member, io.BytesIO(picture(40, 30)))
    return file.getvalue()


def hashed(name: str) -> str:
    """What the archive of ImageNetV2 calls `val2/<k>/<j>.jpeg`."""
    return f"{name.split('/')[1]}/{hashlib.sha1(name.encode()).hexdigest()}.jpeg"


def archives_of(name: str, splits: dict[str, Metadata]) -> dict[str, Files]:
    if name == "CUB":
        inside = {
            f"CUB_200_2011/images/{image}": content
            for split in ("train", "test")
            for image, content in images_of(splits[split]).items()
        }
        return {"CUB_200_2011.tgz": {"CUB_200_2011/README": b"text", **inside}, "CUBV2.tar": images_of(splits["val"])}
    if name == "OpenImages":
        masks = [row for folder in ("val", "test") for row in splits[folder].masks or ()]
        annotations = {path: mask(255) for paths, _ in masks for path in paths} | {
            ignore: mask(0) for _, ignore in masks
        }
        return {
            "OpenImages_images.zip": {
                image: content for data in splits.values() for image, content in images_of(data).items()
            },
            "OpenImages_annotations.zip": annotations,
        }
    return {
        "ILSVRC2012_img_val.tar": {
            image.split("/")[1]: content for image, content in images_of(splits["test"]).items()
        },
        "imagenetv2-threshold0.7.tar.gz": {
            f"{V2_FOLDER}/{hashed(image)}": content for image, content in images_of(splits["val"]).items()
        },
        "ILSVRC2012_img_train.tar": {f"n{k:08}.tar": inner_tar(f"n{k:08}") for k in range(imagenet.CLASSES)},
    }


@dataclass
class Faked:
    """A source folder as a user has it; its counts, sizes and digests are the published ones as far as the plugin
    knows."""

    plugin: ModuleType
    name: str

    def prepare(self, launch: Launch, *words: str) -> tuple[int, str, str]:
        return launch("data", "prepare", self.name, "--source", "source", *words)


PLUGINS = {"CUB": cub, "ILSVRC": imagenet, "OpenImages": openimages}


def fake(published_name: str, monkeypatch: pytest.MonkeyPatch, *, real: bool = False, classes: int = 40) -> Faked:
    """`classes` folders are in ImageNet's train; the other data sets have their reduced metadata."""
    plugin = PLUGINS[published_name]
    monkeypatch.setattr(imagenet, "CLASSES", classes)
    splits = {
        folder: rows_of(published_name, folder, real=real)
        for folder in SPLIT_FOLDERS.values()
        if (published_name, folder) != ("ILSVRC", "train")
    }
    for folder, data in splits.items():
        metadata.write(Path("source/metadata") / published_name / folder, data)
    archives = archives_of(published_name, splits)
    for name, files in archives.items():
        put(Path("source") / name, files)
    if published_name == "ILSVRC":
        Path("source/mapping.txt").write_text(
            "\n".join(f"{name.removeprefix('val2/')}, {hashed(name)}" for name in splits["val"].image_ids)
        )
        monkeypatch.setattr(imagenet, "MAPPING", f"{NOWHERE}/mapping.txt")
    know_archives(plugin, monkeypatch)
    monkeypatch.setattr(plugin, "COUNTS", counts(plugin, splits))
    monkeypatch.setattr(_prepare, "RAW", NOWHERE)
    return Faked(plugin, plugin.Config.model_fields["name"].default)


def know_archives(plugin: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the faked files were the published ones; nothing is downloaded."""
    for constant, archive in [
        (key, value) for key, value in vars(plugin).items() if isinstance(value, _prepare.Archive)
    ]:
        path = Path("source") / archive.name
        if path.exists():
            content = path.read_bytes()
            known = {"size": len(content), "md5": hashlib.md5(content).hexdigest()} if archive.md5 else {}
            url = {"url": f"{NOWHERE}/{archive.name}"} if archive.url else {}
            monkeypatch.setattr(plugin, constant, replace(archive, **known, **url))


def counts(plugin: ModuleType, splits: dict[str, Metadata]) -> dict[str, dict[str, int]]:
    """In the form of the plugin's own table."""
    found: dict[str, dict[str, int]] = {}
    for split, folder in SPLIT_FOLDERS.items():
        key = folder if plugin is cub else split
        if folder not in splits:
            found[key] = {"images": imagenet.CLASSES, "classes": imagenet.CLASSES}
            continue
        data = splits[folder]
        masks = sum(len(paths) for paths, _ in data.masks or ())
        labelled = {"images": len(data.image_ids), "classes": len(np.unique(data.labels))}
        found[key] = (
            labelled if folder == "train" else {**labelled, "boxes": sum(map(len, data.boxes or ())), "masks": masks}
        )
    return found
