"""Campaigns without Ray: the reader, the order of trials, and that a campaign goes on from wherever it was stopped."""

from __future__ import annotations

import copy
import json
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.campaign import running
from orchestrator.campaign.interleaved import Interleaved
from orchestrator.campaign.load import load_campaign
from orchestrator.campaign.reruns import winning_trial
from orchestrator.experiment.model import Experiment
from orchestrator.runs.header import RunHeader
from orchestrator.runs.journal import open_study
from orchestrator.study.begin import create_study
from orchestrator.study.study import Study
from orchestrator.study.task import Task
from tests.support.paths import ROOT
from tests.support.tiny import TINY, Launch
from wsol import training
from wsol.checkpoint import Checkpoints
from wsol.errors import Diverged

SHIPPED = sorted((ROOT / "search_spaces" / "campaigns").glob("*.yaml"))

FILE: dict[str, Any] = {
    "methods": {"cam": {"file": "tiny.yaml"}, "has": {"file": "tiny.yaml", "variant": "has"}},
    "backbones": {"narrow": {}, "wide": {"set": {"backbone.width": 8}}},
    "datasets": ["synthetic"],
    "trials": 3,
    "set": {"training.epochs": 1},
}
CELLS = ["cam-narrow", "has-narrow", "cam-wide", "has-wide"]


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda file: None)


@pytest.fixture
def campaign_file(space_file: Path) -> Path:
    """A campaign of four cells, beside the tiny search space, which has a variant."""
    has = {
        "trial": {"method": {"name": "has", "cell_size": 8, "drop_rate": 0.3}},
        "search": {"method.drop_rate": {"low": 0.0, "high": 0.5}},
    }
    space_file.write_text(yaml.safe_dump({**TINY, "variants": {"has": has}}, sort_keys=False))
    return write(space_file.with_name("all.yaml"))


def write(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump({**copy.deepcopy(FILE), **changes}, sort_keys=False))
    return path


def load(path: Path, *overrides: str) -> dict[str, Experiment]:
    planned = load_campaign(path, list(overrides), Path("runs/all"))
    return {cell.name: cell.experiment for cell in planned.cells}


# The reader


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_campaign_is_valid(path: Path) -> None:
    planned = load_campaign(path, [], Path("runs") / path.stem)
    for cell in planned.cells:
        assert cell.experiment.trial.data.name == cell.dataset
        assert len(cell.experiment.search) >= 1, f"{path.name}: nothing is searched in the cell {cell.name}"
    command = f"launch.py protocol search_spaces/campaigns/{path.name}"
    assert command in path.read_text(), f"{path.name}: its opening comment does not say `python {command}`"


@pytest.mark.parametrize(("name", "count"), [("demo", 6), ("cub", 45), ("imagenet", 45)])
def test_campaigns_follow_the_protocol(name: str, count: int) -> None:
    path = ROOT / "search_spaces" / "campaigns" / f"{name}.yaml"
    planned = load_campaign(path, [], Path("runs") / path.stem)
    for cell in planned.cells:
        study, trial = cell.experiment.study, cell.experiment.trial
        assert (study.sampler, study.scheduler, trial.training.checkpoint) == ("random", "none", "last")
        assert study.objectives == [
            "train_fullsup/pxap" if trial.data.name == "openimages" else "train_fullsup/max_box_acc_v2"
        ]
        if name != "demo":
            assert study.trials == 30
            assert trial.data.fullsup_per_class == {"imagenet": 10, "cub": 5, "openimages": 5}[cell.dataset]
    assert len(planned.cells) == count


def test_a_cell_is_a_search_space_with_its_changes(campaign_file: Path) -> None:
    cells = load(campaign_file, "trials=7", "sampler=tpe", "resources.concurrent_trials=2", "optim.weight_decay=0.01")
    assert list(cells) == CELLS
    for experiment in cells.values():
        assert (experiment.study.trials, experiment.study.sampler, experiment.resources.concurrent_trials) == (
            7,
            "tpe",
            2,
        )
        assert (
            experiment.trial.training.epochs,
            experiment.trial.training.checkpoint,
            experiment.trial.optim.weight_decay,
        ) == (1, "last", 0.01)
    wide = cells["has-wide"].trial.backbone.model_dump()["width"]
    assert (wide, cells["has-narrow"].trial.backbone.model_dump()["width"]) == (8, 4)
    assert set(cells["has-wide"].search) == {"optim.lr", "method.drop_rate"} and set(cells["cam-wide"].search) == {
        "optim.lr"
    }


