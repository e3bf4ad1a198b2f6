"""ImageNet: unpacked or not, with and without the names of ImageNetV2."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.faked_trees import (
    fake,
    images_of,
    inner_tar,
    put,
    rows_of,
)
from tests.support.tiny import Launch
from wsol import build
from wsol.data import archives
from wsol.datasets import imagenet


def test_imagenet_that_is_unpacked_already_is_linked_to(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    faked = fake("ILSVRC", monkeypatch)
    for archive, folder in (("ILSVRC2012_img_val.tar", "val/n{0:08}"), ("ILSVRC2012_img_train.tar", "train")):
        for number, (name, bring) in enumerate(archives.members(Path("source") / archive)):
            bring(Path("elsewhere") / folder.format(number) / name)
    for path in list(Path("elsewhere/train").glob("*.tar")):
        archives.unpack(path, path.with_suffix(""), lambda line: None)
    shutil.move("source/metadata", "elsewhere/metadata")
    shutil.move("source/mapping.txt", "elsewhere/mapping.txt")
    shutil.move("source/imagenetv2-threshold0.7.tar.gz", "elsewhere")
    assert launch("data", "prepare", faked.name, "--source", "elsewhere")[0] == 0
    assert Path("data/ILSVRC/train").is_symlink() and all(
        path.is_symlink() for path in Path("data/ILSVRC/val").iterdir()
    )
    train_split = build.dataset(imagenet.Config()).split("train_weaksup")
    assert train_split.image_ids[:2] == ("train/n00000000/n00000000_10026.JPEG", "train/n00000001/n00000001_10026.JPEG")
    assert train_split.labels.tolist() == list(range(40))


def test_imagenet_train_that_lacks_classes_or_images(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    faked = fake("ILSVRC", monkeypatch)
    monkeypatch.setattr(imagenet, "TRAIN", replace(imagenet.TRAIN, size=None, md5=None))
    put(Path("source/ILSVRC2012_img_train.tar"), {f"n{k:08}.tar": inner_tar(f"n{k:08}") for k in range(39)})
    code, _, err = faked.prepare(launch)
    assert code == 2 and "holds 39 folders of classes instead of 40; ILSVRC2012_img_train.tar is not complete" in err
    put(Path("source/ILSVRC2012_img_train.tar"), {"n00000039.tar": inner_tar("n00000039")})
    monkeypatch.setitem(imagenet.COUNTS["train_weaksup"], "images", 41)
    code, _, err = faked.prepare(launch)
    assert code == 2 and "data/ILSVRC/train: holds 40 images instead of 41" in err
    assert not Path("data/metadata/ILSVRC/train").exists()
    assert not Path("data/ILSVRC/train").exists() and not Path("data/ILSVRC/.train.tmp").exists(), "not used again"


def test_imagenetv2_with_its_published_names_needs_no_mapping(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    faked = fake("ILSVRC", monkeypatch)
    Path("source/mapping.txt").unlink()
    code, _, err = faked.prepare(launch)
    assert code == 2 and "mapping.txt: cannot be downloaded" in err and "put it into data/metadata/ILSVRC/val" in err
    images = images_of(rows_of("ILSVRC", "val", real=False))
    put(
        Path("source/imagenetv2-threshold0.7.tar.gz"),
        {f"imagenetv2-threshold0.7/{name.removeprefix('val2/')}": images[name] for name in images},
    )
    assert faked.prepare(launch)[0] == 0


def test_a_wrong_mapping(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    faked = fake("ILSVRC", monkeypatch)
    right, mapping = Path("source/mapping.txt").read_text().split("\n"), Path("data/metadata/ILSVRC/val/mapping.txt")
    mapping.parent.mkdir(parents=True)
    mapping.write_text("\n".join([*right[:3], "3/0.jpeg"]))
    code, _, err = faked.prepare(launch)
    assert code == 2 and "val/mapping.txt:4: expected `<k>/<j>.jpeg, <k>/<hash>.jpeg`, got '3/0.jpeg'" in err
    mapping.write_text("\n".join(right[:-1]))
    code, _, err = faked.prepare(launch)
    assert code == 2 and "val/mapping.txt: has no row for 1 of 12 images" in err
    swapped = [
        line.split(", ")[0] + ", " + other.split(", ")[1]
        for line, other in zip(right, [right[1], right[0], *right[2:]], strict=True)
    ]
    mapping.write_text("\n".join(swapped))
    code, _, err = faked.prepare(launch)
    assert (
        code == 2
        and "2 of the 12 files that imagenet needs from it are damaged or other ones, 1/0.jpeg: has 500 x 333" in err
        and "image_sizes.txt says 500 x 333" in err
    )
