"""Results in an object store, without Ray: what travels, what a trial finds on another node, who may begin a run
there."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster.plan import Plan
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.study_config import StudyConfig
from orchestrator.runs import names
from orchestrator.runs.scratch import scratch
from orchestrator.runs.store import Mirror, require_free_store, restore_run, store_of_run
from orchestrator.study.task import Task
from orchestrator.trials.wire import Assignment, Report, encode
from orchestrator.trials.worker import run_trial
from orchestrator.winner.in_store import measure_in_scratch
from orchestrator.winner.measure import MeasureRequest
from tests.support.stored_files import files, write
from tests.support.tiny import TINY, Launch
from wsol.addresses import below
from wsol.checkpoint import Checkpoints
from wsol.errors import InputError

PLAN = Plan(workers=1, cpus=1, gpus=0.0, concurrent=1, machine={})


def test_a_store_that_cannot_be_used_names_node_and_address(tmp_path: Path, bucket: str) -> None:
    (tmp_path / "file").write_text("in the way")
    for wrong in ("s3://nobody/x", "ftp://x/y", (tmp_path / "file" / "x").as_uri()):
        with pytest.raises(InputError, match=f"{socket.gethostname()}: {wrong}"):
            require_free_store(wrong, "run")
    with pytest.raises(InputError, match="holds no run"):
        restore_run(below(bucket, "no-such-run"), tmp_path / "run")


def test_a_second_run_of_the_same_name_is_refused_and_a_run_can_be_restored(tmp_path: Path, address: str) -> None:
    require_free_store(address, "tiny")
    write(
        tmp_path / "tiny", study_json=json.dumps({"study_name": "tiny"}), trials__0000__log="l", trials__0000__epoch="x"
    )
    (tmp_path / "tiny" / "trials" / "0000" / "epoch").rename(tmp_path / "tiny" / "trials" / "0000" / "epoch-0001.pt")
    experiment = Experiment.model_validate({**TINY, "resources": {"storage": address}})
    mirror = store_of_run(tmp_path / "tiny", experiment)
    assert mirror is not None and mirror.address == below(address, "tiny")
    mirror.push()
    with pytest.raises(InputError, match="holds a run already"):
        require_free_store(address, "tiny")
    require_free_store(address, "other")
    restore_run(mirror.address, tmp_path / "again")
    assert sorted(files(tmp_path / "again")) == ["study.json", "trials/0000/log"]
    with pytest.raises(InputError, match="holds a run already"):
        restore_run(mirror.address, tmp_path / "again")


def test_a_training_without_ray_is_kept_and_goes_on_elsewhere(space_file: Path, launch: Launch) -> None:
    store = space_file.parent / "store" / "tiny"
    code, out, err = launch("train", str(space_file), f"resources.storage={store.parent.as_uri()}")
    assert code == 0, out + err
    own = files_of(Path("runs/tiny"))
    assert files_of(store) == own and "best/weights.pt" in own
    code, out, err = launch("resume", "runs/again", "--from", store.as_uri())
    assert code == 0, out + err
    assert "epoch" not in out.partition("winner")[0] and files_of(Path("runs/again")) == files_of(store)
    request = MeasureRequest(Path("/no/such/run"), "train_fullsup")
    result = json.loads((store / "best" / "result.json").read_text())
    assert measure_in_scratch(store.as_uri(), request).metrics == result["train_fullsup"], (
        "measured on a node that sees the store alone"
    )
    code, out, err = launch("evaluate", "runs/again", "--split", "test")
    assert code == 0 and (store / "test.json").exists(), err
    code, out, err = launch("resume", "runs/again", "resources.storage=s3://other")
    assert code == 2 and "except storage" in err
    code, out, err = launch("resume", "runs/again", "--from", store.as_uri())
    assert code == 2 and "holds a run already" in err


def files_of(folder: Path) -> dict[str, bytes]:
    """What travels of a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "study." not in path.name
    }


def wire(run: Path, number: int, stores: list[str], **training: int) -> Assignment:
    values = copy.deepcopy(TINY["trial"])
    values["training"] = {"epochs": 3, "batch_size": 4, **training}
    values["data"]["root"] = str(run.parent / "data")
    config = Experiment.model_validate({**TINY, "trial": values}).trial
    task = Task(number, config, run / "trials" / f"{number:04d}", {}, "random", StudyConfig(max_failures=0), [number])
    return Assignment.of_task(task, PLAN, stores)


class Lost(Exception):
    """The machine is gone."""


