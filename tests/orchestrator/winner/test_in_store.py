"""A run whose results lie in a store: what is fetched for its end, and what is there afterwards."""

from __future__ import annotations

from pathlib import Path

import torch

from orchestrator.runs.store import Mirror
from orchestrator.winner.in_store import kept_in_store
from tests.support.studies import create, experiment
from wsol.checkpoint import Checkpoints

OBJECTIVE = "train_fullsup/max_box_acc_v2"


def test_the_winner_and_its_rivals_are_fetched_and_what_came_of_them_is_brought(tmp_path: Path) -> None:
    store = (tmp_path / "store").as_uri()
    limits = {"trials": 6, "sampler": "random", "keep_checkpoints": 1}
    study = create(tmp_path / "run", experiment(study=limits, resources={"storage": store}))
    for value in (50.0, 60.0, 70.0, 65.0, 40.0, 45.0):
        task = study.ask()
        assert task is not None
        record = {"epoch": 1.0, "objective_now": value, "objective": value, OBJECTIVE: value}
        Checkpoints(task.folder, task.config).save({"method": {"w": torch.zeros(1)}}, record, best=True)
        study.complete(task.number, [record], 1.0, "here")
    mirror = Mirror(f"{store}/tiny", tmp_path / "run")
    mirror.push()
    for path in tmp_path.glob("run/trials/*/*.*t"):
        path.unlink()
    with kept_in_store(study, tmp_path / "run"):
        fetched = sorted(int(path.parent.name) for path in tmp_path.glob("run/trials/*/epoch-*.pt"))
        assert fetched == [0, 1, 2, 3]  # the winner and three rivals
        manifests = [int(path.parent.name) for path in sorted(tmp_path.glob("run/trials/*/manifest.json"))]
        assert manifests == [0, 1, 2, 3, 4, 5]
        (tmp_path / "run" / "best").mkdir()
        (tmp_path / "run" / "best" / "result.json").write_text("{}")
    assert (tmp_path / "store" / "tiny" / "best" / "result.json").exists()
