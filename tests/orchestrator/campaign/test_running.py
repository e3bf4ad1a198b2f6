"""A campaign without Ray: it goes on from wherever it was stopped, and nothing is done twice."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.campaign import running
from orchestrator.runs.journal import open_study
from orchestrator.study.study import Study
from orchestrator.study.task import Task
from tests.support.campaigns import FILE, Machines, states, write
from tests.support.tiny import Launch
from wsol import training
from wsol.errors import Diverged

NARROW = ("cam-narrow", "has-narrow")


def status(launch: Launch) -> tuple[list[str], dict[str, list[str]]]:
    """The lines of `status`, and the words of each cell's."""
    lines = launch("status", "runs/all")[1].splitlines()
    assert max(map(len, lines)) <= 80
    return lines, {words[0]: words[1:] for line in lines if (words := line.split()) and words[0] in NARROW}


def test_a_campaign_from_start_to_leaderboard_stopped_twice(
    campaign_file: Path, launch: Launch, machines: Machines
) -> None:
    write(campaign_file, reruns={"top": 2, "seeds": [1, 2]}, trials=2)
    words = ["protocol", "all.yaml", "backbones={narrow: {}}"]
    machines.budget = 1
    code, out, _ = launch(*words)
    assert code == 130 and "continue with: python launch.py resume runs/all" in out and "forecast" in out
    assert states(Path("runs/all/cam-narrow")) == ["COMPLETE"] and states(Path("runs/all/has-narrow")) == ["RUNNING"]
    said, cells = status(launch)
    assert said[0] == "runs/all: interrupted; 1 of 12 trials, 0 of 2 cells tested"
    assert [cells[name][:2] for name in NARROW] == [["interrupted", "1/2"], ["interrupted", "0/2"]]
    assert "nothing runs; go on with: python launch.py resume runs/all" in said
    machines.budget = 6
    assert launch("resume", "runs/all", "resources.concurrent_trials=1")[0] == 130
    machines.budget = 1000
    code, out, _ = launch(*words)
    assert code == 0, out
    assert max(map(len, out.splitlines())) <= 80
    require_each_was_trained_once(machines)
    for cell in NARROW:
        require_winner_is_tested_with_all_seeds(cell)
    said, cells = status(launch)
    assert said[0] == "runs/all: finished; 12 of 12 trials, 2 of 2 cells tested"
    assert not any("go on with" in line for line in said)
    assert [(cells[name][1], cells[name][3]) for name in NARROW] == [("2/2", "4/4")] * 2
    board, measured = Path("runs/all/leaderboard.md").read_text(), list(machines.measured)
    assert "2 of 2 cells are tested" in board and "(2 seeds: " in board
    assert "<table>" in Path("runs/all/leaderboard.html").read_text()
    assert launch(*words)[0] == 0 and machines.measured == measured  # nothing is repeated
    assert Path("runs/all/leaderboard.md").read_text() == board
    assert json.loads(Path("runs/all/campaign.json").read_text())["ended"]
    require_cells_are_ordinary_runs(launch)


def require_each_was_trained_once(machines: Machines) -> None:
    searches = [f"{cell} {number}" for cell in NARROW for number in (0, 1)]
    seeds = [f"{cell}-t{number}-s{seed}" for cell in NARROW for number in (0, 1) for seed in (1, 2)]
    assert sorted(path.name for path in Path("runs/all").glob("*/seeds/*")) == sorted(seeds)
    assert sorted(machines.trained) == sorted([*searches, *(f"{name} 0" for name in seeds)])


def require_winner_is_tested_with_all_seeds(cell: str) -> None:
    folder = Path("runs/all") / cell
    assert states(folder) == ["COMPLETE"] * 2
    means = {
        number: statistics.fmean(open_study(path).trials[0].value for path in folder.glob(f"seeds/*-t{number}-s*"))
        for number in (0, 1)
    }
    found = [trial.value for trial in open_study(folder).trials]
    best = max(means, key=lambda number: (means[number], found[number]))
    tests = list(folder.rglob("test.json"))
    assert {path.parent.name for path in tests} == {f"{cell}-t{best}-s{seed}" for seed in (1, 2)}
    assert all(len(json.loads(path.read_text())["evaluations"]) == 1 for path in tests)


def require_cells_are_ordinary_runs(launch: Launch) -> None:
    code, _, err = launch("report", "runs/all")
    assert code == 2 and "holds a campaign; give one of its runs, such as runs/all/cam-narrow" in err
    assert launch("compare", "runs/all/cam-narrow", "runs/all/has-narrow", "--split", "train_fullsup")[0] == 0
    seed = min(Path("runs/all/cam-narrow/seeds").iterdir())
    assert launch("resume", str(seed))[0] == 0


