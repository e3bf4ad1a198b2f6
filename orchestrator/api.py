"""The verbs as Python functions. Paths may be strings, settings are `KEY=VALUE` strings as on the command line, and
errors are those of `wsol/errors.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.preflight.place import named_place

if TYPE_CHECKING:
    import optuna

    from orchestrator.comparison.rows import Row
    from orchestrator.experiment.model import Experiment
    from orchestrator.report.status import Status
    from orchestrator.runs.summary import Summary

Place = str | Path


def search(file: Place, *overrides: str, run: Place | None = None, address: str | None = None) -> Path:
    """Search the space of a file, choose the winner on train_fullsup, test it once, and write the report; returns the
    run folder.

    Args:
        file: a search-space file.
        overrides: changes of the file, such as `"study.trials=8"`.
        run: the run folder, `runs/<file name>` by default; must not hold a run.
        address: the address of a Ray cluster; None starts Ray on this machine.
    """
    from orchestrator.verbs.search import search

    return search(named_place(file), list(overrides), _path(run), address)


def protocol(file: Place, *overrides: str, run: Place | None = None, address: str | None = None) -> Path:
    """Begin or continue a campaign of methods x backbones x data sets; returns its folder, in which each cell is a run
    folder. Arguments: see `search`."""
    from orchestrator.verbs.protocol import protocol

    return protocol(named_place(file), list(overrides), _path(run), address)


def train(file: Place, *overrides: str, run: Place | None = None) -> Path:
    """Train only the published point of a file, without Ray; returns the run folder. Arguments: see `search`."""
    from orchestrator.verbs.train import train

    return train(named_place(file), list(overrides), _path(run))


def resume(run: Place, *overrides: str, address: str | None = None) -> Path:
    """Continue an interrupted run, or give a finished search more trials; returns its folder."""
    from orchestrator.verbs.resume import resume

    return resume(named_place(run), list(overrides), address)


def retry(run: Place, *trials: int, address: str | None = None) -> Path:
    """Train failed trials again: those that are named, or all; returns the run folder."""
    from orchestrator.verbs.resume import retry

    return retry(named_place(run), list(trials) or None, address)


def replay(run: Place, *trials: int, into: Place | None = None, address: str | None = None) -> Path:
    """Train recorded points again in a new run: the trials that are named, or all completed ones; returns the new run
    folder."""
    from orchestrator.verbs.replay import replay

    return replay(named_place(run), list(trials) or None, _path(into), address)


def evaluate(
    run: Place, split: str = "train_fullsup", test_again: str | None = None, save_maps: Place | None = None
) -> dict[str, float]:
    """Score the winner of a finished run; returns its metrics in percent.

    Args:
        run: the folder.
        split: `train_fullsup`, or `test`, which is evaluated once.
        test_again: why test is evaluated again; the reason is recorded.
        save_maps: a folder that gets the raw maps, (h, w), as `<image_id>.npy`.
    """
    from orchestrator.verbs.evaluate import evaluate

    return evaluate(named_place(run), split, test_again, _path(save_maps))


def predict(run: Place, *images: Place, out: Place, maps: bool = False, threshold: float | None = None) -> Path:
    """Predict class and boxes of images without annotations, with the winner of a finished run; returns the folder of
    `predictions.csv`, `predictions.json` and `overlays/`.

    Args:
        run: the folder.
        images: image files, or folders that are searched for images.
        out: folder of the results, new or empty.
        maps: write the raw maps, (h, w), as well, as `maps/<image>.npy`.
        threshold: score threshold of the boxes, in [0, 1); None: the one chosen on train_fullsup.
    """
    from orchestrator.verbs.predict import predict

    places = [named_place(image) for image in images]
    return predict(named_place(run), places, named_place(out), maps=maps, threshold=threshold)


def load_study(run: Place) -> optuna.Study:
    """The Optuna study of a run, as an Optuna object; also while the run is going on."""
    from orchestrator.runs.journal import open_study

    return open_study(named_place(run))


def load_experiment(file: Place, *overrides: str) -> Experiment:
    """Load and check a search-space file without running anything."""
    from orchestrator.experiment.load import load_experiment

    return load_experiment(named_place(file), list(overrides)).experiment


def read_summary(run: Place) -> Summary:
    """What a run folder holds: its trials, the winner, its metrics and intervals."""
    from orchestrator.runs.summary import read_summary

    return read_summary(named_place(run))


def read_status(run: Place) -> Status:
    """The progress of a run: when it will end, what waits and why, what failed."""
    from orchestrator.report.status import read_status

    return read_status(named_place(run))


def compare_runs(*runs: Place, metrics: Sequence[str] = ("max_box_acc_v2",), split: str = "test") -> list[Row]:
    """Compare finished runs: intervals, paired differences from the first run, and published numbers. Runs that differ
    only in their seed become one row."""
    from orchestrator.comparison.rows import comparison_rows

    return comparison_rows([named_place(run) for run in runs], metrics, split)


def sweep_runs(
    *runs: Place,
    file: Place | None = None,
    overrides: Sequence[str] = (),
    metrics: Sequence[str] = ("max_box_acc_v2",),
    split: str = "train_fullsup",
) -> list[Row]:
    """Score finished runs that differ only in their seed under every post-hoc setting; returns a row for each setting,
    with intervals and paired differences from the runs as they are. Nothing is chosen. An evaluation on test is
    recorded.

    Args:
        runs: the run folders.
        file: a search-space file; only its `post_hoc` section is used.
        overrides: `post_hoc.PATH=[VALUE, ...]`.
        metrics: keys, such as `top1`.
        split: `train_fullsup` or `test`.
    """
    from orchestrator.verbs.sweep import sweep

    return sweep([named_place(run) for run in runs], _path(file), list(overrides), list(metrics), split)


def write_report(run: Place) -> Path:
    """Write `report.html` of a run in any state; returns its path."""
    from orchestrator.report.page import write_report

    return write_report(named_place(run))


def _path(place: Place | None) -> Path | None:
    return None if place is None else named_place(place)