def test_a_value_that_is_set_is_searched_no_more(campaign_file: Path) -> None:
    cells = load(campaign_file, "method.drop_rate=0.1", "methods={has: {file: tiny.yaml, variant: has}}")
    assert (
        set(cells["has-wide"].search) == {"optim.lr"}
        and cells["has-wide"].trial.method.model_dump()["drop_rate"] == 0.1
    )


def test_who_comes_after_another_starts_from_its_winner(campaign_file: Path) -> None:
    methods = {
        **FILE["methods"],
        "crop": {"file": "tiny.yaml", "after": "has", "set": {"method": {"name": "crop_cam"}}},
    }
    planned = load_campaign(write(campaign_file, methods=methods), [], Path("runs/all"))
    after = {cell.name: (cell.after, cell.experiment.trial.initial_run) for cell in planned.cells if cell.after}
    assert after == {f"crop-{name}": (f"has-{name}", f"runs/all/has-{name}") for name in ("narrow", "wide")}
    assert [[cell.name for cell in stage] for stage in planned.stages()] == [CELLS, ["crop-narrow", "crop-wide"]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trails": 3}, "all.yaml:17: trails: unknown key, did you mean 'trials'?"),
        ({"methods": {"cam": {"fil": "tiny.yaml"}}}, "all.yaml:3: methods.cam.fil: unknown key, did you mean 'file'?"),
        ({"methods": {"cam": {"file": "nowhere.yaml"}}}, "all.yaml:2: methods.cam: nowhere.yaml: cannot be read"),
        (
            {"methods": {"cam": {"file": "tiny.yaml", "variant": "haz"}}},
            "all.yaml:2: variant=haz: tiny.yaml has no such variant",
        ),
        ({"methods": {"CAM": {"file": "tiny.yaml"}}}, "methods.CAM: should be"),
        (
            {"methods": {"cam": {"file": "tiny.yaml", "after": "has"}}},
            "methods: cam is after 'has', which must stand above it",
        ),
        (
            {"backbones": {"wide": {"set": {"backbone.widht": 8}}}},
            "all.yaml:10: trial.backbone.widht: unknown key, did you mean 'width'?",
        ),
        ({"set": {"optim.lr": -1.0}}, "all.yaml:16: trial.optim.lr: should be greater than 0, got -1.0"),
        ({"trials": "many"}, "all.yaml:14: trials: should be a valid integer, got 'many'"),
        ({"datasets": ["synthetic", "synthetic"]}, "datasets: should differ from each other"),
        ({"backbones": {"wide": {"variant": "has"}}}, "its variant has and has of backbone wide exclude each other"),
        ({"reruns": {"seeds": [1, 1]}}, "reruns.seeds: should differ from each other"),
        ({"reruns": {"set": {"optim.lrr": 1.0}}}, "reruns.set"),
        ({"resources": {"workers": 9}}, "9 workers cannot share out a global batch of 4"),
    ],
)
def test_mistakes_are_named_where_they_stand(
    campaign_file: Path, launch: Launch, changes: dict[str, Any], message: str
) -> None:
    write(campaign_file, **changes)
    code, _, err = launch("validate", "all.yaml")
    assert code == 2 and message in err
    assert launch("protocol", "all.yaml")[0] == 2 and not Path("runs").exists()


def test_a_misspelt_key_of_the_command_line_is_one_of_the_campaign(campaign_file: Path, launch: Launch) -> None:
    code, _, err = launch("protocol", "all.yaml", "trails=2")
    assert code == 2 and "command line: trails: unknown key, did you mean 'trials'?; a campaign has methods, " in err


def test_validate_knows_both_kinds_of_files(campaign_file: Path, launch: Launch) -> None:
    code, out, _ = launch("validate", "tiny.yaml", "all.yaml")
    assert code == 0
    assert out.splitlines()[1] == "all.yaml: ok, 2 methods x 2 backbones x 1 data set, 12 trials"


# Many studies as one


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


def test_the_last_epoch_can_be_what_counts(tmp_path: Path) -> None:
    of = Experiment.model_validate({**copy.deepcopy(TINY), "study": {"trials": 2}})
    of = of.model_copy(update={"trial": of.configure({"training.checkpoint": "last"})})
    study = create_study(tmp_path, of, RunHeader("last"))
    for values in ([9.0, 5.0], [9.0, float("nan")]):
        task, history = (
            study.ask(),
            [{"epoch": e, "objective_now": v, "train_fullsup/max_box_acc_v2": v} for e, v in enumerate(values, 1)],
        )
        assert task is not None
        study.complete(task.number, history, 1.0, "here")
    first, second = study.trials()
    assert (first.values, first.user_attrs["best_epoch"]) == ([5.0], 2)
    assert "not a finite number in the last of 2 epochs" in second.user_attrs["failure"]