def test_killed_between_two_tests_each_winner_is_tested_once(
    campaign_file: Path, launch: Launch, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["protocol", "all.yaml", "trials=1", "backbones={narrow: {}}"]
    finish, calls = running.finish_search, []

    def killed_at_the_second(study: Study, *arguments: Any, **named: Any) -> Any:
        calls.append(study.folder.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return finish(study, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(running, "finish_search", killed_at_the_second)
        assert launch(*words)[0] != 0
    code, out, _ = launch(*words)
    assert code == 0, out
    assert (
        sorted(machines.measured).count(("cam-narrow", "test"))
        == sorted(machines.measured).count(("has-narrow", "test"))
        == 1
    )
    assert sorted(machines.trained) == ["cam-narrow 0", "has-narrow 0"]


def test_a_cell_without_a_winner_ends_alone(campaign_file: Path, launch: Launch, machines: Machines) -> None:
    def only_cam(task: Task) -> list[dict[str, float]]:
        if task.config.method.name == "has":
            raise Diverged("training diverged")
        return training.train(task.config, task.folder, task.objective)

    machines.train = only_cam
    methods = {
        **FILE["methods"],
        "crop": {"file": "tiny.yaml", "after": "has", "set": {"method": {"name": "crop_cam"}}},
    }
    write(campaign_file, methods=methods, backbones={"narrow": {}}, trials=4)
    code, _, err = launch("protocol", "all.yaml")
    assert code == 1
    assert (
        "has-narrow: no trial succeeded" in err
        and "crop-narrow: starts from the winner of has-narrow, and there is none" in err
    )
    assert (
        states(Path("runs/all/has-narrow")) == ["FAIL"] * 4 and states(Path("runs/all/cam-narrow")) == ["COMPLETE"] * 4
    )
    board = Path("runs/all/leaderboard.md").read_text()
    assert "1 of 3 cells are tested" in board and "has-narrow: no trial succeeded" in board
    assert json.loads(Path("runs/all/campaign.json").read_text())["ended"] is None


def test_a_later_stage_starts_from_the_winner(campaign_file: Path, launch: Launch, machines: Machines) -> None:
    methods = {
        "cam": FILE["methods"]["cam"],
        "crop": {"file": "tiny.yaml", "after": "cam", "set": {"method": {"name": "crop_cam"}}},
    }
    write(campaign_file, methods=methods, backbones={"narrow": {}}, trials=1)
    code, _, err = launch("protocol", "all.yaml")
    assert code == 0, err
    assert machines.trained == ["cam-narrow 0", "crop-narrow 0"]
    assert machines.measured.index(("cam-narrow", "test")) < machines.measured.index(("crop-narrow", "train_fullsup"))
    config = yaml.safe_load(Path("runs/all/crop-narrow/best/config.yaml").read_text())
    assert config["initial_run"] == "runs/all/cam-narrow" and config["training"]["checkpoint"] == "last"


def test_all_points_are_drawn_unless_published_ones_are_wanted(
    campaign_file: Path, launch: Launch, machines: Machines
) -> None:
    words = ["protocol", "all.yaml", "backbones={narrow: {}}", "trials=1", "methods={cam: {file: tiny.yaml}}"]
    assert launch(*words)[0] == 0 and launch(*words, "published_points=true", "--run", "runs/published")[0] == 0
    rates = {
        folder: open_study(Path(f"runs/{folder}/cam-narrow")).trials[0].params["optim.lr"]
        for folder in ("all", "published")
    }
    assert rates["published"] == 0.01 != rates["all"]


def test_a_short_training_list_is_told_in_every_result(campaign_file: Path, launch: Launch, machines: Machines) -> None:
    words = [
        "trials=1",
        "backbones={narrow: {}}",
        "methods={cam: {file: tiny.yaml}}",
        "data.subset_per_class=2",
        "data.subset_list=short.txt",
    ]
    assert launch("protocol", "all.yaml", *words)[0] == 0
    told = "2 images of each class, drawn with seed 0; there is no data"
    tree = next(Path("data").glob("synthetic-*")) / "metadata" / "train"
    (tree / "short.txt").write_text("\n".join((tree / "image_ids.txt").read_text().splitlines()[:5]))
    whole = "reruns={top: 1, seeds: [0], set: {data.subset_per_class: null, data.subset_list: null}}"
    assert launch("protocol", "all.yaml", *words, whole, "--run", "runs/list")[0] == 0
    results = {
        path.parent.parent.name: json.loads(path.read_text())["training_images"]
        for path in Path("runs").rglob("result.json")
    }
    assert results["cam-narrow-t0-s0"] == "all"
    drawn = json.loads(Path("runs/all/cam-narrow/best/result.json").read_text())["training_images"]
    assert drawn.startswith(told) and drawn in Path("runs/all/leaderboard.md").read_text().replace("\n", " ")
    assert drawn in Path("runs/all/cam-narrow/report.html").read_text()
    assert (
        json.loads(Path("runs/list/cam-narrow/best/result.json").read_text())["training_images"]
        == "the images of short.txt"
    )
    assert json.loads(Path("runs/all/cam-narrow/test.json").read_text())["evaluations"][0]["training_images"] == drawn
    (tree / "short.txt").write_text("nobody.png\n")
    code, _, err = launch("train", "tiny.yaml", "data.subset_list=short.txt")
    assert code == 2 and "short.txt:1: 'nobody.png' is not among the 16 images of train_weaksup" in err