def run(sent: Assignment, die_after: int = 99) -> list[dict[str, Any]]:
    """Run a trial; its reports until its machine is lost after an epoch."""
    reports: list[dict[str, Any]] = []

    def report(sent: Report) -> None:
        reports.append(encode(sent))
        if reports[-1].get("epoch") == die_after:
            raise Lost

    with contextlib.suppress(Lost):
        run_trial(sent, report)
    assert not list(Path(os.environ["TMPDIR"]).glob("wsol-scratch-*"))
    return reports


@pytest.fixture
def _own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_own_temporary_folder")
def test_a_trial_goes_on_where_another_node_left_it_and_a_retry_where_the_failed_one_did(
    tmp_path: Path, bucket: str
) -> None:
    runs = tmp_path / "runs" / "tiny"
    stores = [below(bucket, "goes-on", "trials", f"{number:04d}") for number in range(4)]
    whole = run(wire(runs, 0, stores[:1]))
    assert [report.get("epoch") for report in whole] == [1, 2, 3, None]
    first = run(wire(runs, 1, stores[1:2]), die_after=1)
    second = run(wire(runs, 1, stores[1:2]), die_after=2)
    retried = run(wire(runs, 3, [stores[3], stores[1]]))
    epochs = [report for report in (*first, *second, *retried) if "epoch" in report]
    assert [report["epoch"] for report in epochs] == [1, 2, 3], "no epoch was trained twice"
    assert [report["objective_now"] for report in epochs] == [report["objective_now"] for report in whole[:-1]]
    assert not runs.exists(), "nothing is written into a folder that other nodes may not see"
    Mirror(stores[3], tmp_path / "kept").pull()
    kept = Checkpoints(tmp_path / "kept")
    assert kept.best is not None and kept.load(kept.best) and len(kept.history) == 3
    assert len(list((tmp_path / "kept").glob("epoch-*.pt"))) == 1 and list((tmp_path / "kept").glob("events.*"))


@pytest.mark.usefixtures("_own_temporary_folder")
def test_a_node_without_the_run_folder_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs" / "tiny"
    (reported,) = run(wire(runs, 0, []))
    assert reported["failure"].startswith(f"{socket.gethostname()}: {runs}: this node does not see this folder")
    runs.mkdir(parents=True)
    (runs / "study.json").write_text("{}")
    assert [report.get("epoch") for report in run(wire(runs, 0, []))] == [1, 2, 3, None]
    (reported,) = run(replace(wire(runs, 0, []), directory=tmp_path / "elsewhere"))
    assert f"{tmp_path}/elsewhere" in reported["failure"]
    sent = wire(runs, 1, [])
    sent = replace(sent, config=json.dumps({**json.loads(sent.config), "initial_run": "/no/such/run"}))
    monkeypatch.setattr(socket, "gethostname", lambda: "worker-2")
    (reported,) = run(sent)
    assert reported["failure"].startswith("worker-2: ") and "/no/such/run" in reported["failure"]


def test_an_error_travels_with_its_traceback(tmp_path: Path, bucket: str) -> None:
    address = below(bucket, "error", "trials", "0000")
    sent = wire(tmp_path / "runs" / "tiny", 0, [address])
    with pytest.raises(Lost):
        run_trial(sent, lambda values: (_ for _ in ()).throw(Lost("cable")))
    Mirror(address, tmp_path / "kept").pull()
    assert "Lost: cable" in (tmp_path / "kept" / names.ERROR).read_text()


@pytest.mark.usefixtures("_own_temporary_folder")
def test_checkpoints_of_another_configuration_are_not_gone_on_from(tmp_path: Path, bucket: str) -> None:
    stores = [below(bucket, "other", "trials", "0000")]
    run(wire(tmp_path / "runs" / "tiny", 0, stores), die_after=2)
    other = wire(tmp_path / "runs" / "tiny", 0, stores, batch_size=2)
    assert [report.get("epoch") for report in run(other)] == [1, 2, 3, None]


def test_scratch_folders_of_killed_processes_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    killed, living = (
        tmp_path / "wsol-scratch-4194305-x",
        tmp_path / "wsol-scratch-1-x",
    )  # the first is beyond the highest process id
    for folder in (killed, living):
        folder.mkdir()
    with scratch() as here:
        assert here.exists() and not killed.exists() and living.exists()
        (here / "file").write_text("of one trial")
        with scratch() as other:
            assert other != here and not list(other.iterdir())
    assert not here.exists() and not other.exists()
