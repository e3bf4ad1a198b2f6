"""The scheduler `race`: decisions on hits that were made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.experiment.load import load_experiment
from orchestrator.experiment.model import Experiment
from orchestrator.runs.by_image import ImageNumbers, Numbers, pack, unpack
from orchestrator.study.interleaved import Interleaved
from orchestrator.study.race import chance, largest_change
from orchestrator.study.study import Study
from orchestrator.study.task import Task
from orchestrator.trials.wire import Assignment, EpochReport
from orchestrator.trials.worker import run_trial
from tests.support.studies import EPOCHS, create, experiment
from tests.support.tiny import OBJECTIVE
from wsol.errors import InputError

IMAGES = 300


def race(trials: int = 4, **study: Any) -> Experiment:
    return experiment(study={"trials": trials, "sampler": "random", "scheduler": "race", **study})


def hits(percent: float, seed: int = 0, images: int = IMAGES) -> Numbers:
    """Three bits for each image, with about so many percent right."""
    bits = np.random.default_rng(seed).random((images, 3)) < percent / 100
    return (100 * bits.mean(1)).astype(np.float32)


def epochs(study: Study, task: Task, numbers: list[Numbers]) -> int:
    """Report epochs, then end the trial; returns after how many it was stopped, 0 if it was not."""
    history: list[dict[str, float]] = []
    for epoch, one in enumerate(numbers, start=1):
        value = float(one.mean())
        history.append({"epoch": float(epoch), "objective_now": value, OBJECTIVE: value})
        if study.report(task.number, history[-1], pack(one)):
            study.prune(task.number, 1.0, "here")
            return epoch
    study.complete(task.number, history, 1.0, "here")
    return 0


def begin(study: Study) -> Task:
    task = study.ask()
    assert task is not None
    return task


def steady(percent: float, seed: int = 0) -> list[Numbers]:
    return [hits(percent, seed)] * EPOCHS


def test_a_trial_that_is_surely_worse_is_stopped_as_soon_as_it_may_be(tmp_path: Path) -> None:
    study = create(tmp_path, race(grace_epochs=3))
    assert epochs(study, begin(study), steady(20)) == 0  # no one to compare with
    assert epochs(study, begin(study), steady(60)) == 0
    assert epochs(study, begin(study), steady(40)) == 3  # better than the first, worse than the leader
    assert [trial.state.name for trial in study.trials()] == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert json.loads((tmp_path / "study.json").read_text())["scheduler_arguments"] == {
        "grace_epochs": 3,
        "risk": 0.05,
        "looks": EPOCHS - 3,
    }


def test_a_difference_that_a_few_images_made_stops_nothing(tmp_path: Path) -> None:
    """Ten points of twenty images: as easily the luck of two of them."""
    study = create(tmp_path, race())
    few = [np.array([100.0] * right + [0.0] * (20 - right), np.float32) for right in (12, 10)]
    assert [epochs(study, begin(study), [one] * EPOCHS) for one in few] == [0, 0]


def test_the_same_images_decide_a_difference_that_would_drown_in_their_variety(tmp_path: Path) -> None:
    """Six points behind, all on images of which the leader hits all that this one hits: unpaired, the standard error of
    the difference is 2.5 points."""
    study = create(tmp_path, race())
    leader = hits(60)
    worse = leader.copy()
    worse[np.flatnonzero(leader > 50)[:30]] -= 60
    assert 5.5 < leader.mean() - worse.mean() < 6.5
    assert epochs(study, begin(study), [leader] * EPOCHS) == 0
    assert epochs(study, begin(study), [worse] * EPOCHS) == 1
    assert chance(leader - worse) < 0.05 / (EPOCHS - 1) < chance(hits(60, 1) - hits(57, 2))


def test_nobody_is_stopped_while_the_leader_itself_still_changed_by_as_much(tmp_path: Path) -> None:
    """The leader rose from 20 to 60, the other is twenty points behind all the way and could rise as well: until the
    leader's later epochs changed less than that."""
    rise = [20, 30, 40, 45, 50, 55, 58, 60, 60]
    study = create(tmp_path, race())
    assert epochs(study, begin(study), [hits(percent, 1) for percent in rise]) == 0
    stopped = epochs(study, begin(study), [hits(max(percent - 20, 2), 2) for percent in rise])
    curve = study.trials()[0].intermediate_values
    behind = {epoch: curve[epoch] - value for epoch, value in study.trials()[1].intermediate_values.items()}
    assert stopped == next(epoch for epoch in behind if behind[epoch] > largest_change(curve, epoch))
    assert 1 < stopped < EPOCHS


