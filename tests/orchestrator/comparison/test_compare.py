"""Runs side by side: seeds, paired differences, published numbers, and what can not be compared."""

from __future__ import annotations

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from optuna.trial import TrialState
from rich.console import Console

from orchestrator.comparison.published import FILE, published_row
from orchestrator.comparison.rows import comparison_rows, interval_of_mean
from orchestrator.comparison.tables import FORMATS, comparison_table, legend
from tests.support.studies import create, experiment
from tests.support.tiny import Launch
from wsol import plugins
from wsol.errors import InputError

METRIC = "max_box_acc_v2"
SHA = "c0ffee00" * 8


def config(**changes: Any) -> dict[str, Any]:
    """Of a run on CUB as `best/result.json` has it."""
    evaluation = {
        "extractor": {"name": "cam"},
        "normalizer": {"name": "min_max"},
        "metrics": [{"name": METRIC}, {"name": "top1", "contours": "largest"}],
    }
    data = {"name": "cub", "root": "data", "image_size": 224, "cache": "auto", "workers": 4}
    own = {
        "seed": 0,
        "initial_run": None,
        "method": {"name": "cam"},
        "backbone": {"name": "resnet50"},
        "data": data,
        "evaluation": evaluation,
    }
    return {**own, **changes}


def make_run(
    folder: Path,
    value: float,
    spread: float = 1.0,
    images: str = "a",
    step: float = 0.001,
    draws: int = 0,
    **changes: Any,
) -> Path:
    """A tested run with replicates around its value; those of runs with equal `draws` move alike."""
    (folder / "best").mkdir(parents=True, exist_ok=True)
    if not (folder / "study.json").exists():
        (folder / "study.json").write_text(
            json.dumps({"study_name": folder.name, "kind": "train", "ended": "2026-01-05T10:00:00+00:00"})
        )
    (folder / "best" / "result.json").write_text(
        json.dumps({"trial": 0, "config": config(**changes), "checkpoint_sha256": SHA})
    )
    metrics = {METRIC: value, "gt_known/loc": value, "top1/loc": value - 10}
    entry = {"checkpoint_sha256": SHA, "metrics": metrics, "baseline": {METRIC: 56.8}, "intervals": {}}
    (folder / "test.json").write_text(json.dumps({"evaluations": [entry]}))
    moves = np.random.default_rng(draws).normal(0, spread, 1000)
    arrays = {f"replicates:{name}": value + moves for name in metrics}
    np.savez(folder / "best" / "scores-test.npz", images=np.array(images), threshold_step=np.array(step), **arrays)
    return folder


def seeds(root: Path, name: str, values: tuple[float, ...], **changes: Any) -> list[Path]:
    """Runs of one configuration with the seeds 0, 1, ..."""
    return [make_run(root / f"{name}{seed}", value, seed=seed, **changes) for seed, value in enumerate(values)]


def terminal(folders: list[Path], metric: str = METRIC) -> str:
    """What a terminal of 80 columns shows."""
    rows, file = comparison_rows(folders, [metric], "test"), StringIO()
    console = Console(file=file, width=80, highlight=False, soft_wrap=True)
    console.print(comparison_table(rows, metric, "test"))
    for line in legend(rows):
        console.print(line, soft_wrap=False)
    return file.getvalue()


# --- seeds ------------------------------------------------------------------------------------------------------------


def test_runs_that_differ_in_their_seed_only_are_one_row_with_both_intervals(tmp_path: Path) -> None:
    values = (62.0, 63.5, 61.3)
    (row,) = comparison_rows(seeds(tmp_path, "cam", values), [METRIC], "test")
    cell = row.cells[METRIC]
    assert (row.name, row.seeds, cell.value) == ("cam0", (0, 1, 2), pytest.approx(np.mean(values)))
    half = 4.303 * np.std(values, ddof=1) / 3**0.5
    assert cell.seed_interval == pytest.approx((np.mean(values) - half, np.mean(values) + half))
    assert cell.interval is not None and cell.interval[1] - cell.interval[0] == pytest.approx(
        2 * 1.96, rel=0.1
    )  # of the mean: the draws are shared


def test_the_interval_over_seeds_is_students() -> None:
    stats = pytest.importorskip("scipy.stats")
    for count in (2, 3, 5, 20):
        values = np.random.default_rng(count).normal(60, 2, count).tolist()
        expected = stats.t.interval(0.95, count - 1, np.mean(values), stats.sem(values))
        assert interval_of_mean(values) == pytest.approx(expected, abs=2e-3)
    assert interval_of_mean([60.0]) is None