@pytest.mark.parametrize(("checkpoint", "epoch", "value"), [("best", 2, 60.0), ("last", 3, 55.0)])
def test_training_keeps_the_epoch_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: str, epoch: int, value: float
) -> None:
    reached = iter([50.0, 60.0, 55.0])
    monkeypatch.setattr(training, "evaluate", lambda *arguments: {"max_box_acc_v2": next(reached)})
    of = Experiment.model_validate(copy.deepcopy(TINY))
    config = of.configure(
        {"training.epochs": 3, "training.checkpoint": checkpoint, "data.root": str(tmp_path / "data")}
    )
    history = training.train(config, tmp_path / "trial", "train_fullsup/max_box_acc_v2")
    kept = Checkpoints(tmp_path / "trial")
    assert kept.best == kept.latest and kept.best is not None
    assert (kept.best.epoch, kept.best.objective, history[-1]["objective"]) == (epoch, value, value)
    assert len(list((tmp_path / "trial").glob("epoch-*.pt"))) == 1


# A campaign


class Machines:
    """Trains in this process what a campaign asks for; `budget` trials, then the power fails in the middle of one."""

    def __init__(self) -> None:
        self.budget = 1000
        self.trained: list[str] = []
        self.measured: list[tuple[str, str]] = []
        self.train: Callable[[Task], list[dict[str, float]]] = lambda task: training.train(
            task.config, task.folder, task.objective
        )

    def run_trials(self, queue: Interleaved, plan: object, progress: Any, resources: object, stopped: object) -> None:
        while (task := queue.ask()) is not None:
            progress.start(task.number, queue.planned)
            if self.budget == 0:
                raise KeyboardInterrupt
            self.budget -= 1
            self.trained.append("{} {}".format(*queue.place(task.number)))
            try:
                history = self.train(task)
            except Diverged as error:
                queue.fail(task.number, str(error), 1.0, "here")
                progress.fail(task.number, str(error))
            else:
                queue.complete(task.number, history, 1.0, "here")
                progress.complete(task.number, queue.value(task.number))

    def on_ray(
        self, plan: object, function: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> Callable[[dict[str, Any]], dict[str, Any]]:
        def here(request: dict[str, Any]) -> dict[str, Any]:
            if "split" in request:
                self.measured.append((Path(request["folder"]).name, request["split"]))
            return function(request)

        return here


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Machines:
    @contextmanager
    def connected(address: str | None) -> Iterator[dict[str, float]]:
        yield {"CPU": 1.0, "GPU": 0.0}

    here = Machines()
    monkeypatch.setattr("orchestrator.trials.tuner.run_trials", here.run_trials)
    monkeypatch.setattr("orchestrator.verbs.protocol.connected", connected)
    monkeypatch.setattr("orchestrator.cluster.plan.node_resources", lambda kind=None: [{"CPU": 1.0}])
    monkeypatch.setattr(running, "on_worker_node", here.on_ray)
    return here


def states(folder: Path) -> list[str]:
    return [trial.state.name for trial in open_study(folder).trials]


def test_a_campaign_from_start_to_leaderboard_stopped_twice(
    campaign_file: Path, launch: Launch, machines: Machines
) -> None:
    write(
        campaign_file,
        reruns={"top": 2, "seeds": [1, 2]},
        methods={"cam": FILE["methods"]["cam"], "has": FILE["methods"]["has"]},
        trials=2,
    )
    words = ["protocol", "all.yaml", "backbones={narrow: {}}"]
    machines.budget = 1
    code, out, _ = launch(*words)
    assert code == 130 and "continue with: python launch.py resume runs/all" in out and "forecast" in out
    assert states(Path("runs/all/cam-narrow")) == ["COMPLETE"] and states(Path("runs/all/has-narrow")) == ["RUNNING"]
    said = launch("status", "runs/all")[1].splitlines()
    assert said[0] == "runs/all: interrupted; 1 of 12 trials, 0 of 2 cells tested"
    assert [line.split()[:3] for line in said if line.startswith(("cam", "has"))] == [
        ["cam-narrow", "interrupted", "1/2"],
        ["has-narrow", "interrupted", "0/2"],
    ]
    assert "nothing runs; go on with: python launch.py resume runs/all" in said and max(map(len, said)) <= 80
    machines.budget = 6
    assert launch("resume", "runs/all", "resources.concurrent_trials=1")[0] == 130
    machines.budget = 1000
    code, out, _ = launch(*words)
    assert code == 0, out
    assert max(map(len, out.splitlines())) <= 80
    searches = [f"{cell} {number}" for cell in ("cam-narrow", "has-narrow") for number in (0, 1)]
    seeds = sorted(path.name for path in Path("runs/all").glob("*/seeds/*"))
    assert seeds == sorted(
        f"{cell}-t{number}-s{seed}" for cell in ("cam-narrow", "has-narrow") for number in (0, 1) for seed in (1, 2)
    )
    assert sorted(machines.trained) == sorted([*searches, *(f"{name} 0" for name in seeds)])  # each once
    for cell in ("cam-narrow", "has-narrow"):
        assert states(Path("runs/all") / cell) == ["COMPLETE"] * 2
        means = {
            number: statistics.fmean(
                open_study(path).trials[0].value for path in Path(f"runs/all/{cell}/seeds").glob(f"*-t{number}-s*")
            )
            for number in (0, 1)
        }
        found = [trial.value for trial in open_study(Path("runs/all") / cell).trials]
        best = max(means, key=lambda number: (means[number], found[number]))
        tested = {path.parent.name for path in Path(f"runs/all/{cell}").rglob("test.json")}
        assert tested == {f"{cell}-t{best}-s{seed}" for seed in (1, 2)}
        assert all(
            len(json.loads(path.read_text())["evaluations"]) == 1
            for path in Path(f"runs/all/{cell}").rglob("test.json")
        )
    said = launch("status", "runs/all")[1].splitlines()
    assert said[0] == "runs/all: finished; 12 of 12 trials, 2 of 2 cells tested" and not any(
        "go on with" in line for line in said
    )
    assert [line.split()[2] + " " + line.split()[4] for line in said if line.startswith(("cam", "has"))] == [
        "2/2 4/4"
    ] * 2
    board = Path("runs/all/leaderboard.md").read_text()
    assert (
        "2 of 2 cells are tested" in board
        and "(2 seeds)" in board
        and "<table>" in Path("runs/all/leaderboard.html").read_text()
    )
    measured, before = list(machines.measured), board
    assert launch(*words)[0] == 0 and machines.measured == measured  # nothing is repeated
    assert (
        Path("runs/all/leaderboard.md").read_text() == before
        and json.loads(Path("runs/all/campaign.json").read_text())["ended"]
    )
    code, _, err = launch("report", "runs/all")
    assert code == 2 and "holds a campaign; give one of its runs, such as runs/all/cam-narrow" in err
    assert (
        launch("compare", "runs/all/cam-narrow", "runs/all/has-narrow", "--split", "train_fullsup")[0] == 0
    )  # cells are ordinary runs
    assert launch("resume", f"runs/all/cam-narrow/seeds/{seeds[0]}")[0] == 0


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
        and "crop-narrow: starts from the winner of has-narrow, which has none" in err
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


def test_another_campaign_is_not_mixed_in(campaign_file: Path, launch: Launch, machines: Machines) -> None:
    words = ["protocol", "all.yaml", "backbones={narrow: {}}"]
    machines.budget = 1
    assert launch(*words)[0] == 130
    code, _, err = launch(*words, "training.epochs=2")
    assert (
        code == 2
        and "runs/all: holds a campaign of all.yaml that is another one by now (cam-narrow, has-narrow differ)" in err
    )
    code, _, err = launch(*words, "reruns.top=1")
    assert code == 2 and "its reruns or published points differ" in err
    code, _, err = launch("resume", "runs/all", "trials=9")
    assert code == 2 and "can only change resources.*" in err
    assert machines.trained == ["cam-narrow 0"]


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


def test_dry_run_writes_nothing(campaign_file: Path, launch: Launch) -> None:
    code, out, _ = launch("protocol", "all.yaml", "--dry-run")
    assert code == 0 and "forecast" in out and not Path("runs").exists()
    assert max(map(len, out.splitlines())) <= 80
    line = next(line.split() for line in out.splitlines() if line.startswith("all "))
    assert line[1:3] == ["12", "12"]


def test_the_winner_has_the_highest_mean_and_all_seeds() -> None:
    class Trained:
        def __init__(self, trial: int, value: float | None) -> None:
            self.trial, self.value = trial, value

        def best(self) -> Any:
            return None if self.value is None else type("Best", (), {"values": [self.value]})

    def chosen(*values: tuple[int, float | None]) -> int | None:
        pairs: Any = [(one, one) for one in (Trained(*value) for value in values)]
        return winning_trial(pairs)

    assert chosen((3, 60.0), (3, 50.0), (7, 54.0), (7, 57.0)) == 7
    assert chosen((3, 60.0), (3, None), (7, 54.0), (7, 50.0)) == 7
    assert chosen((3, None), (3, None)) is None and chosen() is None
