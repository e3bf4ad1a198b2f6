"""Post-hoc settings of a finished run: score many of them with its checkpoint, and use the best one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.experiment.load import load_experiment
from orchestrator.formats import settings_in_words
from orchestrator.runs import names
from orchestrator.runs.folder import open_experiment
from orchestrator.runs.result import read_result
from orchestrator.winner.finish import choose_settings
from orchestrator.winner.measure import measure, measure_settings
from orchestrator.winner.result import write_config
from wsol.errors import InputError
from wsol.files import write_text

if TYPE_CHECKING:
    from orchestrator.experiment.model import Experiment


def score_settings(folder: Path, experiment: Experiment | None, overrides: list[str]) -> list[dict[str, Any]]:
    """Score the winner on train_fullsup under every combination of post-hoc values, and record it in
    `best/post_hoc.json`.

    Args:
        folder: of the run.
        experiment: its `post_hoc` is taken, nothing else.
        overrides: `post_hoc.PATH=[VALUE, ...]`.

    Returns:
        of every combination, the winner as it is first: `values` that were changed, `metrics`, and the whole `config`.

    Raises:
        InputError: the run is not finished, or a value does not fit it.
    """
    read_result(folder)
    foreign = [override for override in overrides if not override.startswith("post_hoc.")]
    if foreign:
        raise InputError(
            f"command line: {foreign[0]}: of a finished run, only post_hoc.PATH=[VALUE, ...] can be changed"
        )
    of_file = [
        f"post_hoc.{path}={json.dumps(values)}" for path, values in (experiment.post_hoc if experiment else {}).items()
    ]
    post_hoc = load_experiment(folder / names.WINNER_EXPERIMENT, [*of_file, *overrides]).experiment.post_hoc
    if not post_hoc:
        raise InputError("the file has no `post_hoc` to score the run with; add it, or give post_hoc.PATH=[VALUE, ...]")
    settings = measure_settings({"folder": str(folder), "split": "train_fullsup", "post_hoc": post_hoc})
    write_text(folder / names.POST_HOC, json.dumps(settings, indent=1))
    return settings


def selection_metric(folder: Path) -> str:
    """The metric by which the run selects."""
    return str(read_result(folder)["objective"]).partition("/")[2]


def choice_in_words(grid: Sequence[Mapping[str, Any]]) -> str:
    """Which of several settings was chosen, such as `max_crop_area=0.3 (of 48)`: the first of the best, so that the
    configuration as it is wins a draw.

    Args:
        grid: `values` and `value` of each, the configuration as it is first.
    """
    best = max(grid, key=lambda setting: float(setting["value"]))
    return f"{settings_in_words(best['values'])} (of {len(grid)})"


def adopt_best(folder: Path, settings: list[dict[str, Any]]) -> str:
    """Use the best of scored settings from now on, and say in words which: it is measured on train_fullsup and written
    beside the weights.

    Args:
        folder: of a run whose test split was not evaluated: the numbers there belong to the former setting.
        settings: see `score_settings`.
    """
    experiment, result, metric = open_experiment(folder), read_result(folder), selection_metric(folder)
    best = max(settings, key=lambda setting: float(setting["metrics"][metric]))
    if best is not settings[0]:
        write_config(experiment, folder, "The winner, with post-hoc settings chosen anew,", best["config"])
        measured = choose_settings(
            experiment.model_copy(update={"post_hoc": {}}), folder, measure, result["checkpoint_sha256"]
        )
        grid = [{"values": setting["values"], "value": setting["metrics"][metric]} for setting in settings]
        kept = {"value_measured_again": result["value_measured_again"], "post_hoc": grid, "adopted": True}
        write_text(folder / names.WINNER_RESULT, json.dumps({**result, **measured, **kept}, indent=1))
    return settings_in_words(best["values"])
