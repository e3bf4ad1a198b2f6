"""Another plugin on the command line: its own defaults, and what of the former one is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from orchestrator.experiment.load import load_experiment
from tests.support.tiny import TINY, Launch
from wsol.errors import InputError

HAS = {
    "trial": {**TINY["trial"], "method": {"name": "has", "cell_size": 8, "drop_rate": 0.3}},
    "search": {
        "method.cell_size": {"low": 4, "high": 16},
        "optim.lr": {"low": 0.001, "high": 0.1},
        "backbone.stride": {"choices": [8, 16]},
    },
    "points": [{"name": "small", "values": {"method.cell_size": 4}}, {"name": "fast", "values": {"optim.lr": 0.1}}],
    "post_hoc": {"evaluation.normalizer": [{"name": "max"}], "evaluation.extractor": [{"name": "cam"}]},
}


@pytest.mark.parametrize("override", ["method=adl", "method.name=adl", "trial.method=adl", "method={name: adl}"])
def test_another_method_starts_from_its_own_defaults(space_file: Path, launch: Launch, override: str) -> None:
    """What the file searches of the former one is left out where nothing is searched, and refused elsewhere."""
    space_file.write_text(yaml.safe_dump(HAS))
    loaded = load_experiment(space_file, ["method.drop_threshold=0.5", override], ignores_search=True)
    assert loaded.experiment.trial.method.model_dump() == {"name": "adl", "drop_threshold": 0.5, "drop_rate": 0.75}
    assert list(loaded.experiment.search) == ["backbone.stride", "optim.lr"] and [
        point.name for point in loaded.experiment.points
    ] == ["fast"]
    assert loaded.notes == [f"method is adl; left out of {space_file}: search.method.cell_size, points.0"]
    with pytest.raises(
        InputError,
        match=(
            f"{re.escape(override)}: .*tiny.yaml searches has: search.method.cell_size, points.0; search a file of adl"
        ),
    ):
        load_experiment(space_file, [override])
    for verb in ("search", "validate"):
        code, _, err = launch(verb, str(space_file), override)
        assert code == 2 and "searches has" in err
    assert launch("validate", str(space_file), "optim.lr=0.02")[:2] == (
        0,
        f"{space_file}: ok, has on synthetic, 2 searched values\n",
    )
    assert launch("validate", str(space_file), "optim.lr=0.5", "method=had")[0] == 2


def test_the_same_plugin_again_changes_nothing_and_shared_settings_stay(space_file: Path) -> None:
    space_file.write_text(yaml.safe_dump(HAS))
    assert load_experiment(space_file, ["method=has"]).experiment == load_experiment(space_file).experiment
    other = load_experiment(
        space_file, ["backbone=resnet50"]
    )  # its stride is searched, which all backbones have; the width is the former one's own
    assert (
        other.experiment.trial.backbone.stride == 8
        and "backbone.stride" in other.experiment.search
        and other.notes == []
    )
    with pytest.raises(InputError, match="unknown method 'had', did you mean 'has'"):
        load_experiment(space_file, ["method=had"])


def test_train_takes_another_method_than_the_file_searches(space_file: Path, launch: Launch) -> None:
    space_file.write_text(yaml.safe_dump(HAS))
    code, out, _ = launch("train", str(space_file), "method=cutmix", "training.epochs=1", "--run", "runs/cutmix")
    assert code == 0 and "note: method is cutmix; left out of" in out
    assert "name: cutmix" in Path("runs/cutmix/best/config.yaml").read_text()


def test_what_is_searched_under_a_condition_on_the_plugin_stays(space_file: Path) -> None:
    """Values and points that say themselves which plugin they are for fit whichever is chosen."""
    named = {"method.name": "has", "method.cell_size": 4}
    search = {
        "method.name": {"choices": ["has", "cam"]},
        "method.cell_size": {"low": 4, "high": 16, "when": {"method.name": "has"}},
        "optim.lr": {"low": 0.001, "high": 0.1, "when": {"method.name": ["has", "cam"]}},
    }
    space_file.write_text(yaml.safe_dump({**HAS, "search": search, "points": [{"name": "small", "values": named}]}))
    loaded = load_experiment(space_file, ["method=cam"])
    assert loaded.experiment.trial.method.name == "cam"
    assert set(loaded.experiment.search) == {"method.cell_size", "optim.lr"}
    assert [point.name for point in loaded.experiment.points] == ["small"]
    space = loaded.experiment.space()
    assert set(space.point(loaded.experiment.base())) == {"optim.lr"}
    assert set(space.point(loaded.experiment.plain(named))) == {"method.cell_size", "optim.lr"}


def test_all_that_is_about_the_former_plugin_is_left_out_and_nothing_else(space_file: Path) -> None:
    small, fast = HAS["points"]
    points = [small, {"name": "large", "values": {"method.cell_size": 16}}, fast, {**small, "name": "last"}]
    settings = {**HAS["post_hoc"], "method.cell_size": [4, 16]}
    space_file.write_text(yaml.safe_dump({**HAS, "points": points, "post_hoc": settings}))
    loaded = load_experiment(space_file, ["method=adl"], ignores_search=True)
    assert [point.name for point in loaded.experiment.points] == ["fast"]
    assert loaded.experiment.post_hoc == HAS["post_hoc"]
