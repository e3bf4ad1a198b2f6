"""`predict`: tables and pictures of images without annotations, whatever the images are; nothing half-written."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import orchestrator
from orchestrator.verbs import predict as verb
from orchestrator.winner.predictions import draw
from tests.support.coloured_images import config_of, write_images
from tests.support.exported_runs import export_random
from tests.support.tiny import Launch
from wsol.config import TrainConfig
from wsol.prediction import Evidence, Failed, Prediction

THRESHOLD = {"max_box_acc_v2": 40.0, "max_box_acc_v2/threshold_50": 0.25}
SIDE = 16


def patches(width: int, height: int, seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 3, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height))


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    write_images(tmp_path / "data", [np.zeros((8, 8, 3), np.uint8)] * 2)
    return config_of(tmp_path / "data", SIDE, evaluation={"batch_size": 4})


@pytest.fixture
def place(tmp_path: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run, and photos: of one name in two folders, of several kinds, one turned, two that are none."""
    monkeypatch.chdir(tmp_path)
    export_random(Path("run"), config, 2, **THRESHOLD)
    for folder in ("photos/a", "photos/b"):
        Path(folder).mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    patches(40, 30, 1).save("photos/a/x.jpg")
    patches(30, 50, 2).save("photos/b/x.jpg")
    patches(24, 48, 3).save("photos/b/x.png", exif=exif)
    patches(20, 20, 4).convert("CMYK").save("photos/c.tif")
    patches(64, 17, 5).convert("LA").save("photos/d.png")
    patches(9, 11, 6).convert("P").save("photos/=e.gif")
    Path("photos/broken.jpg").write_text("no picture")
    Path("photos/notes.txt").write_text("no image")
    return tmp_path


NAMES = ["=e.gif", "a/x.jpg", "b/x.jpg", "b/x.png", "broken.jpg", "c.tif", "d.png"]
SIZES = [(9, 11), (40, 30), (30, 50), (48, 24), None, (20, 20), (64, 17)]


