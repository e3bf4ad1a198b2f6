"""Tiny ImageNet from small archives of the official layout."""

from __future__ import annotations

import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.small_archives import picture, put_files, quiet
from wsol.data import metadata
from wsol.data.dataset import SPLIT_FOLDERS
from wsol.datasets import tiny_imagenet
from wsol.errors import InputError


def tiny_archive() -> dict[str, bytes | str]:
    files: dict[str, bytes | str] = {
        "wnids.txt": "n02\nn01\n",
        "words.txt": "n01\tgoldfish, Carassius auratus\nn02\tteapot\nn03\tother\n",
        "val/val_annotations.txt": "val_0.JPEG\tn01\t1\t2\t3\t4\nval_1.JPEG\tn02\t0\t0\t63\t63\n",
        "test/images/test_0.JPEG": picture(),
    }
    for index in range(2):
        files[f"val/images/val_{index}.JPEG"] = picture()
    for wnid in ("n01", "n02"):
        files[f"train/{wnid}/{wnid}_boxes.txt"] = "".join(
            f"{wnid}_{index}.JPEG\t0\t10\t63\t{20 + index}\n" for index in range(6)
        )
        files.update({f"train/{wnid}/images/{wnid}_{index}.JPEG": picture() for index in range(6)})
    return files


@pytest.fixture
def tiny_source(tmp_path: Path) -> Path:
    return put_files(tmp_path / "source" / "tiny-imagenet-200", tiny_archive())


def tiny_config(tmp_path: Path, per_class: int = 2) -> tiny_imagenet.Config:
    return tiny_imagenet.Config(root=str(tmp_path / "data"), fullsup_split_per_class=per_class)


@pytest.mark.parametrize("kind", ["folder", "its parent", "archive", "the archive's folder"])
def test_tiny_imagenet_from_every_source(tmp_path: Path, tiny_source: Path, kind: str) -> None:
    archive = tmp_path / "archives" / "tiny-imagenet-200.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as opened:
        for path in tiny_source.rglob("*"):
            opened.write(path, path.relative_to(tiny_source.parent))
    source = {
        "folder": tiny_source,
        "its parent": tiny_source.parent,
        "archive": archive,
        "the archive's folder": archive.parent,
    }[kind]
    tiny_imagenet.prepare(tiny_config(tmp_path), source, quiet)
    dataset = tiny_imagenet.build(tiny_config(tmp_path))
    assert dataset.class_names == ["teapot", "goldfish"], "in the order of wnids.txt"
    assert [len(dataset.split(name)) for name in SPLIT_FOLDERS] == [8, 4, 2]
    test = dataset.split("test")
    assert test.image_ids == ("val/images/val_1.JPEG", "val/images/val_0.JPEG") and test.annotation(
        1, 64
    ).boxes.tolist() == [[1, 2, 3, 4]]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["tiny_imagenet"], "nothing is left over"
    assert not (dataset.image_root / "test").exists()


def test_tiny_imagenet_split_is_fixed_and_disjoint(tmp_path: Path, tiny_source: Path) -> None:
    tiny_imagenet.prepare(tiny_config(tmp_path), tiny_source, quiet)
    dataset = tiny_imagenet.build(tiny_config(tmp_path))
    fullsup, weaksup = dataset.split("train_fullsup"), dataset.split("train_weaksup")
    assert [Path(name).name for name in fullsup.image_ids] == ["n02_3.JPEG", "n02_5.JPEG", "n01_1.JPEG", "n01_3.JPEG"]
    assert np.bincount(fullsup.labels).tolist() == [2, 2] and not set(fullsup.image_ids) & set(weaksup.image_ids)
    assert fullsup.annotation(0, 64).boxes.tolist() == [[0, 10, 63, 23]]


def test_tiny_imagenet_with_another_split(tmp_path: Path, tiny_source: Path) -> None:
    tiny_imagenet.prepare(tiny_config(tmp_path), tiny_source, quiet)
    with pytest.raises(InputError, match=r"prepared with 2 images per class, data\.fullsup_split_per_class is 3"):
        tiny_imagenet.build(tiny_config(tmp_path, 3))
    tiny_imagenet.prepare(tiny_config(tmp_path, 3), None, quiet)
    assert len(tiny_imagenet.build(tiny_config(tmp_path, 3)).split("train_fullsup")) == 6
    with pytest.raises(InputError, match=r"n02 has 6 training images, data\.fullsup_split_per_class 6 leaves none"):
        tiny_imagenet.prepare(tiny_config(tmp_path, 6), None, quiet)


