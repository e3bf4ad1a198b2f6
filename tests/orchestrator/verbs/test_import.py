"""`data prepare coco`, `voc` and `yolo` as words of a command line, to the search space that comes next."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.experiment.load import load_experiment
from tests.support.annotation_files import voc_xml
from tests.support.imported import SIZE, Coco
from tests.support.paths import ROOT
from tests.support.tiny import Launch
from tests.support.yolo import ultralytics
from wsol.data.imports.making import FORMATS

WORDS = ("annotations=i.json", "images=photos", "val=0.25", "test=0.25")


@pytest.fixture(autouse=True)
def coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Coco:
    monkeypatch.chdir(tmp_path)
    made = Coco(Path())
    made.several().settings()
    return made


def test_what_is_made_is_checked_and_searched_as_is_said(launch: Launch) -> None:
    code, out, err = launch("data", "prepare", "coco", *WORDS, "--root", "data/mine")
    assert code == 0, err
    assert f"data/mine: a data set `folder`; images is a link to {Path('photos').resolve()}, nothing is copied" in out
    commands = re.findall(r"python launch\.py ([^,\n]+)", out)
    assert [command.split()[0] for command in commands] == ["data", "init"]
    for command in commands:
        assert launch(*command.split())[0] == 0, command
    assert launch("validate", "mine.yaml")[0] == 0
    lines = out.partition("as a file in search_spaces/:\n")[2].replace("extends: ", f"extends: {ROOT}/search_spaces/")
    Path("own.yaml").write_text(lines)
    data = load_experiment(Path("own.yaml")).experiment.trial.data
    assert (data.name, data.root) == ("folder", "data/mine")


def test_xml_of_voc(launch: Launch) -> None:
    for number, name in enumerate(sorted(path.stem for path in Path("photos").iterdir())):
        Path("Annotations").mkdir(exist_ok=True)
        text = voc_xml(f"{name}.png", SIZE, [{"name": name[:3], "box": (2, 3, 11, 10 + number)}])
        Path("Annotations", f"{name}.xml").write_text(text)
    code, out, err = launch("data", "prepare", "voc", "annotations=Annotations", *WORDS[1:], "--root", "mine")
    assert code == 0, err
    assert "splits: train 4, val 2, test 2 images; val=0.25, test=0.25 of each class, drawn by seed=0" in out
    assert launch("data", "check", "folder", "--root", "mine")[0] == 0


def test_text_files_of_yolo(launch: Launch) -> None:
    ultralytics(Path(), "train", "val", "test")
    code, out, err = launch("data", "prepare", "yolo", "annotations=data.yaml", "--root", "mine")
    assert code == 0, err
    assert "splits: train 6, val 6, test 6 images; as listed" in out
    assert launch("data", "check", "folder", "--root", "mine")[0] == 0


def test_a_folder_that_holds_something_is_refused(launch: Launch) -> None:
    assert launch("data", "prepare", "coco", *WORDS, "--root", "mine")[0] == 0
    before = Path("mine/metadata/test/image_ids.txt").stat().st_mtime_ns
    code, _, err = launch("data", "prepare", "coco", *WORDS, "--root", "mine")
    assert (
        code == 2 and "mine: holds other files (images, import.txt, metadata); choose a new or an empty folder" in err
    )
    assert Path("mine/metadata/test/image_ids.txt").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_missing_is_said_with_an_example(name: str, launch: Launch) -> None:
    code, _, err = launch("data", "prepare", name)
    assert code == 2 and "error: command line: annotations: this key is missing\n" in err
    assert f"\nfor example: python launch.py data prepare {name} annotations=" in err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("test=2",), "test: 2 is no share: val and test are above 0, and below 1 together"),
        (("test=0.8", "val=0.3"), "test: 0.8 is no share"),
        (("test=0",), "test: 0 is no share"),
        (
            ("tset=0.2",),
            "tset: unknown key, did you mean 'test'?; allowed are annotations, images, val, test, seed, masks",
        ),
        (("masks=yes",), "masks: should be 'auto', 'on' or 'off', got 'yes'"),
        (("annotations=none.json",), "none.json: cannot be read (No such file or directory); name an existing file"),
        (("test=none.json",), "none.json: cannot be read (No such file or directory)"),
        (("images=none",), "none: no such folder; name the folder of the images with images=DIR"),
        (("--source", "i.json"), "--source i.json: coco takes annotations=i.json instead"),
    ],
)
def test_mistakes_have_one_line_and_write_nothing(words: tuple[str, ...], problem: str, launch: Launch) -> None:
    changed = {word.partition("=")[0] for word in words}
    kept = [word for word in WORDS if word.partition("=")[0] not in changed]
    code, _, err = launch("data", "prepare", "coco", *kept, *words, "--root", "data")
    assert code == 2 and problem in err and "Traceback" not in err
    assert not Path("data").exists()


def test_formats_are_known_where_data_sets_are(launch: Launch) -> None:
    code, _, err = launch("data", "prepare", "cocos")
    assert code == 2 and "; and annotations of coco, voc, yolo" in err
    code, _, err = launch("data", "check", "coco", "--root", "mine")
    assert code == 2
    assert "is an annotation format; check the data set made from it: `data check folder --root mine`" in err
