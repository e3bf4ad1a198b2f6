"""The tutorials: their first steps run word by word, on a smaller folder, and their pictures are there and light."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from benchmarks import photographs
from orchestrator.experiment.load import load_experiment
from tests.support.documents import DOCS
from tests.support.tiny import Launch

PICTURES = sorted((DOCS / "pictures" / "tutorial").iterdir())
STEPS = 4
"""Commands that are run: prepare, check, init and validate the file that follows."""


def commands(page: str) -> list[list[str]]:
    """The words of every `launch.py` in the blocks of a page, in its order."""
    return [shlex.split(line) for line in re.findall(r"^    python launch\.py (.*)$", page, re.MULTILINE)]


def test_the_first_steps_run_word_by_word(tmp_path: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(photographs, "PER_CLASS", 10)
    page = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    folder = re.search(r"^    python -m benchmarks\.photographs (.*)$", page, re.MULTILINE)
    assert folder is not None
    photographs.write_photographs(Path(folder[1]))
    prepare, check, init, forecast = commands(page)[:STEPS]
    for words in (prepare, check, init):
        code, _, err = launch(*words)
        assert code == 0, err
    file = re.search(r"^    cat > (\S+) << 'END'\n(.*?)^    END$", page, re.MULTILINE | re.DOTALL)
    assert file is not None and file[1] in forecast
    Path(file[1]).write_text(re.sub(r"^    ", "", file[2], flags=re.MULTILINE))
    loaded = load_experiment(Path(file[1]))
    assert loaded.experiment.trial.backbone.name == "tiny" and loaded.experiment.study.trials == 6


def test_pictures_are_light_and_all_are_shown() -> None:
    sizes = [path.stat().st_size for path in PICTURES]
    assert max(sizes) < 150_000 and sum(sizes) < 900_000
    shown = re.findall(r"!\[[^\]]+\]\((.*)\)", (DOCS / "tutorial.md").read_text(encoding="utf-8"))
    assert sorted(DOCS / name for name in shown) == PICTURES
