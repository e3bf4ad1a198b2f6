"""Names longer than the 255 bytes of a file name are nowhere: one line, exit code 2, no run is begun."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tiny import Launch

LONG = "x" * 300
FOLDER = f"images={LONG}", f"metadata={LONG}"


@pytest.mark.parametrize(
    "words",
    [
        ("validate", f"{LONG}.yaml"),
        ("validate", f"search_spaces/{LONG}.yaml"),
        ("validate", "tiny.yaml", f"method={LONG}"),
        ("validate", "tiny.yaml", f"{LONG}=1"),
        ("search", f"{LONG}.yaml"),
        ("status", LONG),
        ("report", LONG),
        ("evaluate", LONG),
        ("train", "tiny.yaml", f"initial_run={LONG}"),
        ("train", "tiny.yaml", "backbone={name: resnet50}", f"backbone.weights={LONG}"),
        ("train", "tiny.yaml", f"data={{name: cub, root: {LONG}}}"),
        ("data", "prepare", "cub", "--source", LONG),
        ("data", "check", "cub", "--root", LONG),
        ("data", "check", "openimages", "--root", LONG),
        ("data", "check", "folder", *FOLDER),
        ("cluster", "check", f"{LONG}.yaml"),
    ],
    ids=lambda words: "-".join(word.replace(LONG, "long") for word in words),
)
def test_a_name_that_is_too_long_is_refused(space_file: Path, launch: Launch, words: tuple[str, ...]) -> None:
    code, _, err = launch(*words)
    assert code == 2, err
    assert len(err.splitlines()) == 1
    assert {path.name for path in space_file.parent.iterdir()} <= {"tiny.yaml", "data"}  # rendered images
