"""A search whose best trials are trained again with other seeds (`study.confirm`), without Ray."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from orchestrator.runs.folder import open_experiment
from orchestrator.runs.journal import open_study
from orchestrator.runs.result import read_result
from orchestrator.study.task import Task
from orchestrator.winner.measure import Measured, MeasureRequest
from tests.support.campaigns import Machines, states
from tests.support.report_pages import page_of
from tests.support.tiny import OBJECTIVE, Launch
from wsol.checkpoint import Checkpoints

WORDS = ["search", "tiny.yaml", "training.epochs=1", "study.trials=4", "study.confirm={top: 2, seeds: [1, 2]}"]
RUN = Path("runs/tiny")


@pytest.fixture
def machines(space_file: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    @contextmanager
    def connected(address: str | None, packages: Sequence[str]) -> Iterator[dict[str, float]]:
        yield {"CPU": 1.0, "GPU": 0.0}

    here = Machines()
    here.train = play
    monkeypatch.setattr("orchestrator.trials.tuner.run_trials", here.run_trials)
    monkeypatch.setattr("orchestrator.cluster.plan.node_resources", lambda kind=None: [{"CPU": 1.0}])
    for verb in ("search", "resume"):
        monkeypatch.setattr(f"orchestrator.verbs.{verb}.connected", connected)
        monkeypatch.setattr(f"orchestrator.verbs.{verb}.measure_on_nodes", lambda study, plan: measured)
    monkeypatch.setattr("orchestrator.verbs.resume.measure", measured)
    monkeypatch.setattr("orchestrator.runs.folder.write_provenance", lambda folder: None)
    return here


def play(task: Task) -> list[dict[str, float]]:
    """An epoch that depends on the learning rate and the seed; its value is its only weight."""
    value = 70 - 10 * abs(math.log10(task.config.optim.lr / 0.02)) + 5 * math.sin(10 * task.config.seed + task.number)
    record = {"epoch": 1.0, "objective_now": value, "objective": value, OBJECTIVE: value, "seconds": 1.0}
    Checkpoints(task.folder, task.config).save({"method": {"value": torch.tensor(value)}}, record, best=True)
    return [record]


def measured(request: MeasureRequest) -> Measured:
    value = float(torch.load(request.folder / "best" / "weights.pt", weights_only=True)["method"]["value"])
    config, of = open_experiment(request.folder).trial, {"max_box_acc_v2": value}
    return Measured(of, {}, {}, config, "all", ["a", "b"], of, [], {})


def selected(top: int = 2) -> list[int]:
    trials = open_study(RUN).trials
    return sorted(range(len(trials)), key=lambda number: -trials[number].value)[:top]


def again() -> dict[int, list[float]]:
    """Trial -> its values with seeds 1 and 2."""
    return {
        trial: [open_study(RUN / f"seeds/tiny-t{trial}-s{seed}").trials[0].value for seed in (1, 2)]
        for trial in selected()
    }


def test_a_search_that_is_killed_while_it_is_confirmed_goes_on_and_trains_nothing_twice(
    launch: Launch, machines: Machines
) -> None:
    machines.budget = 6
    code, out, _ = launch(*WORDS)
    assert code == 130 and f"trials {', '.join(map(str, selected()))} again, with seeds 1, 2; 4 trainings left" in out
    assert not (RUN / "best").exists() and states(RUN) == ["COMPLETE"] * 4
    _, told, _ = launch("status", str(RUN))
    assert "runs/tiny: interrupted; 4 complete, of 4" in told
    assert "with other seeds: 2 complete, 1 interrupted, 1 waiting, of 4" in told
    assert "waits: 2 trainings with other seeds; nothing runs: python launch.py resume runs/tiny" in told
    machines.budget = 1
    assert launch("resume", str(RUN))[0] == 130
    machines.budget = 1000
    code, out, _ = launch("resume", str(RUN))
    assert code == 0, out
    assert max(map(len, out.splitlines())) <= 80
    runs = [f"tiny-t{trial}-s{seed} 0" for trial in selected() for seed in (1, 2)]
    assert sorted(machines.trained) == sorted([*(f"search {number}" for number in range(4)), *runs])
    means = {trial: statistics.fmean(values) for trial, values in again().items()}
    result = read_result(RUN)
    assert result.trial == max(means, key=lambda trial: means[trial])
    assert result.value == open_study(RUN).trials[result.trial].value
    assert [(one.trial, one.mean) for one in result.confirmed] == [(trial, means[trial]) for trial in selected()]
    assert f"winner: trial {result.trial}, epoch 1" in out and "points too high when selected" in out
    assert all(f"  trial {trial:>3}  {mean:6.2f} over 2 seeds, " in out for trial, mean in means.items())
    assert all(json.loads(path.read_text())["ended"] for path in RUN.glob("seeds/*/study.json"))
    trained = list(machines.trained)
    _, told, _ = launch("status", str(RUN))
    assert "runs/tiny: finished" in told and "with other seeds: 4 complete, of 4" in told
    assert launch("resume", str(RUN))[0] == 0 and machines.trained == trained
    page = page_of(RUN)
    assert "With other seeds" in page and '<th class="num">seed 2</th>' in page


def test_each_line_of_a_training_with_another_seed_names_both(launch: Launch, machines: Machines) -> None:
    _, out, _ = launch(*WORDS)
    trial, value = selected()[0], open_study(RUN).trials[selected()[0]].value
    reached = again()[trial][0]
    assert f"trial {trial:>3} seed 1  starts (1 of 4)" in out
    assert f"trial {trial:>3} seed 1  {reached:6.2f}, {value:.2f} when selected  (1 of 4)" in out
    assert max(map(len, out.splitlines())) <= 80


def test_a_finished_search_can_be_confirmed_and_more_trials_are_confirmed_too(
    launch: Launch, machines: Machines
) -> None:
    assert launch(*WORDS[:-1])[0] == 0
    assert len(machines.trained) == 4 and not read_result(RUN).confirmed
    assert launch("resume", str(RUN), "study.confirm={top: 1, seeds: [5]}")[0] == 0
    assert machines.trained[4:] == [f"tiny-t{selected()[0]}-s5 0"]
    assert [len(one.seeds) for one in read_result(RUN).confirmed] == [1]
    assert launch("resume", str(RUN), "study.trials=5", "study.confirm={top: 5, seeds: [5]}")[0] == 0
    assert len(machines.trained) == 4 + 1 + 1 + 4 and len({*machines.trained}) == 10
    assert len(json.loads((RUN / "test.json").read_text())["evaluations"]) == 1


def test_the_checkpoint_of_the_winner_is_there_though_few_are_kept(launch: Launch, machines: Machines) -> None:
    assert launch(*WORDS[:-1], "study.keep_checkpoints=1", "study.confirm={top: 4, seeds: [1]}")[0] == 0
    assert all(Checkpoints(path).best for path in RUN.glob("trials/*"))


def test_a_seed_that_fails_is_said_and_all_that_fail_leave_the_first(launch: Launch, machines: Machines) -> None:
    launch(*WORDS[:-1])
    machines.train = lambda task: []
    code, out, _ = launch("resume", str(RUN), "study.confirm={top: 1, seeds: [1, 2]}")
    best = selected()[0]
    assert code == 0 and f"trial {best} failed with seed 2: train_fullsup/max_box_acc_v2" in out
    assert read_result(RUN).trial == best and not read_result(RUN).confirmed
    assert "no training with another seed succeeded" in out
    assert "with other seeds: 2 failed, of 2" in launch("status", str(RUN))[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["study.confirm={seeds: [0, 1]}"], "the search itself trains with seed 0 and selects by it"),
        (["study.confirm={seeds: [1, 1]}"], "study.confirm.seeds: should differ from each other"),
        (["study.confirm={}", "search.seed={choices: [0, 3]}"], "trials that search the seed"),
        (["study.confirm={}", "resources.storage=/tmp/x"], "study.confirm: needs a folder that all nodes see"),
        (["study.confirm={tops: 2}"], "study.confirm.tops: unknown key, did you mean 'top'?"),
    ],
)
def test_what_cannot_be_confirmed_is_refused(launch: Launch, space_file: Path, words: list[str], said: str) -> None:
    code, _, err = launch("search", "tiny.yaml", *words)
    assert code == 2 and said in err and not Path("runs").exists()


def test_it_is_foretold(launch: Launch, space_file: Path) -> None:
    code, out, _ = launch("search", "tiny.yaml", "--dry-run", "study.confirm={top: 5, seeds: [1, 2]}")
    assert code == 0 and "then the best 5 trials again with seeds 1, 2" in out
    assert "for 3 trials and 6 again, " in out
    assert max(map(len, out[out.index("forecast") :].splitlines())) <= 80
    _, out, _ = launch("validate", "tiny.yaml", "study.confirm={top: 1, seeds: [4]}")
    assert "1 searched value, then the best trial again with seed 4" in out
