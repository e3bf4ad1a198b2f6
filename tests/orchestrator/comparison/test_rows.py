"""Runs side by side: seeds, paired differences, and what cannot be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState

from orchestrator.comparison.cell import interval_of_mean
from orchestrator.comparison.rows import comparison_rows, require_seeds_of_one_configuration
from orchestrator.comparison.tables import legend
from orchestrator.runs.summary import read_summary
from tests.support.studies import create, experiment
from tests.support.tested_runs import METRIC, config, make_run, seeds
from wsol.errors import InputError


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
    for count in (3, 5, 20):
        values = np.random.default_rng(count).normal(60, 2, count).tolist()
        expected = stats.t.interval(0.95, count - 1, np.mean(values), stats.sem(values))
        assert interval_of_mean(values) == pytest.approx(expected, abs=2e-3)
    assert interval_of_mean([60.0]) is None and interval_of_mean([60.0, 62.0]) is None


def test_where_data_lie_makes_no_other_configuration_but_a_learning_rate_does(tmp_path: Path) -> None:
    first = make_run(tmp_path / "first", 60.0)
    moved = make_run(
        tmp_path / "moved",
        61.0,
        seed=1,
        data={**config()["data"], "root": "/elsewhere", "workers": 9, "stage": "/local"},
    )
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


STOCK = {"layout": "imagenet"}
RELEASED = {"layout": "wsolevaluation", "file": "here/last.pth", "sha256": "a" * 64}


def test_what_was_imported_is_no_seed_of_what_was_trained(tmp_path: Path) -> None:
    """All have the same configuration but for the seed."""
    runs = [
        *seeds(tmp_path, "cam", (60.0, 61.0)),
        make_run(tmp_path / "stock", 55.0, seed=2, imported=STOCK),
        make_run(tmp_path / "again", 55.0, seed=3, imported=STOCK),
        make_run(tmp_path / "released", 64.0, seed=4, imported=RELEASED),
        make_run(tmp_path / "other", 65.0, seed=5, imported={**RELEASED, "sha256": "b" * 64}),
    ]
    rows = comparison_rows(runs, [METRIC], "test")
    assert [(row.name, row.seeds, row.label) for row in rows] == [
        ("cam0", (0, 1), "cam"),
        ("stock", (2,), "cam (stock, not trained)"),
        ("again", (3,), "cam (stock, not trained)"),
        ("released", (4,), "cam (imported last.pth)"),
        ("other", (5,), "cam (imported last.pth)"),
    ]
    for folder in runs[2:]:
        with pytest.raises(InputError, match=r"differs from .*cam0 in more than its seed"):
            require_seeds_of_one_configuration([read_summary(one) for one in (runs[0], folder)])


def test_no_published_number_stands_beside_a_stock_network(tmp_path: Path) -> None:
    """Beside a released checkpoint it does: that is what its import is for."""
    trained, stock = make_run(tmp_path / "cam", 60.0), make_run(tmp_path / "stock", 55.0, imported=STOCK)
    released = make_run(tmp_path / "released", 64.0, imported=RELEASED)
    rows = comparison_rows([trained, stock, released], [METRIC], "test")
    assert [row.cells[METRIC].published is None for row in rows] == [False, True, False]
    assert any(line.startswith("stock, imported: not trained here") for line in legend(rows))
    assert not any(line.startswith("stock") for line in legend(rows[:1]))


def test_runs_that_start_from_the_same_configuration_imported_or_trained_differ(tmp_path: Path) -> None:
    starts = [make_run(tmp_path / "cam", 60.0), make_run(tmp_path / "stock", 55.0, imported=STOCK)]
    ends = [make_run(tmp_path / f"crop{i}", 63.0, seed=i, initial_run=str(start)) for i, start in enumerate(starts)]
    assert [row.seeds for row in comparison_rows(ends, [METRIC], "test")] == [(0,), (1,)]


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


def test_runs_that_start_from_each_other_are_compared(tmp_path: Path) -> None:
    """No run can, but a copied or edited folder may say so."""
    first, second = tmp_path / "first", tmp_path / "second"
    make_run(first, 60.0, initial_run=str(second))
    make_run(second, 61.0, initial_run=str(first), seed=1)
    assert [row.seeds for row in comparison_rows([first, second], [METRIC], "test")] == [(0,), (1,)]


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"config": 3}', '{"config": {"seed": 0, "data": 3}}'])
@pytest.mark.parametrize("split", ["test", "train_fullsup"])
def test_a_damaged_result_is_told_in_one_line(tmp_path: Path, content: str, split: str) -> None:
    folder = make_run(tmp_path / "run", 60.0)
    (folder / "best" / "scores-train_fullsup.npz").write_bytes((folder / "best" / "scores-test.npz").read_bytes())
    (folder / "best" / "result.json").write_text(content)
    with pytest.raises(InputError, match=r"result\.json") as told:
        comparison_rows([folder], [METRIC], split)
    assert "\n" not in str(told.value)


def test_a_start_whose_result_is_damaged_counts_as_its_folder(tmp_path: Path) -> None:
    start, folder = make_run(tmp_path / "start", 60.0), tmp_path / "run"
    make_run(folder, 61.0, initial_run=str(start))
    (start / "best" / "result.json").write_text("{")
    assert [row.name for row in comparison_rows([folder], [METRIC], "test")] == ["run"]
