"""What a node reads often comes to its own disk once: packed images from a folder that all nodes see, whole data sets
from an archive."""

from __future__ import annotations

import datetime
import multiprocessing
import shutil
import socket
import tarfile
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from torch import distributed as dist

from tests.support.folders import make
from wsol import build, distributed
from wsol.addresses import below, open_address
from wsol.data import archives
from wsol.data.images import ImageStore
from wsol.data.staging import local_copy, staged
from wsol.datasets import folder
from wsol.errors import InputError
from wsol.schema import DatasetConfig


def archive(tmp_path: Path) -> Path:
    """A toy data set as an archive of its folder of data sets."""
    make(tmp_path / "data")
    path = tmp_path / "toy.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(tmp_path / "data" / "toy", "toy")
    return path


def in_archive(root: str, stage: Path, **settings: Any) -> folder.Config:
    sizes = {"image_size": 12, "resize_size": 16}
    return folder.Config(root=root, stage=str(stage), images="toy", metadata="toy/metadata", **sizes, **settings)


def copies(stage: Path) -> list[Path]:
    return sorted(stage.rglob("*.uint8"))


def test_packed_images_are_copied_to_the_node_and_read_there(tmp_path: Path) -> None:
    dataset, config = make(tmp_path / "shared", stage=str(tmp_path / "node"))
    unstaged = ImageStore(dataset.split("test"), 9, config.model_copy(update={"stage": None}))
    expected = [image.copy() for image in unstaged.read(range(4))]
    (packed,) = copies(tmp_path / "shared")
    store = ImageStore(dataset.split("test"), 9, config)
    (copy,) = copies(tmp_path / "node")
    assert copy.name == packed.name and copy.read_bytes() == packed.read_bytes()
    packed.write_bytes(bytes(packed.stat().st_size))  # what is read comes from the copy
    assert all((image == other).all() for image, other in zip(store.read(range(4)), expected, strict=True))


def test_changed_images_come_anew_and_a_cut_off_copy_is_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, config = make(tmp_path / "shared", stage=str(tmp_path / "node"))
    split = dataset.split("test")
    ImageStore(split, 9, config)
    (first,) = copies(tmp_path / "node")
    first.write_bytes(b"cut off")
    ImageStore(split, 9, config)
    assert first.stat().st_size == 4 * 9 * 9 * 3 and capsys.readouterr().err.count("copying") == 2
    shutil.copyfile(split.image_path(1), split.image_path(0))
    image = ImageStore(split, 9, config).read([0])[0]
    (second,) = copies(tmp_path / "node")
    assert second != first and (image == ImageStore(split, 9, config).read([1])[0]).all()


def test_copies_of_other_splits_and_sizes_stay(tmp_path: Path) -> None:
    dataset, config = make(tmp_path / "shared", stage=str(tmp_path / "node"))
    for name, size in (("test", 9), ("train_weaksup", 9), ("test", 12)):
        ImageStore(dataset.split(name), size, config)
    assert len(copies(tmp_path / "node")) == len(copies(tmp_path / "shared")) == 3


def test_workers_of_a_node_share_one_copy(tmp_path: Path) -> None:
    dataset, config = make(tmp_path / "shared", stage=str(tmp_path / "node"))
    split, context = dataset.split("train_weaksup"), multiprocessing.get_context("fork")
    start, answers = context.Barrier(3, timeout=60), context.Queue()

    def open_store() -> None:
        start.wait()
        ImageStore(split, 16, config)
        answers.put([(path.name, path.stat().st_ino) for path in copies(tmp_path / "node")])

    processes = [context.Process(target=open_store) for _ in range(3)]
    for process in processes:
        process.start()
    seen = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    assert seen[0] == seen[1] == seen[2] and len(seen[0]) == 1


