"""`study.loggers`: what MLflow and Weights & Biases are told of a trial. Modules of our own stand in for both
packages."""

from __future__ import annotations

import importlib
import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from orchestrator.cluster.plan import Plan
from orchestrator.trials.loggers import logged_metrics, make_loggers
from orchestrator.trials.wire import Assignment, TrialFailed, encode
from tests.support.studies import create, experiment
from tests.support.tiny import Launch

RECORD = {
    "epoch": 2.0,
    "objective": 61.0,
    "objective_now": 60.0,
    "train/loss": 0.5,
    "train_fullsup/max_box_acc_v2": 60.0,
    "seconds": 3.0,
}
FROM_TUNE = {
    "training_iteration": 5,
    "time_total_s": 9.0,
    "pid": 7,
    "done": False,
    "config": {"number": 1},
    "worker": "here:7",
}
OUTCOME = {"history": "[]", "seconds": 6.0, "worker": "here:7", "training_iteration": 6}


def module(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> ModuleType:
    """A module that can be imported under a name."""
    made = ModuleType(name)
    made.__spec__ = ModuleSpec(name, None)
    made.__dict__.update(content)
    monkeypatch.setitem(sys.modules, name, made)
    return made


class Client:
    """In place of MLflow's: keeps what it is given."""

    entries: list[tuple[Any, ...]] = []

    def __init__(self, **where: Any) -> None:
        pass

    def create_run(self, **run: Any) -> SimpleNamespace:
        self.entries.append(("run", run["experiment_id"]))
        return SimpleNamespace(info=SimpleNamespace(run_id="a"))

    def log_param(self, run_id: str, key: str, value: Any) -> None:
        self.entries.append(("param", key, value))

    def log_metric(self, run_id: str, key: str, value: float, step: int) -> None:
        self.entries.append(("metric", key, value, step))

    def set_terminated(self, run_id: str, status: str) -> None:
        self.entries.append(("end", status))


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    """A stand-in for MLflow without a server."""
    nothing = {
        name: lambda *_, **__: None
        for name in ("set_tracking_uri", "set_registry_uri", "get_tracking_uri", "get_registry_uri", "active_run")
    }
    experiments = {
        "get_experiment_by_name": lambda name: None,
        "create_experiment": lambda name, **_: f"experiment {name}",
        "get_run": lambda **_: "run",
    }
    module(monkeypatch, "mlflow", __version__="3.0.0", **nothing, **experiments)
    module(monkeypatch, "mlflow.tracking", MlflowClient=Client)
    module(monkeypatch, "mlflow.exceptions", MlflowException=RuntimeError)
    module(monkeypatch, "mlflow.utils")
    module(monkeypatch, "mlflow.utils.mlflow_tags", MLFLOW_RUN_NAME="name")
    monkeypatch.setattr(Client, "entries", [])
    return Client


@pytest.fixture
def trial(tmp_path: Path) -> SimpleNamespace:
    """What Tune hands to a callback, with a task of a real study."""
    study = create(tmp_path / "tiny", experiment())
    task = study.ask()
    assert task is not None
    return SimpleNamespace(
        config=Assignment.of_task(task, Plan(1, 1, 0.0, 1, {})).to_plain(),
        trial_id="t",
        experiment_dir_name="d",
        local_path=str(tmp_path),
        last_result={},
    )


class Trial(SimpleNamespace):
    """A namespace that can be a key."""

    __hash__ = object.__hash__


def test_mlflow_is_told_the_configuration_and_every_epoch(mlflow: type[Client], trial: SimpleNamespace) -> None:
    own = Trial(**vars(trial))
    (logger,) = make_loggers(["mlflow"], "crop_cub")
    logger.setup()
    logger.log_trial_start(own)
    logger.log_trial_result(5, own, {**FROM_TUNE, **RECORD})
    logger.log_trial_result(6, own, OUTCOME)
    logger.log_trial_end(own)
    assert mlflow.entries[0] == ("run", "experiment crop_cub") and mlflow.entries[-1] == ("end", "FINISHED")
    parameters = {entry[1]: entry[2] for entry in mlflow.entries if entry[0] == "param"}
    assert (
        parameters["trial"] == 0
        and parameters["method.name"] == "cam"
        and parameters["optim.lr"] > 0
        and parameters["evaluation.metrics.0.name"] == "max_box_acc_v2"
    )
    assert "folder" not in parameters and own.config["folder"]
    values = {entry[1]: entry[2:] for entry in mlflow.entries if entry[0] == "metric"}
    assert values.pop("training_iteration") == (2, 2) and values == {name: (value, 2) for name, value in RECORD.items()}


def test_mlflow_can_keep_every_metric_as_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trial: SimpleNamespace
) -> None:
    """Its own store has a file for each metric: `train/loss` cannot be one and a folder with others."""
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    own = Trial(**vars(trial))
    (logger,) = make_loggers(["mlflow"], "crop_cub")
    logger.setup()
    logger.log_trial_start(own)
    terms = {"train/loss/classification": 0.25, "train/loss/deeper/term": 0.125}
    logger.log_trial_result(5, own, {**FROM_TUNE, **RECORD, **terms})
    logger.log_trial_end(own)
    client = MlflowClient((tmp_path / "mlruns").as_uri())
    (experiment,) = (found for found in client.search_experiments() if found.name == "crop_cub")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and run.data.params["method.name"] == "cam"
    renamed = {f"{name}/value" if name == "train/loss" else name: value for name, value in RECORD.items()}
    assert run.data.metrics == {**renamed, **terms, "training_iteration": 2}


