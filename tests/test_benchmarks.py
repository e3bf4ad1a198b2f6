"""The table of the benchmarks, and the recorded trials that one of them replays; what is measured is no test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import SETTINGS, table
from benchmarks.row import ROWS, Row, tell
from benchmarks.search_efficiency import SPACE, Table, replay
from orchestrator.experiment.load import load_experiment


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
    assert all((SPACE.parent / f"{name}.py").is_file() for name in SETTINGS)


def test_recorded_trials_fill_the_space_and_are_replayed() -> None:
    recorded = Table.read(load_experiment(SPACE).experiment)
    assert len(recorded.curves) >= 150
    assert recorded.points.min() >= 0 and recorded.points.max() <= 1 and np.ptp(recorded.points, axis=0).min() > 0.9
    search = replay(recorded, "TPE + ASHA, published point first", seed=0)
    assert search.epochs[-1] <= 180 and (np.diff(search.best[np.isfinite(search.best)]) >= 0).all()
    values = {value for curve in recorded.curves for value in curve}
    assert set(search.best[np.isfinite(search.best)]) <= values