def test_an_unusable_stage_names_node_and_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "node").write_text("a file in the way")
    dataset, config = make(tmp_path / "shared", stage=str(tmp_path / "node"))
    with pytest.raises(InputError, match=rf"{socket.gethostname()}: {tmp_path}/node.*data.stage cannot be used"):
        ImageStore(dataset.split("test"), 9, config)
    (packed,) = copies(tmp_path / "shared")
    monkeypatch.setattr("wsol.data.staging.shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(InputError, match=r"0\.0 GB are free"):
        local_copy(packed, tmp_path / "other")
    assert not copies(tmp_path / "other")


@pytest.mark.parametrize("kind", ["path", "file", "s3"])
def test_an_archive_is_unpacked_once_and_is_the_data_set(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    path = archive(tmp_path)
    root = {
        "path": str,
        "file": lambda path: path.as_uri(),
        "s3": lambda path: upload(request.getfixturevalue("bucket"), path),
    }[kind](path)
    own, plain = make(tmp_path / "data")
    for _ in range(2):
        dataset = build.dataset(in_archive(root, tmp_path / "node"))
    images = build.images(dataset, "train_weaksup", in_archive(root, tmp_path / "node"))
    assert capsys.readouterr().err.count("unpacking") == 1
    assert images.cached and copies(tmp_path / "node")[0].is_relative_to(tmp_path / "node")
    expected = ImageStore(own.split("train_weaksup"), 16, plain).read(range(11))
    assert all((image == other).all() for image, other in zip(images.read(range(11)), expected, strict=True))


def upload(bucket: str, path: Path) -> str:
    address = below(bucket, path.name)
    filesystem, place = open_address(address)
    with filesystem.open_output_stream(place) as stream:
        stream.write(path.read_bytes())
    return address


def test_another_archive_of_the_same_name_is_another_folder(tmp_path: Path) -> None:
    config = in_archive(str(archive(tmp_path)), tmp_path / "node")
    first = staged(config).root
    shutil.rmtree(tmp_path / "data")
    make(tmp_path / "data")
    (tmp_path / "data" / "toy" / "new.txt").write_text("new")
    archive(tmp_path)
    assert staged(config).root != first and (Path(staged(config).root) / "toy" / "new.txt").exists()


def test_a_missing_or_damaged_archive_is_named(tmp_path: Path, bucket: str) -> None:
    config = in_archive(str(tmp_path / "none.tar"), tmp_path / "node")
    with pytest.raises(InputError, match=rf"{socket.gethostname()}: {tmp_path}/none.tar: no such archive"):
        build.dataset(config)
    (tmp_path / "none.tar").write_text("no archive")
    with pytest.raises(InputError, match=r"no readable \.tar"):
        build.dataset(config)
    with pytest.raises(InputError, match=r"s3://nobody/x\.tar"):
        build.dataset(in_archive("s3://nobody/x.tar", tmp_path / "node"))
    assert not [path for path in (tmp_path / "node").iterdir() if path.is_dir() and not path.name.endswith(".part")]


def test_half_an_archive_never_counts_as_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, put, files = archive(tmp_path), archives.put, list[str]()
    config = in_archive(str(path), tmp_path / "node")

    def cut(source: Any, size: int, target: Path) -> None:
        put(source, size, target)
        files.append(target.name)
        if len(files) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(archives, "put", cut)
    with pytest.raises(KeyboardInterrupt):
        staged(config)
    (left,) = (tmp_path / "node").glob("*.part")
    (left / "stray").write_text("of another time")
    root = Path(staged(config).root)  # the same archive, after the power came back
    with tarfile.open(path) as tar:
        whole = sorted(member.name for member in tar if member.isfile())
    assert sorted(one.relative_to(root).as_posix() for one in root.rglob("*") if one.is_file()) == whole
    assert len(files) == 5 + len(whole) and staged(config).root == str(root)
    content = path.read_bytes()
    for length in (len(content) // 3, len(content) // 2):
        path.write_bytes(content[:length])
        for _ in range(2):
            with pytest.raises(InputError, match=r"is no readable \.tar"):
                staged(config)


def test_a_worker_that_lacks_the_data_tells_the_others_instead_of_letting_them_wait(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.Queue()

    def worker(rank: int) -> None:
        dist.init_process_group(
            "gloo", f"file://{tmp_path}/meeting", rank=rank, world_size=2, timeout=datetime.timedelta(seconds=60)
        )
        socket.gethostname = lambda: f"node-{rank}"
        for absent in ((), (1,), (0, 1)):
            try:
                with distributed.agreed():
                    if rank in absent:
                        raise InputError(f"data/{rank}: no such folder")
                answers.put((absent, "all have it"))
            except InputError as error:
                answers.put((absent, str(error)))

    processes = [context.Process(target=worker, args=(rank,)) for rank in range(2)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=60) for _ in range(6)]
    for process in processes:
        process.join(60)
    expected = {(): "all have it", (1,): "node-1: data/1: no such folder", (0, 1): "node-0: data/0: no such folder"}
    assert sorted(found) == sorted((absent, said) for absent, said in expected.items() for _ in range(2))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"root": "s3://bucket/cub.tar"}, "set data.stage"),
        ({"root": "s3://bucket/cub", "stage": "/scratch"}, "must be of an archive"),
        ({"stage": "/scratch", "cache": "off"}, "must not be off"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DatasetConfig.model_validate({"name": "toy", **settings})
