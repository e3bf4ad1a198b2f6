"""What `data prepare` and `data check` say of damaged archives, cut metadata and missing images."""

from __future__ import annotations

import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.faked_trees import (
    PLUGINS,
    archives_of,
    fake,
    know_archives,
    picture,
    put,
    rows_of,
)
from tests.support.tiny import Launch
from wsol import build
from wsol.data import archives, metadata


def cut(path: Path, share: float = 0.6) -> bytes:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return content


@pytest.mark.parametrize("known", [True, False], ids=["size known", "size not known"])
@pytest.mark.parametrize(
    ("name", "archive"),
    [
        ("CUB", "CUB_200_2011.tgz"),
        ("CUB", "CUBV2.tar"),
        ("ILSVRC", "ILSVRC2012_img_val.tar"),
        ("ILSVRC", "imagenetv2-threshold0.7.tar.gz"),
        ("ILSVRC", "ILSVRC2012_img_train.tar"),
        ("OpenImages", "OpenImages_images.zip"),
        ("OpenImages", "OpenImages_annotations.zip"),
    ],
)
def test_a_truncated_archive_is_named_and_the_whole_one_goes_on(
    name: str, archive: str, known: bool, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    faked = fake(name, monkeypatch)
    constant, described = next(
        (key, value) for key, value in vars(faked.plugin).items() if getattr(value, "name", "") == archive
    )
    size = (Path("source") / archive).stat().st_size if known else None
    monkeypatch.setattr(faked.plugin, constant, replace(described, size=size, md5=None))
    whole = cut(Path("source") / archive)
    code, _, err = faked.prepare(launch)
    expected = (
        f"has {int(len(whole) * 0.6):,} bytes, the published file {len(whole):,}" if known else "cannot be unpacked"
    )
    assert code == 2 and f"source/{archive}: {expected}" in err and "get it again" in err
    in_place = {
        path: path.stat().st_mtime_ns
        for path in (Path("data") / name).rglob("*.*")
        if path.is_file() and ".tmp" not in str(path) and not path.name.startswith(".")
    }
    assert all(Image.open(path).load() for path in in_place), "what is in place is whole"
    (Path("source") / archive).write_bytes(whole)
    code, _, err = faked.prepare(launch)
    assert code == 0, err
    assert {path: path.stat().st_mtime_ns for path in in_place} == in_place, "what was in place stayed"


def test_a_damaged_archive_of_the_right_size(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    faked = fake("CUB", monkeypatch)
    path = Path("source/CUB_200_2011.tgz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    code, _, err = faked.prepare(launch)
    assert code == 2 and "source/CUB_200_2011.tgz: has MD5" in err and not Path("data/CUB").exists()


@pytest.mark.parametrize(
    ("name", "archive"),
    [("CUB", "CUBV2.tar"), ("ILSVRC", "ILSVRC2012_img_val.tar"), ("OpenImages", "OpenImages_images.zip")],
)
def test_an_archive_that_lacks_an_image(
    name: str, archive: str, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    faked = fake(name, monkeypatch)
    members = [member for member, _ in archives.members(Path("source") / archive)]
    splits = {folder: rows_of(name, folder, real=False) for folder in ("train", "val", "test")}
    files = archives_of(name, splits)[archive]
    put(Path("source") / archive, {member: files[member] for member in members[1:]})
    know_archives(faked.plugin, monkeypatch)
    code, _, err = faked.prepare(launch)
    lost = "/".join(members[0].split("/")[-3:])
    assert (
        code == 2
        and f"source/{archive}: has {len(members) - 1} of the {len(members)} files" in err
        and f"not {lost}; it is not complete" in err
    )


@pytest.mark.parametrize("name", PLUGINS)
def test_check_says_what_is_missing(name: str, launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    faked = fake(name, monkeypatch)
    assert faked.prepare(launch)[0] == 0
    dataset = build.dataset(faked.plugin.Config())
    test, fullsup = dataset.split("test"), dataset.split("train_fullsup")
    for position in range(5):
        test.image_path(position).unlink()
    fullsup.image_path(0).write_bytes(b"")
    mask_of = test.metadata.masks[7][1] if test.metadata.masks else None
    if mask_of:
        (test.mask_root / mask_of).unlink()
    code, _, err = launch("data", "check", faked.name)
    gone = 6 if mask_of else 5
    assert code == 2
    assert (
        f"{faked.name}: the data set is not complete; run `python launch.py data prepare {faked.name} --root data`"
        in err
    )
    assert f"test: files of {gone} of {len(test)} images are missing:\n  {test.image_path(0)}: no such file\n" in err
    assert f"{test.image_path(2)}: no such file\n  ... and {gone - 3} more\n" in err
    assert (
        f"train_fullsup: files of 1 of {len(fullsup)} images are damaged or other ones" in err
        and f"{fullsup.image_path(0)}: is empty" in err
    )
    fullsup.image_path(0).unlink()
    assert faked.prepare(launch)[0] == 0, "prepare brings what is missing"


@pytest.mark.parametrize("name", PLUGINS)
def test_metadata_cut_short_has_another_count(name: str, launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    faked = fake(name, monkeypatch)
    listed = Path("source/metadata") / name / "val" / metadata.IDS
    rows = listed.read_text().split("\n")
    listed.write_text("\n".join(rows[:-1]))
    code, _, err = faked.prepare(launch)
    assert (
        code == 2
        and f"train_fullsup: {len(rows) - 1} images in the metadata instead of the published {len(rows)}" in err
    )
    assert launch("data", "check", faked.name)[0] == 2
    assert not (Path("data/metadata") / name / "val").exists(), "what was cut short is not in place"
    listed.write_text("\n".join(rows))
    assert faked.prepare(launch)[0] == 0, "nor used again"
    shutil.copytree(Path("data/metadata") / name, "selection")
    (Path("selection/val") / metadata.IDS).write_text("\n".join(rows[:-1]))
    assert launch("data", "check", faked.name, "metadata=selection")[0] == 0, "of one's own, it may have any size"


@pytest.mark.parametrize("name", PLUGINS)
def test_a_kill_leaves_nothing_half_done(name: str, launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    faked = fake(name, monkeypatch)
    whole, copied = shutil.copyfileobj, 0

    def killed(source: Any, target: Any, *more: Any) -> None:
        nonlocal copied
        copied += 1
        if copied == 31:
            target.write(source.read(100))
            raise KeyboardInterrupt
        whole(source, target, *more)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", killed)
        assert faked.prepare(launch)[0] == 130
    images = [path for path in Path("data", name).rglob("*.*") if path.is_file()]
    assert all(Image.open(path).load() for path in images if not path.name.startswith(".")) and any(
        path.suffix == ".part" for path in images
    )
    assert faked.prepare(launch)[0] == 0
    assert not list(Path("data").rglob(".*"))


@pytest.mark.parametrize("outside", ["../outside/x.jpg", "/outside/x.jpg", "a/../../../outside/x.jpg"])
@pytest.mark.parametrize("name", PLUGINS)
def test_metadata_of_a_stranger_writes_nothing_outside_of_the_root(
    name: str, outside: str, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    faked = fake(name, monkeypatch)
    outside = outside if outside.startswith(("a", ".")) else str(Path.cwd()) + outside
    for folder in ("val", "test"):
        for path in (Path("source/metadata") / name / folder).iterdir():
            rows = path.read_text().split("\n")
            rows[0] = ",".join([outside, *rows[0].split(",")[1:]])
            path.write_text("\n".join(rows))
    for words in ((), (f"metadata=source/metadata/{name}",)):
        before = {path for path in Path.cwd().rglob("*") if "data" not in path.parts}
        code, _, err = faked.prepare(launch, *words)
        assert code == 2 and f"image_ids.txt:1: {outside!r} is no path inside of" in err
        assert {path for path in Path.cwd().rglob("*") if "data" not in path.parts} == before
        assert not list(Path("data").glob("*/*.jpg")) and not Path("outside").exists()


@pytest.mark.parametrize(
    ("name", "archive"),
    [("CUB", "CUBV2.tar"), ("OpenImages", "OpenImages_images.zip"), ("OpenImages", "OpenImages_annotations.zip")],
)
def test_other_images_under_the_right_names_are_not_put_in_place(
    name: str, archive: str, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive whose digest is not published: of another version, or pages of an error."""
    faked = fake(name, monkeypatch)
    path = Path("source") / archive
    whole = path.read_bytes()
    names = [member for member, _ in archives.members(path)]
    put(path, dict.fromkeys(names, picture(7, 5) if name == "CUB" else b"<html>"))
    code, _, err = faked.prepare(launch)
    assert code == 2 and f"source/{archive}: {len(names)} of the {len(names)} files that {faked.name} needs" in err
    assert ("has 7 x 5 pixels, image_sizes.txt says 500 x" if name == "CUB" else "it is no image") in err
    ends = {Path(member).name for member in names}
    assert not [path for path in Path("data", name).rglob("*.*") if path.name in ends]
    path.write_bytes(whole)
    assert faked.prepare(launch)[0] == 0


def test_links_in_an_archive_are_refused(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    faked = fake("CUB", monkeypatch)
    with tarfile.open("source/CUBV2.tar", "w") as opened:
        member = tarfile.TarInfo("001.Bird_1/val_0000_0.jpg")
        member.type, member.linkname = tarfile.SYMTYPE, str(Path.cwd() / "source")
        opened.addfile(member)
    code, _, err = faked.prepare(launch)
    assert code == 2 and "source/CUBV2.tar: holds '001.Bird_1/val_0000_0.jpg', a link;" in err
