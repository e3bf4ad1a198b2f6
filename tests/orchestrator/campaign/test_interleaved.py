"""Several studies as one."""

from __future__ import annotations

import copy
from pathlib import Path

from orchestrator.campaign.interleaved import Interleaved
from orchestrator.experiment.model import Experiment
from orchestrator.runs.header import RunHeader
from orchestrator.study.begin import create_study
from orchestrator.study.study import Study
from orchestrator.study.task import Task
from tests.support.tiny import TINY


def studies(folder: Path, trials: dict[str, int]) -> dict[str, Study]:
    found = {}
    for name, count in trials.items():
        of = Experiment.model_validate({**copy.deepcopy(TINY), "study": {"trials": count, "sampler": "random"}})
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
