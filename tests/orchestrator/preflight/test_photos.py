"""Which files `predict` takes for images, in which order and under which names."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from orchestrator.preflight.photos import find_photos, in_words
from wsol.errors import InputError

OUT = Path("out")


@pytest.fixture(autouse=True)
def _tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a/x.jpg", "a/b/y.PNG", "a/b/x.jpg", "a/notes.txt", "a/b/list.csv", "a/README", "c/x.jpg", "c/z.tiff"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    for name in ("a/.hidden/x.jpg", "a/._x.jpg"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()


def found(*places: str) -> list[str]:
    return find_photos([Path(place) for place in places], OUT).names


def test_a_folder_is_searched_below_and_sorted() -> None:
    photos = find_photos([Path("a")], OUT)
    assert photos.folder == Path("a").resolve()
    assert photos.names == ["b/x.jpg", "b/y.PNG", "x.jpg"]
    assert photos.left_out == Counter({".txt": 1, ".csv": 1, "no ending": 1})
    assert in_words(photos.left_out) == ".csv 1, .txt 1, no ending 1"


def test_names_of_several_folders_stay_apart() -> None:
    assert found("c", "a/b") == ["a/b/x.jpg", "a/b/y.PNG", "c/x.jpg", "c/z.tiff"]
    assert found("c/x.jpg") == ["x.jpg"]
    assert found("c/x.jpg", "a/x.jpg") == ["a/x.jpg", "c/x.jpg"]
    assert found(str(Path("c").resolve()), "a/../c/z.tiff", "c/x.jpg") == ["x.jpg", "z.tiff"]


def test_a_named_file_is_taken_whatever_its_name() -> None:
    assert found("a/notes.txt", "a/.hidden/x.jpg") == [".hidden/x.jpg", "notes.txt"]


def test_links_are_followed_once() -> None:
    Path("a/b/up").symlink_to(Path("a").resolve())
    Path("c/there").symlink_to(Path("a/b").resolve())
    Path("c/gone.jpg").symlink_to("nowhere")
    assert found("a") == ["b/x.jpg", "b/y.PNG", "x.jpg"]
    assert "there/x.jpg" in found("c") and "gone.jpg" in found("c"), "it is told as an image that cannot be read"
    Path("d").symlink_to(Path("c").resolve())
    assert len(found("d")) == len(found("c"))


def test_what_is_no_file_is_no_image() -> None:
    os.mkfifo("c/pipe.jpg")
    assert found("c") == ["x.jpg", "z.tiff"]


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (["a", "missing"], "missing: no such image or folder"),
        (["a/*.jpg"], "a/*.jpg: no such image or folder"),
        (["x" * 300], "no such image or folder"),
        (["empty"], r"empty: holds no image, only other files \(none\)"),
        (["text"], r"text: holds no image, only other files \(.txt 1\)"),
    ],
)
def test_what_cannot_be_used_is_told(places: list[str], message: str) -> None:
    Path("empty").mkdir()
    Path("text").mkdir()
    Path("text/a.txt").touch()
    with pytest.raises(InputError, match=message.replace("*", r"\*")):
        found(*places)


def test_a_folder_that_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refused(place: str) -> object:
        if str(place).endswith("/b"):
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(InputError, match=r"/a/b: cannot be read \(Permission denied\)"):
        found("a")


def test_results_do_not_go_among_the_images() -> None:
    for place in ("a", "a/out", "a/b/out"):
        with pytest.raises(InputError, match="lies in a, so that its pictures would be read"):
            find_photos([Path("c"), Path("a")], Path(place))
    assert find_photos([Path("a/x.jpg")], Path("a/out")).names == ["x.jpg"]