def rows(out: str) -> list[dict[str, str]]:
    with Path(out, "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("place")
def test_every_image_is_in_the_tables_and_has_its_picture(launch: Launch) -> None:
    code, out, err = launch("predict", "run", "photos", "--out", "out", "--maps")
    assert code == 0, err
    lines = out.splitlines()
    assert "run: cam on tiny, 2 classes" in lines
    assert f"7 images of {Path('photos').resolve()}; left out, not named like images: .txt 1" in lines
    assert "boxes of all contours at score threshold 0.25 (that of max_box_acc_v2/iou_50 on train_fullsup)" in lines
    assert "broken.jpg: cannot be decoded (it is no image, or damaged at its beginning)" in lines
    assert "; 1 failed, see the column error" in out and "tables:   out/predictions.csv, out/predictions" in out
    table = rows("out")
    by_id = {row["image_id"]: row for row in table}
    assert list(by_id) == [str(number) for number in range(1, 8)]
    assert [row["image"].removeprefix("'") for row in by_id.values()] == NAMES
    assert by_id["1"]["image"] == "'=e.gif", "no spreadsheet takes it for a formula"
    for name, size, row in zip(NAMES, SIZES, by_id.values(), strict=True):
        if size is None:
            assert row["error"].startswith("cannot be decoded") and not row["x0"] and not row["class"]
            continue
        assert (int(row["width"]), int(row["height"])) == size and not row["error"]
        assert row["class"] in ("0", "1") and 0.5 <= float(row["probability"]) <= 1
        picture = cv2.imread(f"out/overlays/{name}.png")
        assert picture.shape[0] * size[0] == pytest.approx(picture.shape[1] * size[1], rel=0.05)
        assert np.load(f"out/maps/{name}.npy").ndim == 2
    pictures = sorted(path.relative_to("out/overlays").as_posix() for path in Path("out/overlays").rglob("*.*"))
    assert pictures == sorted(f"{name}.png" for name in NAMES if name != "broken.jpg")
    assert not list(Path("out").rglob("*.part"))


@pytest.mark.usefixtures("place")
def test_the_boxes_of_both_tables_are_the_same(launch: Launch) -> None:
    assert launch("predict", "run", "photos", "--out", "out")[0] == 0
    results = json.loads(Path("out/predictions.json").read_text())
    boxed = [row for row in rows("out") if row["x0"]]
    assert len(results) == len(boxed) == 6 and not Path("out/maps").exists()
    for result, row in zip(results, boxed, strict=True):
        x0, y0, x1, y1 = (int(row[name]) for name in ("x0", "y0", "x1", "y1"))
        assert 0 <= x0 <= x1 < int(row["width"]) and 0 <= y0 <= y1 < int(row["height"])
        assert result == {
            "image_id": int(row["image_id"]),
            "category_id": int(row["class"]),
            "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1],
            "score": float(row["probability"]),
            "file_name": row["image"].removeprefix("'"),
        }


@pytest.mark.usefixtures("place")
def test_from_python_and_at_another_threshold(capsys: pytest.CaptureFixture[str]) -> None:
    for threshold in (0.0, 0.9):
        out = orchestrator.predict("run", "photos/a/x.jpg", "photos/b", out=f"out{threshold}", threshold=threshold)
        assert out == Path(f"out{threshold}")
        assert f"at score threshold {threshold:g} (as given)" in capsys.readouterr().out
    assert {row["image"] for row in rows("out0.9")} == {"a/x.jpg", "b/x.jpg", "b/x.png"}
    areas = [
        sum((int(r["x1"]) - int(r["x0"])) * (int(r["y1"]) - int(r["y0"])) for r in rows(f"out{threshold}"))
        for threshold in (0.0, 0.9)
    ]
    assert areas[0] > areas[1]


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run photos --out run/best", "run/best: holds other files (config.yaml, result.json, weights.pt)"),
        ("run photos --out photos/out", "--out photos/out: lies in photos"),
        ("run missing --out out", "missing: no such image or folder"),
        ("photos photos --out out", "photos: has no finished model yet"),
        ("run photos --out photos/c.tif", "photos/c.tif is no folder"),
        ("run photos --out out --threshold 1", "--threshold 1: scores lie in [0, 1)"),
        ("run photos --out out --threshold nan", "--threshold nan: scores lie in [0, 1)"),
        (
            "other photos --out out",
            "other: none of its metrics (max_box_acc_v2, max_box_acc, top1) chose a score thres",
        ),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_written(
    words: str, message: str, launch: Launch, config: TrainConfig
) -> None:
    export_random(Path("other"), config, 2, max_box_acc_v2=40.0)
    before = sorted(Path().rglob("*"))
    code, _, err = launch("predict", *words.split())
    assert code == 2 and message in err and len(err.splitlines()) == 1, err
    assert sorted(Path().rglob("*")) == before


@pytest.mark.usefixtures("place")
def test_results_are_not_overwritten(launch: Launch) -> None:
    assert launch("predict", "run", "photos/a", "--out", "out")[0] == 0
    before = Path("out/predictions.csv").read_bytes()
    code, _, err = launch("predict", "run", "photos/b", "--out", "out")
    assert code == 2 and "out: holds other files (overlays, predictions.csv, predictions.json); choose a new" in err
    assert Path("out/predictions.csv").read_bytes() == before


def test_the_data_set_need_not_be_here(config: TrainConfig, launch: Launch, place: Path) -> None:
    cub = config.model_validate({**config.model_dump(), "data": {"name": "cub", "image_size": SIDE, "root": "nowhere"}})
    names = [f"bird {number}" for number in range(3)]
    export_random(place / "new", cub, 3, names, **THRESHOLD)
    assert launch("predict", "new", "photos/a", "--out", "out")[0] == 0
    row = rows("out")[0]
    assert row["class_name"] == f"bird {row['class']}"
    export_random(place / "old", cub, 200, **THRESHOLD)
    code, _, err = launch("predict", "old", "photos/a", "--out", "other")
    assert code == 2 and "data prepare cub --root nowhere" in err and not Path("other").exists()


@pytest.mark.usefixtures("place")
def test_an_interrupted_prediction_leaves_whole_tables(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(40):
        patches(20, 20, number).save(f"photos/b/{number:02}.png")

    def stop(evidence: Evidence, folder: Path, *, maps: bool) -> Prediction | Failed:
        if evidence.prediction.name == "30.png":
            raise KeyboardInterrupt
        return draw(evidence, folder, maps=maps)

    monkeypatch.setattr(verb, "draw", stop)
    code, out, _ = launch("predict", "run", "photos/b", "--out", "out")
    table, results = rows("out"), json.loads(Path("out/predictions.json").read_text())
    done = len({row["image_id"] for row in table})
    assert code == 130 and f"interrupted; the tables in out have {done} of 42 images" in out
    assert done == 24 and {result["image_id"] for result in results} <= set(range(1, 25)) and results
    assert not list(Path("out").rglob("*.part"))


@pytest.mark.usefixtures("place")
def test_images_that_all_fail_are_a_failure(launch: Launch) -> None:
    code, _, err = launch("predict", "run", "photos/broken.jpg", "photos/notes.txt", "--out", "out")
    assert code == 1 and "none of the images has a prediction" in err
    assert len(rows("out")) == 2 and json.loads(Path("out/predictions.json").read_text()) == []


@pytest.mark.usefixtures("place")
def test_a_name_that_is_too_long_for_its_picture_fails_alone(launch: Launch) -> None:
    long = f"photos/a/{'n' * 248}.jpg"
    patches(20, 20, 0).save(long)
    code, _, err = launch("predict", "run", "photos/a", "--out", "out")
    assert code == 0, err
    failed, fine = rows("out")
    assert failed["error"] == "its pictures cannot be written (File name too long)" and fine["x0"]


@pytest.mark.usefixtures("place")
def test_a_full_disk_ends_it_and_is_told(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("orchestrator.winner.predictions._write", full)
    code, _, err = launch("predict", "run", "photos", "--out", "out")
    assert code == 1 and "is full; free some space" in err
    assert not list(Path("out").iterdir())


@pytest.mark.usefixtures("place")
def test_names_that_are_no_text_are_kept(launch: Launch) -> None:
    name = "caf\udce9.png"
    patches(20, 20, 0).save(f"photos/a/{name}")
    assert launch("predict", "run", "photos/a", "--out", "out")[0] == 0
    with Path("out/predictions.csv").open(newline="", errors="surrogateescape") as file:
        assert {row["image"] for row in csv.DictReader(file)} == {"x.jpg", name}
    assert {one["file_name"] for one in json.loads(Path("out/predictions.json").read_text())} == {"x.jpg", name}