def test_tiny_imagenet_defects(tmp_path: Path, tiny_source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        InputError, match=r"wnids\.txt: no such file; run `python launch\.py data prepare tiny_imagenet --root"
    ):
        tiny_imagenet.build(tiny_config(tmp_path))
    monkeypatch.setattr(
        tiny_imagenet, "ARCHIVE", replace(tiny_imagenet.ARCHIVE, url="http://127.0.0.1:1/tiny-imagenet-200.zip")
    )
    with pytest.raises(
        InputError, match=r"zip: cannot be downloaded .* fetch the file elsewhere and put it into .*data/downloads"
    ):
        tiny_imagenet.prepare(tiny_config(tmp_path), tmp_path, quiet)
    put_files(tiny_source, {"train/n01/n01_boxes.txt": "n01_0.JPEG\t0\t10\t63\n"})
    with pytest.raises(InputError, match=r"n01_boxes\.txt:1: expected a file and x0 y0 x1 y1"):
        tiny_imagenet.prepare(tiny_config(tmp_path), tiny_source, quiet)


def test_damaged_archive_is_named(tmp_path: Path) -> None:
    put_files(tmp_path, {"tiny-imagenet-200.zip": "half a file"})
    with pytest.raises(InputError, match=r"tiny-imagenet-200\.zip: cannot be unpacked"):
        tiny_imagenet.prepare(tiny_config(tmp_path), tmp_path, quiet)


def test_what_is_not_whole_is_not_put_in_place_nor_used_again(tmp_path: Path, tiny_source: Path) -> None:
    lost = tiny_source / "val/images/val_1.JPEG"
    content = lost.read_bytes()
    for damage in (lost.unlink, lambda: lost.write_bytes(picture((32, 64))), lambda: lost.write_bytes(b"")):
        damage()
        with pytest.raises(InputError, match=r"val_1\.JPEG: (no such file|has 32 x 64 pixels|is empty)"):
            tiny_imagenet.prepare(tiny_config(tmp_path), tiny_source, quiet)
        assert not (tmp_path / "data/tiny_imagenet").exists()
    lost.write_bytes(content)
    tiny_imagenet.prepare(tiny_config(tmp_path), tiny_source, quiet)
    assert len(tiny_imagenet.build(tiny_config(tmp_path)).split("test")) == 2


def test_a_new_split_is_there_whole_or_not_at_all(
    tmp_path: Path, tiny_source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else train of one split and val of another would share images."""
    tiny_imagenet.prepare(tiny_config(tmp_path), tiny_source, quiet)
    write, written = metadata.write, []

    def killed(folder: Path, data: metadata.Metadata) -> None:
        written.append(folder)
        if len(written) == 2:
            raise KeyboardInterrupt
        write(folder, data)

    with monkeypatch.context() as patch:
        patch.setattr(metadata, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            tiny_imagenet.prepare(tiny_config(tmp_path, 3), None, quiet)
    data = tiny_imagenet.build(tiny_config(tmp_path))
    assert [len(data.split(name)) for name in SPLIT_FOLDERS] == [8, 4, 2]


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("wnids.txt", b"", "classes that wnids.txt does not list: n01, n02"),
        ("wnids.txt", b"\xff\xff", "wnids.txt: cannot be read as UTF-8"),
        ("wnids.txt", b"../../n01\n", "_boxes.txt: cannot be read"),
        ("val/val_annotations.txt", b"", "has no images for the split test"),
        (
            "val/val_annotations.txt",
            b"val_0.JPEG\tn01\t0\t0\t3\t" + b"9" * 40,
            "expected a file, a wnid and x0 y0 x1 y1",
        ),
        ("val/val_annotations.txt", b"../../x.JPEG\tn01\t0\t0\t3\t9", "is no path inside of"),
    ],
)
def test_odd_archives_are_one_line(tmp_path: Path, tiny_source: Path, file: str, content: bytes, said: str) -> None:
    (tiny_source / file).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(said)):
        tiny_imagenet.prepare(tiny_config(tmp_path), tiny_source, quiet)
    assert not (tmp_path / "data/tiny_imagenet").exists()
