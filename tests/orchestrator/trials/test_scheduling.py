"""What is asked of Ray for a search, without starting it: bundles, kinds of GPUs, placement, and how much an autoscaler
should have ready."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import ray
import ray.autoscaler.sdk
from rich.console import Console

from orchestrator.cluster.autoscaler import MAXIMUM
from orchestrator.cluster.network import RaysNetwork, interface_with
from orchestrator.cluster.plan import Plan, plan_trials, request_room, totals_of_kind
from orchestrator.experiment.model import Experiment, ResourcesConfig
from orchestrator.runs.header import RunHeader
from orchestrator.study.begin import create_study
from orchestrator.trials.progress import SearchProgress
from orchestrator.trials.searcher import StudySearcher
from orchestrator.trials.worker import run_as_train_job
from tests.support.tiny import TINY
from wsol.errors import InputError

EPOCH = {"epoch": 1, "objective": 1.0, "objective_now": 1.0, "train_fullsup/max_box_acc_v2": 1.0}


def planned(available: dict[str, float], **resources: Any) -> Plan:
    return plan_trials(ResourcesConfig.model_validate(resources), 10, available)


def test_a_worker_asks_for_its_kind_of_gpu() -> None:
    mixed = {"CPU": 16.0, "GPU": 4.0}
    assert planned(mixed, cpus_per_worker=2).needs() == {"CPU": 2, "GPU": 1.0}
    assert planned(mixed, accelerator_type="T4").needs() == {"CPU": 1, "GPU": 1.0, "accelerator_type:T4": 0.001}
    assert planned({"CPU": 16.0}).needs() == {"CPU": 1}


def test_only_gpus_of_the_kind_count_and_an_absent_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def node(kind: str, gpus: float, alive: bool = True) -> dict[str, Any]:
        return {"Alive": alive, "Resources": {"CPU": 8.0, "GPU": gpus, f"accelerator_type:{kind}": 1.0}}

    monkeypatch.setattr(ray, "nodes", lambda: [node("T4", 4), node("A100", 2), node("A100", 8, alive=False)])
    totals = {"CPU": 16.0, "GPU": 6.0, "accelerator_type:T4": 1.0, "accelerator_type:A100": 1.0}
    assert totals_of_kind(ResourcesConfig(), totals) == totals
    assert totals_of_kind(ResourcesConfig(accelerator_type="A100"), totals)["GPU"] == 2.0
    with pytest.raises(InputError, match=r"'H100'; there are T4, A100"):
        totals_of_kind(ResourcesConfig(accelerator_type="H100"), totals)
    monkeypatch.setenv(MAXIMUM, '{"GPU": 64}')  # its autoscaler may start what is not there yet
    assert totals_of_kind(ResourcesConfig(accelerator_type="H100"), totals) == totals


def searcher(folder: Path, plan: Plan, trials: int) -> StudySearcher:
    experiment = Experiment.model_validate({**copy.deepcopy(TINY), "study": {"trials": trials, "sampler": "random"}})
    study = create_study(folder, experiment, RunHeader("tiny"))
    return StudySearcher(study, plan, SearchProgress(trials, 2, console=Console(quiet=True)), lambda: False)


def run_in_turn(of: StudySearcher, concurrent: int) -> None:
    """Trials that end one after the other, as many at a time as planned."""
    running: list[str] = []
    names = iter(range(100))
    while True:
        while len(running) < concurrent and isinstance(of.suggest(name := f"t{next(names)}"), dict):
            running.append(name)
        if not running:
            return
        of.on_trial_complete(running.pop(0), {"history": json.dumps([EPOCH]), "seconds": 1.0, "worker": "node:1"})


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> list[list[dict[str, float]]]:
    asked: list[list[dict[str, float]]] = []
    monkeypatch.setattr(ray.autoscaler.sdk, "request_resources", lambda bundles: asked.append(bundles))
    return asked


def test_a_cluster_grows_to_what_the_search_can_use_and_shrinks_at_its_tail(
    tmp_path: Path, wanted: list[list[dict[str, float]]]
) -> None:
    plan = Plan(1, 2, 1.0, 3, {})
    request_room(plan, 5)
    assert wanted == [[{"CPU": 2, "GPU": 1.0}] * 3], "no more than run at a time"
    run_in_turn(searcher(tmp_path, plan, 5), 3)
    assert [len(bundles) for bundles in wanted] == [3, 2, 1, 0]


def test_trials_of_several_workers_ask_for_themselves(tmp_path: Path, wanted: list[list[dict[str, float]]]) -> None:
    run_in_turn(searcher(tmp_path, Plan(2, 1, 0.0, 3, {}), 4), 3)
    assert wanted == []


@pytest.mark.parametrize("placement", ["pack", "spread", "strict_pack", "strict_spread"])
def test_workers_of_a_train_job_are_placed_as_asked(
    tmp_path: Path, placement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    class Trainer:
        def __init__(self, function: Any, **settings: Any) -> None:
            seen.update(settings)

        def fit(self) -> None: ...

    monkeypatch.setattr("ray.train.torch.TorchTrainer", Trainer)
    monkeypatch.setattr("ray.tune.integration.ray_train.TuneReportCallback", object)
    monkeypatch.setattr("ray.train.RunConfig", lambda **settings: settings)
    plan = planned({"CPU": 16.0, "GPU": 4.0}, workers=2, placement=placement, accelerator_type="T4")
    study = searcher(tmp_path, plan, 1)
    wire = study.suggest("t0")
    assert isinstance(wire, dict)
    run_as_train_job(wire)
    scaling = seen["scaling_config"]
    assert scaling.num_workers == 2 and scaling.placement_strategy == placement.upper() and scaling.use_gpu
    assert scaling.resources_per_worker == {"CPU": 1, "GPU": 1.0, "accelerator_type:T4": 0.001}
    assert seen["torch_config"].backend_cls is RaysNetwork and seen["torch_config"].backend == "nccl"


def test_the_interface_of_an_address() -> None:
    assert interface_with("127.0.0.1") == "lo"
    assert interface_with("203.0.113.7") is None