def test_where_data_lie_makes_no_other_configuration_but_a_learning_rate_does(tmp_path: Path) -> None:
    first = make_run(tmp_path / "first", 60.0)
    moved = make_run(tmp_path / "moved", 61.0, seed=1, data={**config()["data"], "root": "/elsewhere", "workers": 9})
    other = make_run(tmp_path / "other", 62.0, seed=2, optim={"lr": 0.5})
    again = make_run(tmp_path / "again", 60.5)  # seed 0, which the first row has
    assert [row.seeds for row in comparison_rows([first, moved, other, again], [METRIC], "test")] == [
        (0, 1),
        (2,),
        (0,),
    ]


def test_runs_that_start_from_seeds_of_one_configuration_are_one_row(tmp_path: Path) -> None:
    starts = [*seeds(tmp_path, "cam", (60.0, 61.0)), make_run(tmp_path / "spg", 60.0, seed=2, method={"name": "spg"})]
    ends = [
        make_run(tmp_path / f"crop{seed}", 63.0, seed=seed, initial_run=str(start)) for seed, start in enumerate(starts)
    ]
    assert [row.seeds for row in comparison_rows(ends, [METRIC], "test")] == [(0, 1), (2,)]


def test_differences_are_paired_over_images_and_against_the_first_row(tmp_path: Path) -> None:
    cam = seeds(tmp_path, "cam", (60.0, 61.0), spread=5.0)
    near = make_run(tmp_path / "adl", 61.5, spread=5.0, method={"name": "adl"})  # moves alike
    apart = make_run(tmp_path / "has", 61.5, spread=5.0, draws=1, method={"name": "has"})
    first, second, third = comparison_rows([*cam, near, apart], [METRIC], "test")
    assert first.cells[METRIC].difference is None
    assert second.cells[METRIC].difference == third.cells[METRIC].difference == pytest.approx(1.0)
    assert second.cells[METRIC].is_different and not third.cells[METRIC].is_different
    turned = comparison_rows([near, *cam], [METRIC], "test")[1]
    assert turned.cells[METRIC].difference == pytest.approx(-1.0) and turned.seeds == (0, 1)


# --- what can not be compared -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "changes", "message"),
    [
        (METRIC, {"images": "b"}, "other images of test"),
        (METRIC, {"data": {**config()["data"], "image_size": 112}}, "other map sizes"),
        (METRIC, {"step": 0.01}, "other score thresholds"),
        (
            "top1/loc",
            {
                "evaluation": {
                    **config()["evaluation"],
                    "metrics": [{"name": METRIC}, {"name": "top1", "contours": "all"}],
                }
            },
            "settings of top1",
        ),
        (
            "gt_known/loc",
            {
                "evaluation": {
                    **config()["evaluation"],
                    "metrics": [{"name": METRIC}, {"name": "top1", "contours": "all"}],
                }
            },
            "settings of top1",
        ),
        ("pxap", {}, "has no 'pxap' on test"),
    ],
)
def test_what_was_scored_otherwise_is_refused(
    tmp_path: Path, metric: str, changes: dict[str, Any], message: str
) -> None:
    runs = [make_run(tmp_path / "first", 60.0), make_run(tmp_path / "other", 61.0, **changes)]
    with pytest.raises(InputError, match=message):
        comparison_rows(runs, [metric], "test")
    if message == "settings of top1":
        assert comparison_rows(runs, [METRIC], "test")


def test_searches_and_single_trainings_stand_side_by_side(tmp_path: Path) -> None:
    study = create(tmp_path / "search", experiment(study={"trials": 2}))
    for value in (50.0, 60.0):
        task = study.ask()
        assert task is not None
        study.complete(
            task.number, [{"epoch": 1, "objective_now": value, f"train_fullsup/{METRIC}": value}], 1.0, "here"
        )
    assert [trial.state for trial in study.trials()] == [TrialState.COMPLETE] * 2
    study.close()
    winner = make_run(tmp_path / "search", 64.0, optim={"lr": 0.3})
    rows = comparison_rows([winner, make_run(tmp_path / "train", 62.0)], [METRIC], "test")
    assert [(row.name, row.cells[METRIC].value) for row in rows] == [("search", 64.0), ("train", 62.0)]


# --- published numbers ------------------------------------------------------------------------------------------------


def test_every_published_number_is_of_something_that_there_is() -> None:
    kinds = {
        "dataset": "dataset",
        "method": "method",
        "normalizer": "normalizer",
        "extractor": "extractor",
        "guide": "extractor",
    }
    seen = set()
    for table in yaml.safe_load(FILE.read_text()):
        assert table["dataset"] in plugins.names("dataset") and table["metric"].partition("/")[0] in plugins.names(
            "metric"
        )
        assert set(table["backbones"]) <= set(plugins.names("backbone")) and table["source"]
        for row in table["rows"]:
            assert set(row) <= {"method", "normalizer", "extractor", "guide", "values"} and len(row["values"]) == len(
                table["backbones"]
            )
            assert all(20 < value < 100 for value in row["values"])
            for key in set(row) - {"values"}:
                assert set(str(row[key]).rstrip(")").split("(")) <= set(plugins.names(kinds[key]))
            for backbone in table["backbones"]:
                known = (
                    table["dataset"],
                    table["metric"],
                    backbone,
                    *sorted((key, value) for key, value in row.items() if key != "values"),
                )
                assert known not in seen, "two numbers for one thing"
                seen.add(known)
    assert len(seen) > 200


