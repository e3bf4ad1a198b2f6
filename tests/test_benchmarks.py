"""The table of the benchmarks, and the recorded trials that one of them replays; what is measured is no test."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu, gpu_rows
from benchmarks.__main__ import SETTINGS, table
from benchmarks.recorded_trials import RECORDED, Table, record, unit_point
from benchmarks.row import ROWS, Row, read_rows, tell
from benchmarks.search_efficiency import replay
from orchestrator.experiment.paths import value_at_path
from orchestrator.runs.by_image import ImageNumbers, pack


@pytest.mark.parametrize(
    ("found", "target", "met"),
    [(20, ">= 20", True), (19.9, ">= 20", False), (1.1, "<= 1.1", True), (5, "<= 1.1", False), (3, "", None)],
)
def test_a_target_is_met_or_not(found: float, target: str, met: bool | None) -> None:
    assert Row("a", "1 s", "2 s", found, target).is_met is met


def test_rows_are_collected_where_asked_and_make_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(Row("nowhere", "1 s", "2 s", 2))
    monkeypatch.setenv(ROWS, str(tmp_path / "rows"))
    tell(Row("loader", "1 s", "2 s", 2, ">= 5"))
    assert (tmp_path / "rows").read_text().count("\n") == 1
    *_, line = table([Row("loader", "1 s", "2 s", 2, ">= 5")]).splitlines()
    assert [word.strip() for word in line.strip("|").split("|")] == ["loader", "1 s", "2 s", "2x", ">= 5", "**no**"]


def test_every_benchmark_of_the_table_exists() -> None:
    assert all((RECORDED.parent / f"{name}.py").is_file() for name in SETTINGS)


@pytest.mark.parametrize(("name", "trials", "budget"), [("has_tiny_imagenet", 150, 180), ("has_synthetic", 90, 360)])
def test_recorded_trials_fill_the_space_and_are_replayed(name: str, trials: int, budget: int) -> None:
    recorded = Table.read(name)
    assert len(recorded.curves) >= trials
    assert recorded.points.min() >= 0 and recorded.points.max() <= 1 and np.ptp(recorded.points, axis=0).min() > 0.9
    published = {path: value_at_path(recorded.experiment.base(), path) for path in recorded.experiment.search}
    assert np.allclose(recorded.points[0], unit_point(recorded.experiment, published), atol=1e-5)
    search = replay(recorded, "TPE + ASHA, published point first", seed=0)
    assert search.epochs[-1] <= budget and (np.diff(search.best[np.isfinite(search.best)]) >= 0).all()
    values = {value for curve in recorded.curves for value in curve}
    assert set(search.best[np.isfinite(search.best)]) <= values


def test_a_replay_ends_when_every_recorded_trial_was_met_and_the_published_one_is_only_met_where_it_is_tried(
    tmp_path: Path,
) -> None:
    recorded = Table.read("has_synthetic")
    curves = [[90.0] * 12, [1.0] * 12, [2.0] * 12, [3.0] * 12]
    few = Table(recorded.experiment, recorded.points[:4], curves, ImageNumbers(tmp_path))
    search = replay(few, "random", seed=0)
    assert len(search.best) == 3 and search.best[-1] == 3.0 and search.epochs[-1] == 36
    first = replay(few, "TPE, published point first", seed=0)
    assert first.best[0] == 90.0 and len(first.best) == 4
    together = replay(few, "TPE, 4 at a time", seed=0)
    assert together.epochs.tolist() == [34, 35, 36] and together.best[-1] == 3.0  # an epoch of each in turn


def test_a_replayed_race_stops_who_is_surely_behind_and_a_better_trial_that_is_stopped_is_counted(
    tmp_path: Path,
) -> None:
    recorded = Table.read("has_synthetic")
    images, curves = ImageNumbers(tmp_path), [[60.0] * 12, [10.0] * 12, [20.0] + [90.0] * 11]
    for row, curve in enumerate(curves):
        for epoch, value in enumerate(curve, start=1):
            images.add(row, epoch, pack(np.repeat([100.0, 0.0], [int(value), 100 - int(value)])))
    few = Table(recorded.experiment, recorded.points[:3], curves, images)
    waits = replay(few, "TPE + race, published point first", seed=0)
    assert few.has_images and (waits.better, waits.lost) == (1, 0) and waits.best[-1] == 90.0
    assert waits.epochs[-1] < 36  # one was behind after the decay
    hasty = replay(few, "TPE + race from epoch 1, published first", seed=0)
    assert (hasty.stopped, hasty.better, hasty.lost) == (2, 1, 1) and hasty.best[-1] == 60.0 and hasty.epochs[-1] == 14


def test_trials_are_recorded_with_the_numbers_of_their_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.recorded_trials.RECORDED", tmp_path)
    (tmp_path / "few").mkdir()
    shutil.copy(RECORDED / "crop_synthetic" / "space.yaml", tmp_path / "few")
    words = ["training.epochs=2", "data.train_images=4", "data.fullsup_images=3", "study.trials=2"]
    record("few", tmp_path / "run", [*words, "optim.lr_decay_every=1"])
    text = (tmp_path / "few" / "trials.csv").read_text()
    assert text.count("\n") == 3
    first, second = (line.split(",") for line in text.splitlines()[1:])
    images = ImageNumbers(tmp_path / "few")
    for row, cells in enumerate((first, second)):
        for epoch in (1, 2):
            numbers = images.of(row, epoch)
            assert numbers is not None and numbers.mean() == pytest.approx(float(cells[-3 + epoch]), abs=1e-3)
    record("few", tmp_path / "run")
    assert (tmp_path / "few" / "trials.csv").read_text() == text


def test_what_could_not_be_measured_says_why_and_misses_no_target() -> None:
    row = Row("step", "failed: OutOfMemoryError", "", None, ">= 2.5")
    assert row.is_met is None
    *_, line = table([row]).splitlines()
    assert [word.strip() for word in line.strip("|").split("|")] == [
        "step",
        "failed: OutOfMemoryError",
        "",
        "",
        ">= 2.5",
        "",
    ]


def test_a_group_that_fails_or_takes_too_long_keeps_its_rows_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "from benchmarks.row import Row, tell; tell(Row('a', '1 s', '2 s', 2)); "
    for end, reason in (
        ("raise MemoryError('a | b')", "failed: MemoryError: a / b"),
        ("import os; os.abort()", "failed: exit code -6"),
        ("", ""),
    ):
        (tmp_path / "rows").unlink(missing_ok=True)
        assert gpu.why_it_failed(["-c", told + end], tmp_path, limit=600) == reason
        assert [row.what for row in read_rows(tmp_path / "rows")] == ["a"]
    assert gpu.why_it_failed(["-c", "import signal; signal.pause()"], tmp_path, limit=0.1) == "stopped after 0 s"
    monkeypatch.setitem(gpu.GROUPS, "crf", gpu.Group(600, ("no_such_benchmark",), ()))
    (row,) = gpu.run("crf", limit=600)
    assert row.what == "crf: the rest" and row.found is None and "no_such_benchmark" in row.ours
    assert gpu.run("crf", limit=0)[0].ours == "not begun: the time is over"


def test_nothing_measured_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = iter([None, 2.0, None])
    monkeypatch.setattr(gpu, "run", lambda name, limit: [Row(name, "1 s", "2 s", next(found))])
    monkeypatch.setattr(sys, "argv", ["gpu", "--rows", "step", "crf", "--write", str(tmp_path / "gpu.md")])
    gpu.main()
    assert (tmp_path / "gpu.md").read_text().strip() in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["gpu", "--rows", "step"])
    with pytest.raises(SystemExit, match="nothing could be measured"):
        gpu.main()


def test_rows_of_a_gpu_are_measured_on_a_cpu_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(ROWS, str(tmp_path / "rows"))
    for name in ("step", "loader", "maps"):
        _, *words = gpu.GROUPS[name].words
        monkeypatch.setattr(sys, "argv", ["gpu_rows", *words, *(gpu.GROUPS[name].small or ())])
        gpu_rows.main()
    gpu_rows.attempt("broken", lambda: gpu_rows.step_row("none", "tiny", gpu_rows.arguments()))
    *measured, maps, broken = read_rows(tmp_path / "rows")
    assert [row.what for row in measured] == ["step of has, tiny", "the loader beside the step of cam, tiny"]
    assert all(row.found is not None and row.found > 0 for row in measured)
    assert maps.what == "maps of cam, tiny" and maps.is_met
    assert broken.found is None and broken.ours.startswith("failed: ")


@pytest.mark.slow
def test_the_small_form_measures_every_group(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "benchmarks.gpu", "--minutes", "60", "--write", str(tmp_path / "gpu.md")]
    subprocess.run(words, check=True)
    found = (tmp_path / "gpu.md").read_text()
    assert "failed" not in found and "stopped" not in found
    for what in ("step of", "the loader", "a whole evaluation", "assigner", "post-hoc maps", "CRF", "two trials"):
        assert what in found