def test_nobody_is_stopped_behind_a_leader_that_was_early_if_another_rose_late(tmp_path: Path) -> None:
    """A leader that has been at 60 from the start says nothing of those that are slow; one that rose from 20 to 50 has
    shown what a later epoch can do."""
    late = [hits(20, 1)] * (EPOCHS - 2) + [hits(50, 1)] * 2
    for others, stopped in (([], 1), ([late], EPOCHS - 1)):
        study = create(tmp_path / str(len(others)), race())
        for curve in (*others, steady(60)):
            assert epochs(study, begin(study), curve) == 0
        assert epochs(study, begin(study), steady(35, 2)) == stopped


def test_a_fall_of_the_leader_is_a_change_too() -> None:
    assert largest_change({1: 50.0, 2: 60.0, 3: 42.0, 4: 55.0}, 1) == 10.0
    assert largest_change({1: 50.0, 2: 60.0, 3: 42.0, 4: 55.0}, 2) == 18.0
    assert largest_change({1: 50.0}, 1) == float("inf")


def test_trials_that_are_as_good_as_the_leader_are_stopped_with_no_more_than_the_risk(tmp_path: Path) -> None:
    """Four hundred pairs of equal trials, new images of the same kind for each of eight epochs, which is harder than
    the same ones: the leader does not change, so that only the images decide."""
    random, looks, stopped = np.random.default_rng(0), 8, 0
    for _ in range(400):
        pairs = (hits(50, int(seed)) for seed in random.integers(0, 2**31, 2 * looks))
        stopped += any(chance(next(pairs) - next(pairs)) < 0.05 / looks for _ in range(looks))
    assert stopped / 400 <= 0.05


def test_the_bound_is_above_the_exact_probability() -> None:
    """Ten images on which one is ahead, of ten that differ: exactly 2^-10 by the sign test."""
    assert 2**-10 < chance(np.array([100.0] * 10 + [0.0] * 90, np.float32)) < 0.01
    assert chance(np.array([100.0, -100.0], np.float32)) == 1.0 == chance(np.array([-1.0], np.float32))


def run(study: Study, limit: int = 1000, cut: int | None = None) -> None:
    """Trials one after the other, whose hits depend on their learning rate; `cut` ends the last one after so many
    epochs, as a crash would."""
    done = 0
    while done < limit and (task := study.ask()) is not None:
        done += 1
        percent = 70 - 600 * abs(task.config.optim.lr - 0.02)
        numbers = [hits(max(percent, 5) - 10 / epoch, task.number) for epoch in range(1, EPOCHS + 1)]
        if done == limit and cut is not None:
            history = {"epoch": 1.0, "objective_now": float(numbers[0].mean())}
            if study.report(task.number, history, pack(numbers[0])):
                study.prune(task.number, 1.0, "here")
            return
        epochs(study, task, numbers)


def outcomes(study: Study) -> list[tuple[str, int]]:
    return [(trial.state.name, len(trial.intermediate_values)) for trial in study.trials()]


def test_a_study_that_was_cut_off_decides_like_a_whole_one(tmp_path: Path) -> None:
    of = race(8)
    whole, study = create(tmp_path / "whole", of), create(tmp_path / "cut", of)
    run(whole)
    for trials in (1, 3, 2):
        run(study, limit=trials, cut=1)
        study.close()
        with (tmp_path / "cut" / "study.images").open("a") as file:
            file.write('[7, 1, "eJz')  # the power failed
        study = Study(tmp_path / "cut", of)
    run(study)
    assert outcomes(study) == outcomes(whole)
    assert {"COMPLETE", "PRUNED"} == {state for state, _ in outcomes(whole)}


def test_trials_at_the_same_time_are_compared_with_who_has_ended(tmp_path: Path) -> None:
    study = create(tmp_path, race())
    first, second, third = begin(study), begin(study), begin(study)
    history = {"epoch": 1.0, "objective_now": float(hits(5).mean()), OBJECTIVE: 5.0}
    assert not study.report(second.number, history, pack(hits(5)))  # whoever leads has not ended
    assert epochs(study, first, steady(60)) == 0
    assert study.report(second.number, {**history, "epoch": 2.0}, pack(hits(5)))
    assert not study.report(third.number, {**history, "epoch": 1.0, "objective_now": 60.5}, pack(hits(60, 3)))


def test_each_cell_of_a_campaign_has_its_own_leader(tmp_path: Path) -> None:
    cells = {name: create(tmp_path / name, race(2)) for name in "ab"}
    queue = Interleaved(tmp_path, cells, lambda name: {})
    tasks = [queue.ask() for _ in range(4)]
    numbers = {0: 60, 1: 20, 2: 15, 3: 19}  # a, b, and the second trials of both in the order of the shares left
    for task in tasks[:2]:
        assert task is not None
        history = []
        for epoch in range(1, EPOCHS + 1):
            one = hits(numbers[task.number])
            history.append({"epoch": float(epoch), "objective_now": float(one.mean()), OBJECTIVE: float(one.mean())})
            queue.report(task.number, history[-1], pack(one))
        queue.complete(task.number, history, 1.0, "here")
    said = {}
    for task in tasks[2:]:
        assert task is not None
        one = hits(18, 5)
        record = {"epoch": 1.0, "objective_now": float(one.mean()), OBJECTIVE: float(one.mean())}
        said[queue.place(task.number)[0]] = queue.report(task.number, record, pack(one))
    assert said == {"a": True, "b": False}