def by(extractor: str, normalizer: str) -> dict[str, Any]:
    """How maps were made."""
    return {"extractor": {"name": extractor}, "normalizer": {"name": normalizer}}


F_CAM = {"name": "f_cam", "base": {"name": "cam"}, "guide": {"name": "layer_cam"}}


@pytest.mark.parametrize(
    ("metric", "changes", "value"),
    [
        (METRIC, {}, 63.0),
        (METRIC, {"backbone": {"name": "vgg16"}}, 63.7),
        (METRIC, {"method": {"name": "da_wsol", "base": {"name": "cam"}}}, 69.87),
        (
            METRIC,
            {"method": {"name": "da_wsol", "base": {"name": "cam"}}, "evaluation": by("bag_cams", "min_max")},
            84.88,
        ),
        (METRIC, {"evaluation": by("cam", "ivr")}, 66.83),
        ("max_box_acc", {"method": F_CAM, "evaluation": by("cam", "none")}, 92.4),
        (METRIC, {"method": {"name": "da_wsol", "base": {"name": "adl"}}}, None),
        (METRIC, {"method": {"name": "bridging_gap"}}, None),
        (METRIC, {"data": {"name": "tiny_imagenet"}}, None),
        (METRIC, {"backbone": {"name": "timm"}}, None),
        ("top1/loc", {}, None),
    ],
)
def test_the_published_number_of_a_configuration(metric: str, changes: dict[str, Any], value: float | None) -> None:
    found = published_row(config(**changes), metric)
    assert (found and found.value) == value


def test_a_number_is_reproduced_where_ours_is_not_surely_lower(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / "inside", 62.0, optim={"lr": 1}),  # 63.0 is published; the interval ends at about 64
        make_run(tmp_path / "above", 70.0, optim={"lr": 2}),
        make_run(tmp_path / "below", 60.0, optim={"lr": 3}),
        *seeds(tmp_path, "scattered", (58.0, 64.0), spread=0.1),  # the images alone say no, the seeds say perhaps
    ]
    rows = comparison_rows(runs, [METRIC], "test")
    assert [row.cells[METRIC].is_reproduced for row in rows] == [True, True, False, True]


# --- how it is written down -------------------------------------------------------------------------------------------


def test_the_terminal_shows_all_of_it_in_80_columns(tmp_path: Path) -> None:
    joint = {"name": "crop_cam", "base": {"name": "bridging_gap"}}
    runs = [
        *seeds(tmp_path, "a_run_with_a_name_that_is_rather_long", (61.0, 63.0, 62.5)),
        make_run(tmp_path / "crop", 59.25, method=joint),
    ]
    text = terminal(runs)
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    for part in (
        "62.17",
        "3 seeds",
        "63.00",
        "yes",
        "59.25",
        "crop_cam(bridging_gap)",
        "-2.92*",
        "56.80",
        "Choe et al., CVPR 2020",
    ):
        assert part in text
    assert "seeds" not in terminal(runs[-1:]) and "published" not in terminal(runs[-1:])


def test_tables_for_elsewhere_have_seeds_published_numbers_and_the_rule(tmp_path: Path) -> None:
    rows = comparison_rows(
        [*seeds(tmp_path, "cam", (62.0, 64.0)), make_run(tmp_path / "has", 59.0, method={"name": "has"})],
        [METRIC, "top1/loc"],
        "test",
    )
    for form in ("markdown", "latex", "html"):
        text = FORMATS[form](rows)
        assert (
            "2 seeds: " in text
            and "63.0 (yes)" in text
            and "64.7 (no)" in text
            and "inside one of our 95" in text
            and "CVPR 2020" in text
        )
        assert text.count("published") == 2  # one column, one rule
    table = [line for line in FORMATS["markdown"](rows).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    first, *_, last = csv.DictReader(StringIO(FORMATS["csv"](rows)))
    assert (first["seeds"], first["published"], first["reproduced"], last["published"]) == ("0 1", "63.0", "yes", "")
    assert float(first["seeds_low"]) < 63 < float(first["seeds_high"])


def test_the_command_prints_it(tmp_path: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    runs = [str(path) for path in seeds(tmp_path, "cam", (62.0, 64.0))]
    code, out, _ = launch("compare", *runs)
    assert code == 0 and "2 seeds" in out and "yes" in out
    assert launch("compare", *runs, "--split", "train_fullsup")[0] == 2
