"""The data set plugins: rendered data, and `prepare` from small archives that have the official layouts."""

from __future__ import annotations

import hashlib
import io
import socket
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsol import plugins
from wsol.data import metadata
from wsol.data.dataset import SPLIT_FOLDERS, Sizes
from wsol.data.metadata import Metadata
from wsol.data.tree import check_tree
from wsol.datasets import folder, synthetic, tiny_imagenet
from wsol.datasets._download import download
from wsol.errors import InputError
from wsol.schema import DatasetConfig

LITTLE: dict[str, Any] = {"classes": 2, "train_images": 4, "fullsup_images": 3, "test_images": 3}


def quiet(line: str) -> None:
    """Drop a line of progress."""


def picture(size: tuple[int, int] = (64, 64), kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (90, 120, 150)).save(file, kind)
    return file.getvalue()


def put_files(root: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def put_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def put_metadata(
    tree: Path, ids: dict[str, list[str]], *, masks: bool = False, size: tuple[int, int] = (64, 64)
) -> None:
    """Labels are the numbers 0, 1, ... of the images."""
    for published, names in ids.items():
        labels = np.arange(len(names))
        boxes = None if masks or published == "train" else tuple(np.array([[0, 0, 9, 9]]) for _ in names)
        rows = (
            tuple(((f"{name[:-4]}_m0.png",), f"{name[:-4]}_ignore.png") for name in names)
            if masks and published != "train"
            else None
        )
        sizes = None if masks else np.array([size] * len(names))
        metadata.write(tree / published, Metadata(tree, tuple(names), labels, sizes, boxes, rows))


# ---------------------------------------------------------------- the contract: a new file in `wsol/datasets/` is found
# by itself


every_dataset = pytest.mark.parametrize("name", plugins.names("dataset"))


def settings_in(name: str, folder: Path) -> DatasetConfig:
    """The defaults with a root of its own; what has no default is taken for a folder."""
    config = plugins.load("dataset", name).Config
    needed = {key: str(folder / key) for key, field in config.model_fields.items() if field.is_required()}
    made: DatasetConfig = config(root=str(folder), **needed)
    return made


@every_dataset
def test_its_text_says_how_the_files_lie(name: str) -> None:
    assert "*Layout.*" in (plugins.load("dataset", name).__doc__ or ""), (
        f"wsol/datasets/{name}.py: its docstring has no paragraph *Layout.*"
    )


@every_dataset
def test_what_prepare_makes_is_whole_and_what_it_cannot_is_said(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a connection: `prepare` makes the data set, or an InputError says what is missing; the same of `build`
    before that."""

    def no_connection(*_: object, **__: object) -> None:
        raise OSError("no connection in tests")

    monkeypatch.setattr(socket, "create_connection", no_connection)
    plugin, config = plugins.load("dataset", name), settings_in(name, tmp_path)
    with suppress(InputError):
        plugin.build(config).split("test")
    try:
        plugin.prepare(config, None, quiet)
    except InputError as error:
        assert len(str(error)) > 40, "what is missing, where it belongs, what to do"
        return
    data = plugin.build(config)
    splits = {split: data.split(split) for split in SPLIT_FOLDERS}
    assert set(splits["train_weaksup"].labels.tolist()) == set(range(data.num_classes)), (
        "every class has images in train_weaksup"
    )
    for split in splits.values():
        assert split.image_path(len(split) - 1).is_file()
    for split in (splits["train_fullsup"], splits["test"]):
        annotation = split.annotation(0, 32)
        assert len(annotation.boxes) or annotation.mask is not None, f"{split.name} needs boxes or masks"
    if hasattr(plugin, "sizes"):
        assert plugin.sizes(config) == Sizes(data.num_classes, **{split: len(part) for split, part in splits.items()})


# ---------------------------------------------------------------- synthetic


def test_rendering_is_the_same_everywhere() -> None:
    config, digest = synthetic.Config(classes=24), hashlib.sha256()
    for split, label, index in ((0, 0, 0), (1, 3, 1), (2, 5, 2), (0, 23, 7)):
        image, mask = synthetic.render(config, split, label, index)
        digest.update(image.tobytes() + mask.tobytes())
    assert digest.hexdigest() == "e61b35362ebe1b95d83ce99152ee27ce34cca2a45ee3cb5f211e0f5d135019aa"


def test_synthetic_tree_is_complete_and_made_once(tmp_path: Path) -> None:
    config = synthetic.Config(root=str(tmp_path), **LITTLE)
    synthetic.prepare(config, None, quiet)
    dataset = synthetic.build(config)
    counts = check_tree(dataset, quiet)
    assert {name: (count["images"], count["boxes"]) for name, count in counts.items()} == {
        "train_weaksup": (8, 0),
        "train_fullsup": (6, 6),
        "test": (6, 6),
    }
    before = {path: path.stat().st_mtime_ns for path in dataset.image_root.rglob("*")}
    assert {path: path.stat().st_mtime_ns for path in synthetic.build(config).image_root.rglob("*")} == before
    assert dataset.class_names == ["red checks", "green rows"] and dataset.num_classes == 2


def test_synthetic_masks_agree_with_the_boxes(tmp_path: Path) -> None:
    boxes = synthetic.build(synthetic.Config(root=str(tmp_path), **LITTLE)).split("test")
    dataset = synthetic.build(synthetic.Config(root=str(tmp_path), annotations="masks", **LITTLE))
    assert check_tree(dataset, quiet)["test"]["masks"] == 6
    masks = dataset.split("test")
    assert masks.image_ids == boxes.image_ids
    for position in range(6):
        mask = masks.annotation(position, 64).mask
        assert mask is not None and set(np.unique(mask)) == {0, 1, 255}
        rows, columns = np.nonzero(mask == 1)
        assert boxes.annotation(position, 64).boxes.tolist() == [[columns.min(), rows.min(), columns.max(), rows.max()]]


def test_synthetic_objects_vary_in_size_and_place() -> None:
    config, boxes = synthetic.Config(), []
    for label, index in ((label, index) for label in range(6) for index in range(15)):
        rows, columns = np.nonzero(synthetic.render(config, 1, label, index)[1])
        boxes.append((columns.min(), rows.min(), columns.max(), rows.max()))
    x0, y0, x1, y1 = np.array(boxes).T
    share = (x1 - x0 + 1) * (y1 - y0 + 1) / 64**2
    assert share.min() >= 0.10 and share.max() < 0.60
    assert min((share < 0.22).mean(), ((share >= 0.22) & (share < 0.38)).mean(), (share >= 0.38).mean()) > 0.3
    distance = np.maximum(abs(x0 + x1 - 63), abs(y0 + y1 - 63)) / 2
    assert np.quantile(distance, 0.5) > 6, "half of the objects are a tenth of the image off the centre"


def test_synthetic_classes_have_names_of_their_own() -> None:
    assert len({synthetic.class_name(label) for label in range(24)}) == 24


def test_synthetic_settings_do_not_share_a_folder(tmp_path: Path) -> None:
    roots = {
        synthetic.build(synthetic.Config(root=str(tmp_path), **{**LITTLE, **change})).image_root
        for change in ({}, {"seed": 1}, {"side": 48})
    }
    assert len(roots) == 3
    assert synthetic.build(synthetic.Config(root=str(tmp_path), image_size=32, **LITTLE)).image_root in roots, (
        "not a setting of the rendering"
    )


# ---------------------------------------------------------------- tiny_imagenet


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


# ---------------------------------------------------------------- folder


def own_images(tmp_path: Path, **settings: Any) -> folder.Config:
    ids = {split: [f"{split}{index}.jpg" for index in range(3)] for split in SPLIT_FOLDERS.values()}
    put_metadata(tmp_path / "lists", ids)
    put_files(tmp_path / "images", {name: picture() for names in ids.values() for name in names})
    return folder.Config(
        root=str(tmp_path), images=str(tmp_path / "images"), metadata=str(tmp_path / "lists"), **settings
    )


def test_folder_counts_its_classes(tmp_path: Path) -> None:
    config = own_images(tmp_path)
    folder.prepare(config, None, quiet)
    assert folder.build(config).num_classes == 3 and folder.build(config).class_names == ["0", "1", "2"]
    assert folder.build(own_images(tmp_path, class_names=["a", "b", "c", "d"])).num_classes == 4


def test_folder_defects(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.class_names has 1 names, but data\.num_classes is 3"):
        folder.build(own_images(tmp_path, num_classes=3, class_names=["a"]))
    with pytest.raises(InputError, match=r"class_labels\.txt:3: class label 2 is too large: with 2 classes"):
        folder.prepare(own_images(tmp_path, num_classes=2), None, quiet)
    with pytest.raises(InputError, match=r"gone: no such folder; set data\.images"):
        folder.build(own_images(tmp_path).model_copy(update={"images": str(tmp_path / "gone")}))


# ---------------------------------------------------------------- download


CONTENT = bytes(range(256)) * 40


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; `/short` breaks off, `/whole` knows no ranges."""

    def do_GET(self) -> None:
        wanted = self.headers.get("Range") if self.path != "/whole" else None
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.end_headers()
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:-100] if self.path == "/short" else CONTENT[start:])

    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as opened:
        threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{opened.server_address[1]}"
        opened.shutdown()


