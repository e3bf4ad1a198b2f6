"""The three published data sets with faked images, under the published names and sizes: prepared from their archives,
checked, trained on and scored; and damaged. Names are patterned after the published ones, or, with WSOL_METADATA, the
published ones themselves."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsol import build
from wsol.checkpoint import Checkpoints
from wsol.config import TrainConfig
from wsol.data import metadata
from wsol.data.dataset import SPLIT_FOLDERS
from wsol.data.metadata import Metadata
from wsol.datasets import _prepare, cub, imagenet, openimages
from wsol.evaluation import evaluate
from wsol.training import train

Launch = Callable[..., tuple[int, str, str]]
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


# ---------------------------------------------------------------- names


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


# ---------------------------------------------------------------- archives


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


# ---------------------------------------------------------------- faked data sets


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


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(
    params=[
        False,
        pytest.param(
            True, marks=pytest.mark.skipif("WSOL_METADATA" not in os.environ, reason="needs published metadata")
        ),
    ]
)
def real(request: pytest.FixtureRequest) -> bool:
    """Published names or patterned ones."""
    return bool(request.param)


METRICS = {"CUB": "max_box_acc_v2", "ILSVRC": "max_box_acc_v2", "OpenImages": "pxap"}


@pytest.mark.parametrize("name", PLUGINS)
def test_from_archives_to_a_score(name: str, real: bool, launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    faked = fake(name, monkeypatch, real=real, classes=1000)
    code, _, err = faked.prepare(launch)
    assert code == 0, err
    left = sorted(
        path.name
        for path in Path("data").rglob("*")
        if path.name.startswith(".") or path.name.endswith((".part", ".tmp"))
    )
    assert not left, "nothing temporary stays"
    shutil.rmtree("source")
    again, out_again, _ = launch("data", "prepare", faked.name)
    checked, out_checked, _ = launch("data", "check", faked.name)
    assert again == checked == 0 and out_again == out_checked, "the second time there is nothing to do but to check"
    assert [line.split(":")[0] for line in out_checked.splitlines()] == [
        f"{faked.name} {split}" for split in SPLIT_FOLDERS
    ]

    config = TrainConfig.model_validate(
        {
            "method": {"name": "cam"},
            "backbone": {"name": "tiny", "stride": 8, "width": 4},
            "data": {"name": faked.name, "image_size": 32, "resize_size": 36},
            "training": {"epochs": 1, "batch_size": 500},
            "evaluation": {"threshold_step": 0.1, "metrics": [{"name": METRICS[name]}]},
        }
    )
    train(config, Path("trial"), f"train_fullsup/{METRICS[name]}")
    best = Checkpoints(Path("trial"))
    dataset = build.dataset(config.data)
    method = build.trained_method(config, best.load(best.best)["method"], dataset.num_classes)
    scored = evaluate(method, build.images(dataset, "test", config.data), config.evaluation)
    assert 0 < scored[METRICS[name]] <= 100


# ---------------------------------------------------------------- what only the user can get


BY_HAND = {
    "CUB": ["CUBV2.tar (size not known"],
    "ILSVRC": ["ILSVRC2012_img_val.tar (6,744,924,160 bytes", "ILSVRC2012_img_train.tar (147,897,477,120 bytes"],
    "OpenImages": ["OpenImages_annotations.zip (size not known", "OpenImages_images.zip (size not known"],
}


@pytest.mark.parametrize("name", PLUGINS)
def test_all_files_behind_a_login_are_named_at_once(name: str, launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        fake(name, patch)
    patch.setattr(_prepare, "RAW", NOWHERE)
    for path in Path("source").glob("*.*"):
        path.unlink()
    plugin_name = PLUGINS[name].Config.model_fields["name"].default
    code, _, err = launch("data", "prepare", plugin_name, "--source", "source")
    assert code == 2
    assert (
        f"{plugin_name} needs {len(BY_HAND[name])} file(s) that cannot be downloaded from here. Put into source:" in err
    )
    assert all(f"\n  {line}" in err for line in BY_HAND[name])
    assert err.endswith(f"then run again:\n  python launch.py data prepare {plugin_name} --root data --source source\n")
    assert not Path("data", name).exists() and not Path("data/downloads").exists(), "nothing was begun"


@pytest.fixture
def server() -> Iterator[str]:
    """Serves the folder `served`."""
    handler = partial(SimpleHTTPRequestHandler, directory="served")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as opened:
        threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{opened.server_address[1]}"
        opened.shutdown()


def test_what_needs_no_login_is_downloaded(launch: Launch, monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    fake("CUB", monkeypatch)
    shutil.copytree("source/metadata", "served/clovaai/wsolevaluation/HEAD/metadata")
    shutil.copy("source/CUB_200_2011.tgz", "served")
    monkeypatch.setattr(_prepare, "RAW", server)
    monkeypatch.setattr(cub, "CUB", replace(cub.CUB, url=f"{server}/CUB_200_2011.tgz"))
    code, _, err = launch("data", "prepare", "cub")
    assert (
        code == 2
        and "Put into data/downloads:\n  CUBV2.tar" in err
        and err.endswith("\n  python launch.py data prepare cub --root data\n")
    )
    Path("data/downloads").mkdir()
    shutil.copy("source/CUBV2.tar", "data/downloads")
    code, out, err = launch("data", "prepare", "cub")
    assert code == 0 and "downloaded data/downloads/CUB_200_2011.tgz" in out, err


def test_without_a_network_the_metadata_is_asked_for(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    faked = fake("OpenImages", monkeypatch)
    shutil.rmtree("source/metadata")
    code, _, err = faked.prepare(launch)
    assert code == 2 and "no metadata of OpenImages (http://127.0.0.1:1/" in err
    assert (
        "Get the folder metadata/OpenImages of https://github.com/clovaai/wsolevaluation, put it into"
        " source/metadata/OpenImages" in err
    )


# ---------------------------------------------------------------- damaged


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
        if path.is_file() and ".tmp" not in str(path)
    }
    assert all(Image.open(path).load() for path in in_place if not path.name.startswith(".")), (
        "what is in place is whole"
    )
    (Path("source") / archive).write_bytes(whole)
    code, _, err = faked.prepare(launch)
    assert code == 0, err
    assert all(path.stat().st_mtime_ns == time for path, time in in_place.items() if path.exists()), (
        "what was in place stayed"
    )


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
    members = [member for member, _ in _prepare.members(Path("source") / archive)]
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
    assert launch("data", "check", faked.name, f"metadata=data/metadata/{name}")[0] == 0, (
        "a selection of one's own may have any size"
    )


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


# ---------------------------------------------------------------- ImageNet


def test_imagenet_that_is_unpacked_already_is_linked_to(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    faked = fake("ILSVRC", monkeypatch)
    for archive, folder in (("ILSVRC2012_img_val.tar", "val/n{0:08}"), ("ILSVRC2012_img_train.tar", "train")):
        for number, (name, bring) in enumerate(_prepare.members(Path("source") / archive)):
            bring(Path("elsewhere") / folder.format(number) / name)
    for path in list(Path("elsewhere/train").glob("*.tar")):
        _prepare.unpack(path, path.with_suffix(""), lambda line: None)
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
        and "train_fullsup: files of 2 of 12 images are damaged or other ones" in err
        and "image_sizes.txt says 500 x 333" in err
    )


# ---------------------------------------------------------------- CUBSmall


def test_cub_with_small_objects(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    faked = fake("CUB", monkeypatch)
    names = [f"{k + 1:03}.Bird_{k + 1}/9{k:09}.jpg" for k in range(3)]
    small = patterned("small", names, kind="boxes")
    monkeypatch.setitem(cub.COUNTS, "small", {"images": 3, "boxes": 3})
    monkeypatch.setitem(cub.COUNTS, "test_and_small", {"images": 23, "boxes": 23})
    metadata.write(Path("source/metadata/CUB/small"), small)
    code, _, err = faked.prepare(launch, "test_images=both")
    assert (
        code == 2 and "CUBSmall.zip" in err and "data prepare cub --root data test_images=both --source source" in err
    )
    put(Path("source/CUBSmall.zip"), {f"CUBSmall/{name}": content for name, content in images_of(small).items()})
    assert faked.prepare(launch, "test_images=both")[0] == 0
    for setting, count in (("official", 20), ("small", 3), ("both", 23)):
        code, out, _ = launch("data", "check", "cub", f"test_images={setting}")
        assert code == 0 and f"cub test: {count} images" in out
    both = build.dataset(cub.Config(test_images="both")).split("test")
    assert both.name == "test" and both.image_ids[20:] == tuple(names)
    assert both.key != build.dataset(cub.Config()).split("test").key, "the images of both are cached beside each other"


# ---------------------------------------------------------------- the published metadata


@pytest.mark.skipif("WSOL_METADATA" not in os.environ, reason="needs published metadata")
@pytest.mark.parametrize("name", PLUGINS)
def test_published_counts(name: str) -> None:
    plugin = PLUGINS[name]
    for split, folder in SPLIT_FOLDERS.items():
        root = Path(os.environ["WSOL_METADATA"]) / name / folder
        if root.is_dir():
            data = metadata.read(root, annotated=folder != "train")
            expected = plugin.COUNTS[folder if plugin is cub else split]
            found = {
                "images": len(data.image_ids),
                "classes": len(np.unique(data.labels)),
                "boxes": sum(map(len, data.boxes or ())),
                "masks": sum(len(paths) for paths, _ in data.masks or ()),
            }
            assert {key: found[key] for key in expected} == expected
