"""The sheet of annotated images that `data check --pictures` draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from orchestrator.pictures.drawing import TRUE_COLOR
from orchestrator.pictures.sheet import sheet
from tests.support.folders import make
from tests.support.tiny import Launch
from wsol.datasets import synthetic


def green(picture: np.ndarray) -> np.ndarray:
    """Where lines of the colour of the truth are, (H, W) bool."""
    return (picture == TRUE_COLOR).all(-1)


def test_boxes_are_drawn_where_they_are(tmp_path: Path) -> None:
    dataset, config = make(tmp_path)
    drawn = sheet(dataset.split("train_fullsup"), config)
    assert drawn.shape == (192, 5 * 192, 3)
    for index in range(5):  # the box 1 2 3 + index 4 of an image of 20 x 16
        rows, columns = np.nonzero(green(drawn[:, 192 * index : 192 * (index + 1)]))
        corners = columns.min() / 9.6, rows.min() / 12, columns.max() / 9.6, rows.max() / 12
        assert np.allclose(corners, (1, 2, 4 + index, 5), atol=1)


def test_images_are_from_all_of_a_split_and_the_last_row_is_filled_up(tmp_path: Path) -> None:
    dataset, config = make(tmp_path)
    drawn = sheet(dataset.split("train_weaksup"), config)
    assert drawn.shape == (2 * 192, 6 * 192, 3) and not green(drawn).any(), "train has no boxes"
    assert (drawn[192:, 5 * 192 :] == 255).all() and not (drawn[192:, 4 * 192 : 5 * 192] == 255).all()


def test_masks_are_outlined(tmp_path: Path) -> None:
    config = synthetic.Config(
        root=str(tmp_path), classes=2, train_images=1, fullsup_images=1, test_images=1, annotations="masks"
    )
    assert green(sheet(synthetic.build(config).split("test"), config)).any()


def test_data_check_draws_every_split(tmp_path: Path, launch: Launch) -> None:
    settings = ["classes=2", "train_images=1", "fullsup_images=1", "test_images=1", "--root", str(tmp_path)]
    assert launch("data", "prepare", "synthetic", *settings)[0] == 0
    code, out, _ = launch("data", "check", "synthetic", *settings, "--pictures", str(tmp_path / "looked"))
    assert code == 0 and f"look at it: {tmp_path}/looked/train_fullsup.jpg" in out.replace("\n", "")
    assert {path.name: Image.open(path).size for path in (tmp_path / "looked").iterdir()} == {
        f"{split}.jpg": (2 * 192, 192) for split in ("train_weaksup", "train_fullsup", "test")
    }


def test_where_no_picture_can_be_written(tmp_path: Path, launch: Launch) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = launch("data", "check", "synthetic", "--root", str(tmp_path), "--pictures", str(tmp_path / "file"))
    assert code == 2 and "is no folder; choose another place" in " ".join(err.split())