def test_pooled_pixels_race_as_well(tmp_path: Path) -> None:
    """Numbers of a mask metric are any numbers, below 0 and above 100 too."""
    of = race()
    study, random = create(tmp_path, of), np.random.default_rng(0)
    variety, noise = 40 * random.standard_normal(IMAGES), 5 * random.standard_normal((2, IMAGES))
    numbers = [(50 + variety + noise[index] - 8 * index).astype(np.float32) for index in range(2)]
    assert [epochs(study, begin(study), [one] * EPOCHS) for one in numbers] == [0, 1]
    assert numbers[0].min() < 0 and numbers[0].max() > 100


@pytest.mark.parametrize("lost", ["file", "length", "epoch"])
def test_without_numbers_of_the_same_images_nothing_is_stopped(tmp_path: Path, lost: str) -> None:
    study = create(tmp_path, race())
    epochs(study, begin(study), steady(60))
    study.close()
    if lost == "file":
        (tmp_path / "study.images").unlink()
    study = Study(tmp_path, race())
    task = begin(study)
    images = "" if lost == "epoch" else pack(hits(5, images=IMAGES - (lost == "length")))
    assert not study.report(task.number, {"epoch": 1.0, "objective_now": 5.0, OBJECTIVE: 5.0}, images)


def test_the_file_keeps_the_first_numbers_of_an_epoch_and_is_small(tmp_path: Path) -> None:
    numbers = ImageNumbers(tmp_path)
    numbers.add(3, 1, pack(hits(50)))
    numbers.add(3, 1, pack(hits(10)))
    found = ImageNumbers(tmp_path).of(3, 1)
    assert found is not None and found.tolist() == hits(50).tolist()
    assert ImageNumbers(tmp_path).of(3, 2) is None is ImageNumbers(tmp_path).of(4, 1)
    assert (tmp_path / "study.images").stat().st_size < 8 * IMAGES / 8 + 100  # less than a byte an image
    assert unpack(pack([])).tolist() == []


def test_what_a_crash_cut_off_takes_nothing_else_along(tmp_path: Path) -> None:
    ImageNumbers(tmp_path).add(0, 1, pack(hits(50)))
    with (tmp_path / "study.images").open("a") as file:
        file.write('[0, 2, "eJz')
    ImageNumbers(tmp_path).add(0, 3, pack(hits(40)))
    found = ImageNumbers(tmp_path)
    assert [found.of(0, epoch) is not None for epoch in (1, 2, 3)] == [True, False, True]


def test_a_process_sends_what_each_image_adds(space_file: Path) -> None:
    of = load_experiment(space_file, ["study.scheduler=race"]).experiment
    task = begin(create(Path("run"), of))
    sent: list[Any] = []
    plan: Any = type("Plan", (), {"workers": 1, "placement": "pack", "needs": lambda self: {}})()
    run_trial(Assignment.of_task(task, plan), sent.append)
    reports = [one for one in sent if isinstance(one, EpochReport)]
    assert len(reports) == 2
    for report in reports:
        numbers = unpack(report.images)
        assert numbers.mean() == pytest.approx(report.record["objective_now"], abs=1e-4) and len(numbers) == 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["study.risk=0.1"], "study.risk: is of scheduler race, and this one is none: leave it out"),
        (["study.scheduler=race", "study.risk=0.7"], "study.risk: should be less than 0.5"),
        (
            [
                "study.scheduler=race",
                "evaluation.metrics=[{name: max_box_acc_by_size}]",
                "study.objective=train_fullsup/max_box_acc_by_size",
            ],
            "study.scheduler: race compares single images, for which max_box_acc_by_size has no numbers",
        ),
        (
            ["study.scheduler=race", "study.post_hoc=every_trial", "post_hoc={evaluation.normalizer.name: [max]}"],
            "study.scheduler: race compares single images under one setting, and every_trial chooses another",
        ),
        (
            ["study.scheduler=race", "training.epochs=2", "study.grace_epochs=2"],
            "study.scheduler: no trial may be stopped before epoch 2",
        ),
    ],
)
def test_what_cannot_race_is_refused(space_file: Path, words: list[str], said: str) -> None:
    with pytest.raises(InputError) as error:
        load_experiment(space_file, words)
    assert said in str(error.value)
