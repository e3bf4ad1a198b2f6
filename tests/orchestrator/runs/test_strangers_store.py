"""Stores that a run folder of elsewhere names."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from orchestrator.experiment.model import Experiment
from orchestrator.runs.header import RunHeader
from orchestrator.runs.store import store_of_run
from orchestrator.study.begin import create_study
from tests.support.tiny import TINY, Launch
from wsol.errors import InputError


def test_failures_that_differ_in_the_node_are_alike(tmp_path: Path) -> None:
    experiment = Experiment.model_validate({**TINY, "study": {"trials": 5, "sampler": "random"}})
    study = create_study(tmp_path, experiment, RunHeader("tiny"))
    for node in ("mill", "fell", "tarn"):
        task = study.ask()
        assert task is not None
        study.fail(task.number, f"{node}: data/CUB: no such folder", 1.0, f"{node}:{task.number}")
    assert "all failed alike" in str(study.stopped())
    study.close()


@pytest.mark.parametrize("name", ["..", ".", "../../home", "/etc", "a/b", "a\\b"])
def test_the_place_of_a_run_in_a_store_is_one_plain_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "study.json").write_text(json.dumps({"study_name": name}))
    of = Experiment.model_validate({**TINY, "resources": {"storage": f"file://{tmp_path}/store"}})
    with pytest.raises(InputError, match=r"study.json: is damaged .*not one plain part of a path"):
        store_of_run(tmp_path, of)


def test_a_strangers_run_folder_brings_nothing_to_the_store_it_names(
    tmp_path: Path, space_file: Path, launch: Launch
) -> None:
    store = tmp_path / "store"
    assert launch("train", str(space_file), "--run", "run")[0] == 0
    experiment = Path("run/experiment.yaml")
    experiment.write_text(experiment.read_text().replace("storage: null", f"storage: file://{store}"))
    Path("run/study.owner").unlink()
    code, out, _ = launch("evaluate", "run", "--split", "test")
    assert code == 0 and "nothing was brought to" in " ".join(out.split()) and not store.exists()
    code, _, err = launch("resume", "run")
    assert code == 2 and "was not worked on here" in err and not store.exists()
    Path("run/study.owner").write_text(f"{socket.gethostname()}, process 1, since now")
    assert launch("evaluate", "run", "--split", "test", "--test-again", "mine")[0] == 0
    assert len(json.loads((store / "run" / "test.json").read_text())["evaluations"]) == 2