def test_a_trial_that_reported_a_failure_has_failed(mlflow: type[Client], trial: SimpleNamespace) -> None:
    own = Trial(**{**vars(trial), "last_result": encode(TrialFailed("diverged", 1.0, "here:7"))})
    (logger,) = make_loggers(["mlflow"], "crop_cub")
    logger.setup()
    logger.log_trial_start(own)
    logger.log_trial_end(own)
    assert mlflow.entries[-1] == ("end", "FAILED")


def test_weights_and_biases_are_told_the_same(monkeypatch: pytest.MonkeyPatch, trial: SimpleNamespace) -> None:
    integration = importlib.import_module("ray.air.integrations.wandb")
    kinds = {name: type(name, (), {}) for name in ("WBValue", "Image", "Video")}
    for name, stand_in in {"wandb": ModuleType("wandb"), "json_dumps_safer": json.dumps, **kinds}.items():
        monkeypatch.setattr(integration, name, stand_in, raising=False)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    (logger,) = make_loggers(["wandb"], "crop_cub")
    begun: list[dict[str, Any]] = []
    monkeypatch.setattr(logger, "_start_logging_actor", lambda trial, excluded, **run: begun.append(run))
    own, sent = Trial(**vars(trial)), list[Any]()
    logger.log_trial_start(own)
    assert (begun[0]["project"], begun[0]["group"], begun[0]["config"]["method.name"]) == (
        "wsol-search",
        "crop_cub",
        "cam",
    )
    logger._trial_logging_actors[own], logger._trial_queues[own] = None, SimpleNamespace(put=sent.append)
    logger.log_trial_result(5, own, {**FROM_TUNE, **RECORD})
    logger.log_trial_result(6, own, OUTCOME)
    assert [content for _, content in sent] == [logged_metrics(RECORD)]


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_package_is_said_before_anything_starts(
    space_file: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda package, real=importlib.util.find_spec: None if package == name else real(package),
    )
    code, _, err = launch("search", str(space_file), f"study.loggers=[{name}]")
    assert (
        code == 2
        and f"study.loggers: {name} cannot be imported; install with: pip install {name}" in err
        and not Path("runs").exists()
    )


def test_other_names_are_refused(space_file: Path, launch: Launch) -> None:
    code, _, err = launch("search", str(space_file), "study.loggers=[comet]")
    assert code == 2 and "command line: study.loggers.0: should be 'mlflow' or 'wandb', got 'comet'" in err
