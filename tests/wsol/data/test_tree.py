"""`data check`: files, sizes, counts, and images in two splits."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.support.folders import make
from wsol.data.tree import check_tree
from wsol.errors import InputError


def test_check_counts(tmp_path: Path) -> None:
    lines: list[str] = []
    counts = check_tree(make(tmp_path)[0], lines.append)
    assert counts["train_fullsup"] == {"images": 5, "classes": 3, "boxes": 5, "masks": 0}
    assert lines[0].startswith("toy train_weaksup: 11 images, 3 classes")


def test_check_finds_missing_files_and_wrong_sizes(tmp_path: Path) -> None:
    dataset, _ = make(tmp_path)
    (tmp_path / "toy" / "val" / "0.png").unlink()
    Image.new("RGB", (21, 16)).save(tmp_path / "toy" / "val" / "1.png")
    (tmp_path / "toy" / "test" / "0.png").write_text("no image")
    with pytest.raises(InputError) as caught:
        check_tree(dataset, lambda line: None)
    message = str(caught.value)
    assert message.startswith("toy: the data set is not complete; run `python launch.py data prepare toy")
    assert (
        "train_fullsup: files of 1 of 5 images are missing:" in message
        and "train_fullsup: files of 1 of 5 images are damaged" in message
    )
    assert "val/0.png: no such file" in message
    assert "val/1.png: has 21 x 16 pixels, image_sizes.txt says 20 x 16" in message
    assert "test/0.png: cannot be read" in message


def test_check_shows_some_problems_and_counts_the_rest(tmp_path: Path) -> None:
    dataset, _ = make(tmp_path)
    for path in (tmp_path / "toy" / "train").iterdir():
        path.unlink()
    with pytest.raises(
        InputError, match=r"train_weaksup: files of 11 of 11 images are missing:(?s:.*)\.\.\. and 8 more$"
    ):
        check_tree(dataset, lambda line: None)


def test_check_finds_an_image_in_two_splits(tmp_path: Path) -> None:
    dataset, _ = make(tmp_path)
    for name in ("class_labels.txt", "image_sizes.txt", "localization.txt", "image_ids.txt"):
        lines = tmp_path.joinpath("toy", "metadata", "test", name).read_text()
        tmp_path.joinpath("toy", "metadata", "val", name).write_text(lines)
    with pytest.raises(InputError, match=r"test/0\.png: is in train_fullsup and in test"):
        check_tree(dataset, lambda line: None)
