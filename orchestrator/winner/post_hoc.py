"""Post-hoc settings of a finished run: scores many of them with its checkpoint, and adopts the best one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.experiment.load import load_and_print_notes, load_experiment
from orchestrator.experiment.post_hoc import require_choosable
from orchestrator.formats import settings_in_words
from orchestrator.runs import names
from orchestrator.runs.folder import open_experiment, record_plugins, require_plugins
from orchestrator.runs.result import ScoredSetting, Setting, WinnerResult, read_result, write_result
from orchestrator.winner.exported import open_exported
from orchestrator.winner.finish import measured_result
from orchestrator.winner.measure import best_setting, measure
from orchestrator.winner.result import write_config
from wsol.errors import InputError
from wsol.files import write_text


def score_settings(folder: Path, path: Path | None, overrides: list[str]) -> list[ScoredSetting]:
    """Score the winner on train_fullsup under every combination of post-hoc values, and record it in
    `best/post_hoc.json`. Arguments and errors: see `post_hoc_of`.

    Returns:
        every combination with its scores, the winner as it is first.
    """
    post_hoc, winner = post_hoc_of(folder, path, overrides), open_exported(folder, "train_fullsup")
    require_choosable(winner.config, post_hoc)
    settings = winner.score_settings(post_hoc)
    write_text(folder / names.POST_HOC, json.dumps([setting.plain() for setting in settings], indent=1))
    return settings


def post_hoc_of(folder: Path, path: Path | None, overrides: list[str]) -> dict[str, list[Any]]:
    """The post-hoc values to score a finished run with, dotted path -> values, checked against the run.

    Args:
        folder: the run folder.
        path: a search-space file, whose `post_hoc` section is used; None: only `overrides`.
        overrides: `post_hoc.PATH=[VALUE, ...]`.

    Raises:
        InputError: the run is not finished, or a value does not fit it.
    """
    read_result(folder)
    require_plugins(folder)
    foreign = [override for override in overrides if not override.startswith("post_hoc.")]
    if foreign:
        raise InputError(
            f"command line: {foreign[0]}: of a finished run, only post_hoc.PATH=[VALUE, ...] can be changed"
        )
    of_file = {} if path is None else load_and_print_notes(path, []).experiment.post_hoc
    words = [f"post_hoc.{dotted}={json.dumps(values)}" for dotted, values in of_file.items()]
    post_hoc = load_experiment(folder / names.WINNER_EXPERIMENT, [*words, *overrides]).experiment.post_hoc
    if not post_hoc:
        raise InputError("the file has no `post_hoc` to score the run with; add it, or give post_hoc.PATH=[VALUE, ...]")
    return post_hoc


def choice_in_words(result: WinnerResult) -> str | None:
    """The chosen post-hoc setting in words, such as `max_crop_area=0.3 (of 48)`; None if none were tried."""
    if result.choice is None:
        return None
    return f"{settings_in_words(result.choice.values)} (of {len(result.post_hoc)})"


def adopt_best(folder: Path, settings: Sequence[ScoredSetting]) -> str:
    """Use the best of the scored settings from now on: measure it on train_fullsup and write it beside the weights.
    Returns the setting in words.

    Args:
        folder: the folder of a run whose test split was not evaluated: test numbers would belong to the former setting.
        settings: see `score_settings`.
    """
    experiment, result = open_experiment(folder), read_result(folder)
    best = best_setting(settings, result.metric)
    if best is not settings[0]:
        config = best.config.model_dump(mode="json")
        record_plugins(folder, best.config)
        write_config(experiment, folder, "The winner, with post-hoc settings chosen anew,", config)
        alone = experiment.model_copy(update={"post_hoc": {}})
        measured = measured_result(alone, folder, measure, result.checkpoint_sha256)
        write_result(
            folder,
            replace(
                result,
                config=measured.config,
                training_images=measured.training_images,
                train_fullsup=measured.train_fullsup,
                intervals=measured.intervals,
                baseline=measured.baseline,
                post_hoc=tuple(Setting(one.values, one.metrics[result.metric]) for one in settings),
                chosen=None,
                adopted=True,
            ),
        )
    return settings_in_words(best.values)
