"""Many post-hoc settings of finished runs side by side: the same numbers as one at a time, and nothing is chosen."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

import orchestrator
from orchestrator.comparison.rows import comparison_rows
from orchestrator.console import console
from orchestrator.runs.tested import looks_at_test
from tests.support.tiny import Launch
from wsol.errors import InputError

NORMALIZERS = "post_hoc.evaluation.normalizer=[{name: pas, percentile: 60.0}, {name: max}]"
SEEDS = ("runs/a", "runs/b")


@pytest.fixture
def seeds(space_file: Path, launch: Launch) -> tuple[Path, Path]:
    """Two trainings that differ in their seed only."""
    for place, folder in enumerate(SEEDS):
        assert launch("train", str(space_file), f"seed={place}", "--run", folder)[0] == 0
    return Path(SEEDS[0]), Path(SEEDS[1])


def test_a_sweep_has_the_numbers_of_each_run_and_setting(seeds: tuple[Path, Path], launch: Launch) -> None:
    metrics = ["max_box_acc_v2", "top1"]
    rows = orchestrator.sweep_runs(*seeds, overrides=[NORMALIZERS], metrics=metrics)
    assert [row.name for row in rows] == ["as it is", "pas percentile=60.0", "max"]
    assert all(row.seeds == (0, 1) and row.method == "cam" for row in rows)
    own = comparison_rows(seeds, metrics, "train_fullsup")[0]
    for metric in metrics:
        first, recorded = rows[0].cells[metric], own.cells[metric]
        assert (first.value, first.seed_interval, first.baseline, first.difference) == (
            recorded.value,
            recorded.seed_interval,
            recorded.baseline,
            None,
        )
        assert first.interval == pytest.approx(recorded.interval)  # replicates are kept in float32
    values: list[list[float]] = []
    for folder in seeds:
        assert launch("evaluate", str(folder), NORMALIZERS)[0] == 0
        settings = json.loads((folder / "best" / "post_hoc.json").read_text())
        values.append([setting["metrics"]["max_box_acc_v2"] for setting in settings])
    means = [sum(pair) / 2 for pair in zip(*values, strict=True)]
    assert [row.cells["max_box_acc_v2"].value for row in rows] == means
    assert len(set(means)) > 1
    for row, mean in zip(rows[1:], means[1:], strict=True):
        assert row.cells["max_box_acc_v2"].difference == mean - means[0]


def test_the_table_is_printed_in_every_form(
    seeds: tuple[Path, Path], launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_width", 80)
    code, out, err = launch("sweep", *SEEDS, NORMALIZERS)
    assert code == 0, err
    assert f"{SEEDS[1]}: 3 settings on 8 images of train_fullsup in" in out and "2 seeds" in out
    assert max(map(len, out.splitlines())) <= 80
    code, out, _ = launch("sweep", *SEEDS, NORMALIZERS, "--format", "csv", "--metric", "top1")
    table = list(csv.DictReader(io.StringIO(out[out.index("run,") :])))
    assert code == 0 and [row["run"] for row in table] == ["as it is", "pas percentile=60.0", "max"]


def test_a_look_at_test_is_recorded_and_chooses_nothing(seeds: tuple[Path, Path], launch: Launch) -> None:
    before = (seeds[0] / "best" / "config.yaml").read_bytes()
    code, out, _ = launch("sweep", *SEEDS, NORMALIZERS, "--split", "test")
    assert code == 0 and "recorded in test.json of each run; nothing is chosen by it" in out
    for folder in seeds:
        assert [look.state for look in looks_at_test(folder)] == ["sweep"]
    assert (seeds[0] / "best" / "config.yaml").read_bytes() == before
    code, _, err = launch("evaluate", SEEDS[0], "--split", "test")
    assert code == 2 and "a sweep of settings" in err and '--test-again "why"' in err


def test_what_cannot_be_swept_together_is_refused(seeds: tuple[Path, Path], launch: Launch, space_file: Path) -> None:
    assert launch("train", str(space_file), "optim.lr=0.02", "--run", "runs/c")[0] == 0
    for words, message in (
        ([*SEEDS, "runs/c"], "runs/c: differs from runs/a in more than its seed"),
        (["runs/a", "runs/a"], "runs/a: has the seed of another of the runs, 0"),
        (["runs/a", "--metric", "pxap"], "runs/a: has no 'pxap'; it has"),
        (["runs/a", "--split", "train"], "--split train: use train_fullsup or test"),
        (["runs/a", "optim.lr=1"], "optim.lr=1: of a finished run, only post_hoc.PATH"),
        (["runs/nothing"], "runs/nothing"),
    ):
        code, _, err = launch("sweep", *words, NORMALIZERS)
        assert code == 2 and message in err, err
    assert "no `post_hoc` to score the run with" in launch("sweep", "runs/a")[2]
    assert not looks_at_test(seeds[0])
    with pytest.raises(InputError, match="has no 'pxap'"):
        orchestrator.sweep_runs("runs/a", overrides=[NORMALIZERS], metrics=["pxap"], split="test")
    assert not looks_at_test(seeds[0])
