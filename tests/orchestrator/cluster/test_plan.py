"""How many trials fit where, and what is said where something is scarce, without Ray."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster.autoscaler import MAXIMUM
from orchestrator.cluster.nodes import node_resources, shortage
from orchestrator.cluster.plan import plan_trials
from orchestrator.experiment.load import load_experiment
from orchestrator.experiment.model import ResourcesConfig
from wsol.errors import InputError


def test_what_is_scarce_is_said_in_numbers() -> None:
    waiting: list[list[dict[str, float]]] = [[{"CPU": 4, "GPU": 1}, {"CPU": 4, "GPU": 1}], [{"CPU": 4, "GPU": 1}]]
    line = shortage(waiting, {"CPU": 3.0}, {"CPU": 16.0, "GPU": 2.0, "memory": 1e9})
    assert line == "2 x 8 CPU, 2 GPU in 2 bundle(s) asked for; free: 3 of 16 CPU, 0 of 2 GPU"
    assert len(f"waits: {line}") <= 80


@pytest.mark.parametrize(
    ("wanted", "available", "nodes", "concurrent"),
    [
        ({"gpus_per_worker": 0.5}, {"CPU": 8, "GPU": 1}, [], 2),
        ({"gpus_per_worker": 0.1}, {"CPU": 99, "GPU": 1}, [], 10),
        ({"gpus_per_worker": 0.4}, {"CPU": 99, "GPU": 3}, [], 6),  # two on each; no worker lies on two GPUs
        ({"gpus_per_worker": 0.5, "cpus_per_worker": 4}, {"CPU": 8, "GPU": 4}, [], 2),
        ({}, {"CPU": 8, "GPU": 2}, [], 2),
        ({}, {"CPU": 8}, [], 8),
        ({"gpus_per_worker": 0.0}, {"CPU": 8, "GPU": 2}, [], 8),
        ({"cpus_per_worker": 3}, {"CPU": 8}, [{"CPU": 4}, {"CPU": 4}], 2),
        ({"cpus_per_worker": 3}, {"CPU": 9}, [{"CPU": 5}, {"CPU": 4}], 2),  # not three
        ({"workers": 2, "gpus_per_worker": 1.0}, {"CPU": 8, "GPU": 4}, [{"CPU": 6, "GPU": 3}, {"CPU": 2, "GPU": 1}], 2),
        ({"concurrent_trials": 3, "gpus_per_worker": 0.25}, {"CPU": 8, "GPU": 1}, [], 3),
    ],
    ids=str,
)
def test_how_many_trials_fit(
    wanted: dict[str, Any], available: dict[str, float], nodes: list[dict[str, float]], concurrent: int
) -> None:
    assert plan_trials(ResourcesConfig(**wanted), 100, available, nodes).concurrent == concurrent


@pytest.mark.parametrize(
    ("wanted", "available", "nodes", "said"),
    [
        ({"gpus_per_worker": 0.5}, {"CPU": 8}, [], "needs 0.5 GPU where there are 0"),
        (
            {"cpus_per_worker": 9, "gpus_per_worker": 4.0},
            {"CPU": 32, "GPU": 8},
            [{"CPU": 16, "GPU": 2}, {"CPU": 16, "GPU": 6, "memory": 1.0}][:1] * 2,
            "needs 4 GPU + 9 CPU on one node, and there is room for 0 on: 2 GPU + 16 CPU, 2 GPU + 16 CPU",
        ),
        (
            {"workers": 3, "cpus_per_worker": 3},
            {"CPU": 10},
            [{"CPU": 5}, {"CPU": 5}],
            "each of the 3 worker(s) .* room for 2 on",
        ),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_with_numbers(
    wanted: dict[str, Any], available: dict[str, float], nodes: list[dict[str, float]], said: str
) -> None:
    with pytest.raises(
        InputError, match=re.escape(said) if ".*" not in said else said.replace("(", r"\(").replace(")", r"\)")
    ):
        plan_trials(ResourcesConfig(**wanted), 100, available, nodes)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["resources.gpus_per_worker=1.5"], "should be a whole number above 1, got 1.5"),
        (
            ["resources.workers=2", "resources.gpus_per_worker=0.5"],
            "should be a whole number with several workers, got 0.5",
        ),
    ],
)
def test_parts_of_a_gpu_that_cannot_be_placed_are_refused(space_file: Path, words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"resources.gpus_per_worker: {said}")):
        load_experiment(space_file, words)
    assert load_experiment(space_file, ["resources.gpus_per_worker=0.5"]).experiment.resources.gpus_per_worker == 0.5
    assert (
        load_experiment(
            space_file, ["resources.workers=2", "resources.gpus_per_worker=2.0"]
        ).experiment.resources.workers
        == 2
    )


def test_nodes_of_a_cluster_that_may_grow_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MAXIMUM, '{"CPU": 32}')
    assert node_resources() == []
