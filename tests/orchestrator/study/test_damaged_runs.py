"""What a killed process, a full disk or another version leaves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from orchestrator.experiment.load import load_experiment
from orchestrator.runs.journal import open_study
from orchestrator.study.study import Study
from tests.support.broken_searches import RUN, experiment, opened
from tests.support.tiny import Launch
from wsol import checkpoint, files, training
from wsol.checkpoint import Checkpoints
from wsol.errors import InputError


@pytest.mark.parametrize("path", ["epoch-0002.pt.part", "manifest.json.part"])
def test_a_process_killed_after_any_byte_of_a_checkpoint_goes_on_from_the_one_before(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write is cut after k bytes, for k over the whole file, and nothing cleans up."""
    saved = {epoch: {"epoch": epoch, "objective_now": float(epoch), "objective": float(epoch)} for epoch in (1, 2)}
    Checkpoints(Path("first")).save({"w": torch.arange(50)}, saved[1], best=True)
    before = {file.name: file.read_bytes() for file in Path("first").iterdir()}
    Checkpoints(Path("first")).save({"w": torch.arange(50) * 2}, saved[2], best=True)
    whole = (Path("first") / path.removesuffix(".part")).read_bytes()
    for cut in range(0, len(whole) + 1, max(1, len(whole) // 40)):
        folder = Path(f"cut-{cut}")
        folder.mkdir()
        for name, content in before.items():
            (folder / name).write_bytes(content)
        if "manifest" in path:
            shutil.copy(Path("first") / "epoch-0002.pt", folder)
        (folder / path).write_bytes(whole[:cut])
        found = Checkpoints(folder).newest_intact()
        assert found is not None and found[0]["w"][1] == 1 and len(found[1]) == 1
        Checkpoints(folder).save({"w": torch.arange(50) * 3}, saved[2], best=True)
        assert sorted(file.name for file in folder.iterdir()) == ["epoch-0002.pt", "manifest.json"]


@pytest.mark.parametrize("room", [0, 1, 1000, 20_000, 40_000])
def test_a_disk_that_fills_up_ends_the_trial_and_not_what_it_saved(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first epoch is saved; for the second there is room for so many bytes."""
    config = experiment().trial
    write, sync, calls = torch.save, files.sync_and_rename, []

    def save(state: Any, file: BinaryIO) -> None:
        write(state, file)
        calls.append(file.name)
        if len(calls) == 2:
            file.truncate(room)
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OSError, match="No space left"):
        training.train(config, Path("trial"), "train_fullsup/max_box_acc_v2")
    assert sync is checkpoint.sync_and_rename
    assert len(training.train(config, Path("trial"), "train_fullsup/max_box_acc_v2")) == 2 and len(calls) == 3


def test_half_a_record_at_the_end_of_the_journal_is_dropped() -> None:
    """As a full disk leaves it: the next record would be glued to it."""
    of = experiment()
    study = opened(of)
    assert study.ask() is not None
    study.close()
    journal = RUN / "study.journal"
    whole = journal.read_bytes()
    for cut in (1, 5, 40):
        journal.write_bytes(whole + whole.splitlines(keepends=True)[-1][:-cut])
        again = Study(RUN, of)
        again.report(again.ask().number, {"epoch": 1, "objective_now": 1.0})  # type: ignore[union-attr]
        again.close()
        trials = open_study(RUN).trials
        assert len(trials) == 1 and trials[0].intermediate_values == {1: 1.0}


def test_runs_of_another_version_are_refused_with_what_to_do(space_file: Path, launch: Launch) -> None:
    assert launch("train", str(space_file), "--run", "run")[0] == 0
    header = json.loads((RUN / "study.json").read_text())
    old = {name: value for name, value in header.items() if name != "format"}
    (RUN / "study.json").write_text(json.dumps(old))
    assert launch("resume", "run")[0] == 0  # the first format had no number
    (RUN / "study.json").write_text(json.dumps({**header, "format": 2}))
    code, _, err = launch("resume", "run")
    assert code == 2 and "its format is 2, this program reads 1: go on with the version that made it" in err
    (RUN / "study.json").write_text(json.dumps(header))
    written = (RUN / "experiment.yaml").read_text()
    (RUN / "experiment.yaml").write_text(written.replace("keep_checkpoints:", "kept_checkpoints:"))
    code, _, err = launch("resume", "run")
    assert code == 2 and "kept_checkpoints" in err and "experiment.yaml:" in err and "run was made by commit" in err
    (RUN / "experiment.yaml").write_text(written)
    journal = (RUN / "study.journal").read_text()
    for text in (
        journal + '{"op_code": 99, "worker_id": "a"}\n',
        journal.replace("op_code", "operation", 1),
        "records\n" + journal,
        "",
    ):
        (RUN / "study.journal").write_text(text)
        code, _, err = launch("resume", "run")
        assert code == 2 and "study.journal: Optuna" in err and "cannot read it" in err and "Traceback" not in err
    (RUN / "study.json").write_text("{")
    code, _, err = launch("resume", "run")
    assert code == 2 and "study.json: is damaged" in err


def test_a_study_with_several_owners_at_once_is_refused(space_file: Path) -> None:
    study = opened(load_experiment(space_file).experiment)
    with pytest.raises(InputError, match="is working on this study"):
        opened(study.experiment)
    study.close()
