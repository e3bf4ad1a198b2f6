"""All or nothing, beside images and annotations that stay as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.imported import Coco, dataset, imported
from wsol.data import metadata
from wsol.data.imports import making
from wsol.errors import InputError


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its time and content."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def coco(tmp_path: Path) -> Coco:
    (tmp_path / "source").mkdir()
    return Coco(tmp_path / "source").several()


def test_what_is_written_and_what_stays(coco: Coco, tmp_path: Path) -> None:
    settings, root = coco.settings(), tmp_path / "data" / "mine"
    before = tree(coco.folder)
    lines = imported("coco", root, **settings)
    assert tree(coco.folder) == before
    assert sorted(path.name for path in root.iterdir()) == ["images", "import.txt", "metadata"]
    assert (root / "images").is_symlink() and (root / "images").resolve() == (coco.folder / "photos").resolve()
    record = (root / making.RECORD).read_text().splitlines()
    assert record[0] == f"coco: {settings['annotations']}" and set(record[1:]) < set(lines)
    assert any(line.startswith("splits:") for line in record)
    assert lines[-1] == "folder test: 2 images, 2 classes, 2 boxes, 0 masks"
    assert dataset(root).own, "read as displayed"


def test_a_failed_check_leaves_nothing(coco: Coco, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(found: object, log: object) -> None:
        raise InputError(f"{tmp_path}/data/{making.UNFINISHED}/images/cat0.png: is odd")

    monkeypatch.setattr(making, "check_tree", fails)
    with pytest.raises(InputError, match=f"^{tmp_path}/data/images/cat0.png: is odd$"):
        imported("coco", tmp_path / "data", **coco.settings())
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("error", "raised"),
    [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(28, "No space left on device"), InputError)],
)
def test_an_interruption_leaves_nothing_and_the_same_again_works(
    error: BaseException,
    raised: type[BaseException],
    coco: Coco,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> None:
        raise error

    root = tmp_path / "data"
    root.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(metadata, "write_class_names", fails)
        with pytest.raises(raised):
            imported("coco", root, **coco.settings())
    assert not list(root.iterdir())
    imported("coco", root, **coco.settings())
    assert dataset(root).num_classes == 2


def test_a_killed_import_is_swept_away(coco: Coco, tmp_path: Path) -> None:
    left = tmp_path / "data" / making.UNFINISHED
    left.mkdir(parents=True)
    (left / "images").symlink_to(coco.folder / "photos")
    imported("coco", tmp_path / "data", **coco.settings())
    assert not left.exists() and len(list((coco.folder / "photos").iterdir())) == 8


def test_nothing_is_left_of_the_annotations(coco: Coco, tmp_path: Path) -> None:
    for found in coco.content["annotations"]:
        found["iscrowd"] = 1
    with pytest.raises(InputError) as caught:
        coco.make()
    assert str(caught.value).splitlines()[0] == "no image is left of the annotations:"
    assert "left out: 8 crowd annotations" in str(caught.value) and not (coco.folder / "made").exists()


@pytest.mark.parametrize("lists", [{"val": "i.json"}, {"val": "v.json", "test": "v.json"}])
def test_one_file_for_two_splits(lists: dict[str, str], coco: Coco) -> None:
    with pytest.raises(InputError, match=r"json: lists the images of .* and of (val|test); name another place, or let"):
        coco.make(**{split: str(coco.folder / name) for split, name in lists.items()})


def test_names_of_one_file_that_differ_in_their_folders(coco: Coco) -> None:
    box = {"bbox": [2, 3, 10, 8]}
    coco.add("a/x.png", box, file="x.png")
    coco.add("c/x.png", box, file=None)
    coco.add("a/y.png", box, file="y.png")
    coco.add("y.png", box, file=None)
    coco.add("/elsewhere/z.png", box, file="z.png")
    coco.add("w.png")
    coco.add("a/w.png", box, file=None)
    lines = coco.make()
    assert (
        "left out: 4 images whose name, without its folders, fits the same file as another's"
        " (a/x.png, c/x.png, a/y.png, ...)"
    ) in lines
    assert "found by the end of the name: 1 image in folders that are not there (/elsewhere/z.png)" in lines
    assert {"y.png", "z.png"} < set(coco.boxes()) and not {"x.png", "w.png"} & set(coco.boxes())


def test_one_image_listed_twice_with_folders_that_are_not_there(coco: Coco) -> None:
    for file in ("x.png", None):
        coco.add("a/x.png", {"bbox": [2, 3, 10, 8]}, file=file)
    with pytest.raises(InputError, match=r"images\.9: x\.png is listed before, at .*images\.8; remove one of them"):
        coco.make()


def test_two_categories_of_one_name(coco: Coco) -> None:
    coco.content["categories"][0]["name"] = "cat"
    lines = coco.make()
    assert "classes: 1, labels in the order of their ids" in lines
    assert f"one class: cat, of which {coco.folder}/i.json has 2 categories, 90, 3" in lines


def test_masks_are_below_the_root(coco: Coco, tmp_path: Path) -> None:
    for found in coco.content["annotations"]:
        found["segmentation"] = [[2, 3, 12, 3, 12, 11]]
    imported("coco", tmp_path / "data", **coco.settings())
    split = dataset(tmp_path / "data").split("test")
    assert {paths[0].parent for paths, _ in map(split.mask_paths, range(len(split)))} == {tmp_path / "data" / "masks"}
    assert len(list((tmp_path / "data" / "masks").iterdir())) == 4, "of val and test; training needs none"
