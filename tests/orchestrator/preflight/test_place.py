"""Folders that a user names: what cannot be one is told in one line, before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import api
from orchestrator.preflight.place import named_place, require_new_run_folder, require_writable
from tests.support.recorded_runs import make_run
from tests.support.tiny import Launch
from wsol.errors import InputError

LONG = "x" * 300
BAD = [
    ("", "a folder without a name was given"),
    ("  ", "a folder without a name was given"),
    (LONG, "a name of 300 bytes, the longest is 255"),
    ("é" * 200, "a name of 400 bytes"),
    ("taken", "taken is no folder; choose another place"),
    ("taken/below/it", "taken is no folder; choose another place"),
    ("link", "link is no folder; choose another place"),
    ("/proc/wsol", "/proc/wsol: nothing can be written there"),
]
FOREIGN = ("mine", "mine: holds other files (photo.png); choose a new or an empty folder")
CAMPAIGN = """methods: {cam: {file: tiny.yaml}}
backbones: {tiny: {}}
datasets: [synthetic]
trials: 2
"""


def names_and_texts() -> dict[str, str | None]:
    return {str(path): path.read_text() if path.is_file() else None for path in sorted(Path().rglob("*"))}


@pytest.fixture
def _places(space_file: Path) -> None:
    """What is in the way: a file, a link to nowhere, a folder with a photo, a run, maps beside a photo."""
    Path("taken").write_text("a file")
    Path("link").symlink_to("nowhere")
    for folder in ("mine", "photos/maps"):
        Path(folder).mkdir(parents=True)
        (Path(folder) / "photo.png").write_text("a photo")
    Path("campaign.yaml").write_text(CAMPAIGN)
    make_run(Path("run"))


@pytest.mark.usefixtures("_places")
@pytest.mark.parametrize(("place", "message"), [*BAD, FOREIGN])
@pytest.mark.parametrize(
    "words",
    [
        ("search", "tiny.yaml", "--run"),
        ("train", "tiny.yaml", "--run"),
        ("protocol", "campaign.yaml", "--run"),
        ("resume", "--from", "file:///nowhere/run", "--run"),
        ("evaluate", "--import", "wsolevaluation", "taken", "--experiment", "tiny.yaml", "--run"),
    ],
    ids=" ".join,
)
def test_no_run_begins_where_it_cannot(words: tuple[str, ...], place: str, message: str, launch: Launch) -> None:
    before = names_and_texts()
    code, out, err = launch(*words, place)
    assert code == 2 and message in err and len(err.splitlines()) == 1 and not out, out + err
    assert names_and_texts() == before


@pytest.mark.usefixtures("_places")
@pytest.mark.parametrize(("place", "message"), BAD)
def test_data_is_prepared_only_where_it_can_be(place: str, message: str, launch: Launch) -> None:
    before = names_and_texts()
    code, _, err = launch("data", "prepare", "synthetic", "--root", place)
    assert code == 2 and message in err and len(err.splitlines()) == 1, err
    assert names_and_texts() == before


@pytest.mark.usefixtures("_places")
@pytest.mark.parametrize("place", ["", LONG])
@pytest.mark.parametrize("verb", ["report", "status", "resume", "retry", "replay", "evaluate", "compare"])
def test_a_folder_to_read_has_a_possible_name(verb: str, place: str, launch: Launch) -> None:
    code, _, err = launch(verb, place)
    assert code == 2 and len(err.splitlines()) == 1 and "name" in err


@pytest.mark.usefixtures("_places")
def test_other_files_are_refused_and_those_of_a_run_that_was_cut_off_are_not() -> None:
    cut_off = Path("cut-off")
    cut_off.mkdir()
    for name in ("experiment.yaml", "packages.txt", "study.journal", "study.journal.lock", "study.json.part", ".tune"):
        (cut_off / name).touch()
    require_new_run_folder(cut_off)
    require_new_run_folder(Path("new/er"))
    Path("empty").mkdir()
    require_new_run_folder(Path("empty"))
    with pytest.raises(InputError, match="holds a run already"):
        require_new_run_folder(Path("run"))
    (cut_off / "study.json.txt").touch()
    with pytest.raises(InputError, match=r"cut-off: holds other files \(study\.json\.txt\)"):
        require_new_run_folder(cut_off)
    assert not Path("new").exists()


def test_nothing_is_left_of_the_question(tmp_path: Path) -> None:
    require_writable(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())


def test_python_is_told_the_same(space_file: Path) -> None:
    for call in (api.search, api.train):
        with pytest.raises(InputError, match="without a name"):
            call(space_file, run="")  # type: ignore[operator]
    with pytest.raises(InputError, match="a name of 300 bytes"):
        api.read_status(LONG)
    assert named_place("runs/é") == Path("runs/é")


def test_a_library_call_is_checked_like_a_command(space_file: Path, launch: Launch, tmp_path: Path) -> None:
    assert launch("train", str(space_file), "--run", "run")[0] == 0
    for split in ("tset", "train_weaksup"):
        with pytest.raises(InputError, match=f"--split {split}: use train_fullsup or test"):
            api.evaluate("run", split, save_maps=tmp_path / "maps")
    with pytest.raises(InputError, match="--test-again: is for the test split"):
        api.evaluate("run", test_again="why", save_maps=tmp_path / "maps")
    assert not (tmp_path / "maps").exists()