@pytest.mark.parametrize("path", ["/ranges", "/whole"])
@pytest.mark.parametrize("have", [0, 1000, len(CONTENT)])
def test_download_goes_on_where_it_stopped(tmp_path: Path, server: str, path: str, have: int) -> None:
    lines: list[str] = []
    (tmp_path / "file.part").write_bytes(CONTENT[:have])
    download(server + path, tmp_path / "file", lines.append, md5=hashlib.md5(CONTENT).hexdigest())
    assert (tmp_path / "file").read_bytes() == CONTENT and not (tmp_path / "file.part").exists()
    assert lines[-1] == f"downloaded {tmp_path / 'file'}"
    download("http://127.0.0.1:1/", tmp_path / "file", quiet)  # is there, not fetched again


def test_broken_download_is_kept_for_the_next_try(tmp_path: Path, server: str) -> None:
    with pytest.raises(InputError, match=r"/short: cannot be downloaded .*try again later"):
        download(server + "/short", tmp_path / "file", quiet)
    assert (tmp_path / "file.part").stat().st_size == len(CONTENT) - 100 and not (tmp_path / "file").exists()
    download(server + "/ranges", tmp_path / "file", quiet)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_wrong_digest_and_no_connection(tmp_path: Path, server: str) -> None:
    with pytest.raises(InputError, match=r"has MD5 .* expected 00; it was deleted"):
        download(server + "/ranges", tmp_path / "file", quiet, md5="00")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="cannot be downloaded"):
        download("http://127.0.0.1:1/nobody", tmp_path / "file", quiet)
