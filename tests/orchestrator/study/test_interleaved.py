"""Several studies as one."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from orchestrator.experiment.model import Experiment
from orchestrator.runs.header import RunHeader
from orchestrator.study.begin import create_study
from orchestrator.study.interleaved import Interleaved
from orchestrator.study.study import Study
from orchestrator.study.task import Task
from tests.support.tiny import TINY
from wsol.checkpoint import Checkpoints


def studies(folder: Path, trials: dict[str, int], **rules: int) -> dict[str, Study]:
    found = {}
    for name, count in trials.items():
        study = {"trials": count, "sampler": "random", **rules}
        of = Experiment.model_validate({**copy.deepcopy(TINY), "study": study})
        found[name] = create_study(folder / name, of, RunHeader(name))
    return found


def end(queue: Interleaved, task: Task, value: float = 1.0) -> None:
    queue.complete(
        task.number, [{"epoch": 1, "objective_now": value, "train_fullsup/max_box_acc_v2": value}], 1.0, "here"
    )


def ask(queue: Interleaved) -> tuple[Task, str]:
    task = queue.ask()
    assert task is not None
    return task, "{}{}".format(*queue.place(task.number))


def test_all_studies_go_on_together(tmp_path: Path) -> None:
    queue = Interleaved(tmp_path, studies(tmp_path, {"a": 4, "b": 2}), lambda name: {})
    asked = [ask(queue) for _ in range(6)]
    assert [name for _, name in asked] == ["a0", "b0", "a1", "a2", "b1", "a3"]
    assert [task.number for task, _ in asked] == list(range(6)) and queue.ask() is None and not queue.is_waiting()
    assert asked[4][0].folder == tmp_path / "b" / "trials" / "0001"


def test_who_follows_waits_for_the_end_of_the_search_and_no_machine_waits_for_it(tmp_path: Path) -> None:
    followers = {"a": studies(tmp_path, {"a-s1": 1, "a-s2": 1}), "b": {}}
    queue = Interleaved(tmp_path, studies(tmp_path, {"a": 1, "b": 3}), followers.__getitem__, following=2)
    assert queue.planned == 8
    (first, _), (other, _) = ask(queue), ask(queue)
    end(queue, first)
    assert [ask(queue)[1] for _ in range(2)] == ["a-s10", "a-s20"]  # all is left of them
    end(queue, other)
    rest = [ask(queue), ask(queue)]
    assert queue.ask() is None and queue.is_waiting()  # two are promised behind b
    for task, _ in rest:
        end(queue, task)
    assert queue.ask() is None and not queue.is_waiting() and queue.unfinished() == 0


def test_a_study_whose_first_trials_fail_alike_goes_on_where_all_points_are_drawn(tmp_path: Path) -> None:
    made = studies(tmp_path, {"a": 5})
    made["a"].gives_up = False
    queue = Interleaved(tmp_path, made, lambda name: {})
    for _ in range(5):
        queue.fail(ask(queue)[0].number, "training diverged", 1.0, "here")
    assert queue.ask() is None and len(made["a"].trials()) == 5 and queue.stopped() is None


@pytest.mark.parametrize("restarts", [0, 1])
def test_a_trial_that_is_put_back_runs_once_and_who_follows_comes_after_its_end(tmp_path: Path, restarts: int) -> None:
    followers = {"a": studies(tmp_path, {"a-s1": 1}), "b": {}}
    queue = Interleaved(
        tmp_path, studies(tmp_path, {"a": 1, "b": 1}, max_failures=restarts), followers.__getitem__, following=1
    )
    (first, name), _ = ask(queue), ask(queue)
    assert name == "a0" and queue.unfinished() == 2
    for _ in range(restarts):
        assert queue.put_back(first.number) and queue.unfinished() == 3
        again, name = ask(queue)
        assert name == "a0" and again.config == first.config and queue.unfinished() == 2
        first = again
    assert not queue.put_back(first.number) and queue.unfinished() == 2
    assert queue.ask() is queue.ask() is None and queue.is_waiting()  # nobody follows while it runs
    queue.fail(first.number, "its process died", 1.0, "here")
    assert ask(queue)[1] == "a-s10"


def test_checkpoints_that_cannot_win_any_more_go_at_once(tmp_path: Path) -> None:
    made = studies(tmp_path, {"a": 4, "b": 1}, keep_checkpoints=1)
    queue = Interleaved(tmp_path, made, lambda name: {})
    tasks = {name: task for task, name in (ask(queue) for _ in range(5))}
    for task in tasks.values():
        record = {"epoch": 1.0, "objective_now": 1.0, "objective": 1.0}
        Checkpoints(task.folder, task.config).save({"method": {"w": torch.zeros(1)}}, record, best=True)

    def left() -> list[str]:
        return [name for name, task in sorted(tasks.items()) if Checkpoints(task.folder).best]

    end(queue, tasks["a1"], 5.0)
    assert left() == ["a0", "a1", "a2", "a3", "b0"]
    end(queue, tasks["a0"], 4.0)
    assert left() == ["a1", "a2", "a3", "b0"]
    end(queue, tasks["a2"], 6.0)
    queue.fail(tasks["a3"].number, "no", 1.0, "here")
    assert left() == ["a2", "a3", "b0"]


def test_the_largest_share_that_is_left_is_asked_next_not_the_largest_number(tmp_path: Path) -> None:
    queue = Interleaved(tmp_path, studies(tmp_path, {"a": 6, "b": 2}), lambda name: {})
    asked = [ask(queue)[1] for _ in range(8)]
    assert [asked.index(f"b{number}") for number in range(2)] == [1, 5]
