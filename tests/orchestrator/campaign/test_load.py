"""A campaign file is read: its cells, and mistakes in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.campaign.load import load_campaign
from orchestrator.experiment.model import Experiment
from tests.support.campaigns import CELLS, FILE, write
from tests.support.paths import ROOT
from tests.support.tiny import Launch

SHIPPED = sorted((ROOT / "search_spaces" / "campaigns").glob("*.yaml"))


def load(path: Path, *overrides: str) -> dict[str, Experiment]:
    planned = load_campaign(path, list(overrides), Path("runs/all"))
    return {cell.name: cell.experiment for cell in planned.cells}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_campaign_is_valid(path: Path) -> None:
    planned = load_campaign(path, [], Path("runs") / path.stem)
    for cell in planned.cells:
        assert cell.experiment.trial.data.name == cell.dataset
        assert len(cell.experiment.search) >= 1, f"{path.name}: nothing is searched in the cell {cell.name}"
    command = f"launch.py protocol search_spaces/campaigns/{path.name}"
    assert command in path.read_text(), f"{path.name}: its opening comment does not say `python {command}`"


@pytest.mark.parametrize(("name", "count"), [("demo", 6), ("cub", 48), ("imagenet", 48)])
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


def test_a_method_and_a_backbone_have_variants_together(campaign_file: Path) -> None:
    variants = "variants: {has: {trial: {method: {name: has}}}, wide: {trial: {backbone: {width: 8}}}}"
    Path("two.yaml").write_text(f"extends: tiny.yaml\n{variants}\n")
    methods, backbones = {"has": {"file": "two.yaml", "variant": "has"}}, {"wide": {"variant": "wide"}, "narrow": {}}
    planned = load_campaign(write(campaign_file, methods=methods, backbones=backbones), [], Path("runs/all"))
    found = {cell.name: cell.experiment.trial for cell in planned.cells}
    assert {name: (trial.method.name, trial.backbone.model_dump()["width"]) for name, trial in found.items()} == {
        "has-wide": ("has", 8),
        "has-narrow": ("has", 4),
    }


def test_who_comes_after_another_starts_from_its_winner(campaign_file: Path) -> None:
    methods = {
        **FILE["methods"],
        "crop": {"file": "tiny.yaml", "after": "has", "set": {"method": {"name": "crop_cam"}}},
    }
    planned = load_campaign(write(campaign_file, methods=methods), [], Path("runs/all"))
    after = {cell.name: (cell.after, cell.experiment.trial.initial_run) for cell in planned.cells if cell.after}
    assert after == {f"crop-{name}": (f"has-{name}", f"runs/all/has-{name}") for name in ("narrow", "wide")}
    assert [[cell.name for cell in stage] for stage in planned.stages()] == [CELLS, ["crop-narrow", "crop-wide"]]


def test_a_chain_of_three_has_three_stages(campaign_file: Path) -> None:
    crop = {"file": "tiny.yaml", "set": {"method": {"name": "crop_cam"}}}
    methods = {
        "cam": FILE["methods"]["cam"],
        "first": {**crop, "after": "cam"},
        "second": {**crop, "after": "first"},
        "other": {**crop, "after": "cam"},
    }
    planned = load_campaign(write(campaign_file, methods=methods, backbones={"narrow": {}}), [], Path("runs/all"))
    stages = [[cell.name for cell in stage] for stage in planned.stages()]
    assert stages == [["cam-narrow"], ["first-narrow", "other-narrow"], ["second-narrow"]]


def test_the_rules_of_a_campaign_are_those_of_every_cell(campaign_file: Path) -> None:
    """Its own keys over the files', its `set` over these, a method's and a backbone's over both, and the command line
    over all."""
    space = campaign_file.with_name("tiny.yaml")
    values = yaml.safe_load(space.read_text())
    values["study"] = {"trials": 99, "sampler": "qmc", "scheduler": "asha", "grace_epochs": 1, "seed": 11, "hours": 5}
    values["resources"] = {"concurrent_trials": 7}
    values["trial"]["training"]["checkpoint"] = "best"
    space.write_text(yaml.safe_dump(values))
    write(campaign_file, sampler="tpe", seed=5, resources={"concurrent_trials": 3})
    for experiment in load(campaign_file).values():
        study = experiment.study
        assert (study.trials, study.sampler, study.scheduler) == (3, "tpe", "none")
        assert (study.seed, study.hours) == (5, None)
        assert (experiment.trial.training.checkpoint, experiment.resources.concurrent_trials) == ("last", 3)
    raced = load(campaign_file, "scheduler=race", "training.epochs=4").values()
    assert {(one.study.scheduler, one.study.grace_epochs) for one in raced} == {("race", 1)}
    methods = {"cam": {"file": "tiny.yaml", "set": {"training.checkpoint": "best", "training.epochs": 4}}}
    backbones = {"wide": {"set": {"study.seed": 8}}}
    write(campaign_file, sampler="tpe", seed=5, methods=methods, backbones=backbones)
    (own,) = load(campaign_file).values()
    assert (own.trial.training.checkpoint, own.study.seed, own.trial.training.epochs) == ("best", 8, 4)
    (mine,) = load(campaign_file, "study.seed=9", "training.checkpoint=last", "training.epochs=2").values()
    assert (mine.trial.training.checkpoint, mine.study.seed, mine.trial.training.epochs) == ("last", 9, 2)


def test_all_trials_are_counted_and_resources_are_no_part_of_the_numbers(campaign_file: Path) -> None:
    write(campaign_file, reruns={"top": 2, "seeds": [1, 2, 3]})
    planned, other, third = (
        load_campaign(campaign_file, words, Path("runs/all"))
        for words in ([], ["resources.concurrent_trials=2"], ["optim.weight_decay=0.1"])
    )
    assert planned.trials() == 4 * (3 + 2 * 3)
    assert planned.hashes() == other.hashes()
    assert all(planned.hashes()[name] != digest for name, digest in third.hashes().items())


def test_a_word_of_the_command_line_wins_over_what_the_file_sets(campaign_file: Path) -> None:
    settings = {"resources.cpus_per_worker": 2, "study.trials": 5, "training.epochs": 3}
    write(campaign_file, set={**FILE.get("set", {}), **settings})
    for words, cpus in ((["resources.cpus_per_worker=1"], 1), (["resources={cpus_per_worker: 4}"], 4)):
        for cell in load(campaign_file, "trials=7", "training.epochs=2", *words).values():
            found = cell.resources.cpus_per_worker, cell.study.trials, cell.trial.training.epochs
            assert found == (cpus, 7, 2)
    for cell in load(campaign_file, "resources={workers: 2}").values():
        assert (cell.resources.workers, cell.resources.cpus_per_worker) == (2, 2), "what no word names stays"
    for words in (["methods.cam.set.training.epochs=2"], ["methods.cam.set.training.epochs=2", "training.epochs=4"]):
        epochs = {name: cell.trial.training.epochs for name, cell in load(campaign_file, *words).items()}
        others = 4 if len(words) == 2 else 3
        assert {cell.trial.training.batch_size for cell in load(campaign_file, *words).values()} == {4}
        assert epochs == {"cam-narrow": 2, "cam-wide": 2, "has-narrow": others, "has-wide": others}


def test_the_table_of_photographs_starts_f_cam_from_a_complete_training() -> None:
    file = ROOT / "search_spaces/campaigns/photographs.yaml"
    epochs = {cell.method: cell.experiment.trial.training.epochs for cell in load_campaign(file, [], Path("r")).cells}
    assert epochs.pop("cam") == 8 and set(epochs.values()) == {1}


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
        ({"set": {"study.confirm": {"top": 2}}}, "a campaign trains the best trials again with `reruns`"),
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
