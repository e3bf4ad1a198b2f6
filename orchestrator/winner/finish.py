"""After the search: export the winner, measure it again on train_fullsup, and evaluate the test split once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.runs import names
from orchestrator.runs.result import read_result
from orchestrator.runs.tested import final_test_of, looking_at_test, looks_at_test
from orchestrator.study.checkpoints import drop_checkpoints, find_rivals
from orchestrator.study.study import Study
from orchestrator.winner.measure import Measure
from orchestrator.winner.result import export_winner, write_config
from wsol.errors import InputError
from wsol.files import write_text

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from orchestrator.experiment.model import Experiment


def finish_search(
    study: Study, folder: Path, measure_at: Measure, *, test: bool, choose: bool = True
) -> dict[str, Any] | None:
    """Export and measure the winner, and test it. Then drop the checkpoints that nobody asks for any more.

    Args:
        study: of the run.
        folder: of the run.
        measure_at: where to measure.
        test: evaluate the test split, unless that was done before, for whichever winner.
        choose: among the experiment's post-hoc settings; else those of the winner's configuration are kept.

    Returns:
        `best/result.json`; None where no trial succeeded.

    Raises:
        InputError: the winner's checkpoint is missing, or scores otherwise than its trial reported.
    """
    trial = study.best()
    if trial is None:
        return None
    result = _kept(folder, trial.number, choose=choose) or _measured_winner(
        study, trial, folder, measure_at, choose=choose
    )
    if test and not looks_at_test(folder):
        evaluate_test(folder, measure_at, result, None)
    if entry := final_test_of(folder, result["checkpoint_sha256"]):
        result["baseline"]["test"], result["intervals"]["test"] = entry.baseline, entry.intervals
    write_text(folder / names.WINNER_RESULT, json.dumps(result, indent=1))
    drop_checkpoints(study, folder)
    return result


def _kept(folder: Path, number: int, *, choose: bool) -> dict[str, Any] | None:
    """The result of a trial that won before, if its post-hoc settings were chosen by the user since, or, where nothing
    is chosen now, by an older version: they stay."""
    result = read_result(folder) if (folder / names.WINNER_RESULT).exists() else {}
    chosen = result.get("adopted") or (result.get("post_hoc") and not choose)
    return result if chosen and result["trial"] == number else None


def _measured_winner(
    study: Study, trial: FrozenTrial, folder: Path, measure_at: Measure, *, choose: bool
) -> dict[str, Any]:
    """Export a trial, measure it and, if asked to, choose its post-hoc settings."""
    objective = study.experiment.study.objectives[0]
    result = {
        "trial": trial.number,
        "objective": objective,
        "value": trial.values[0],
        **export_winner(study, trial, folder),
    }
    experiment = study.experiment if choose else study.experiment.model_copy(update={"post_hoc": {}})
    rivals = find_rivals(study, folder)
    result.update(choose_settings(experiment, folder, measure_at, result["checkpoint_sha256"], rivals))
    _require_same(result)
    write_config(study.experiment, folder, f"Trial {trial.number}", result["config"])
    return result


def choose_settings(
    experiment: Experiment,
    folder: Path,
    measure_at: Measure,
    checkpoint_sha256: str,
    others: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Measure the exported model on train_fullsup and choose its post-hoc settings there: entries of
    `best/result.json`.

    Args:
        experiment: of the run.
        folder: of the run.
        measure_at: where to measure.
        checkpoint_sha256: of the exported weights.
        others: the trials that it is compared with, see `orchestrator.rivals.requests`.
    """
    metric = experiment.study.objectives[0].partition("/")[2]
    request = {"folder": str(folder), "split": "train_fullsup", "objective": metric}
    request["checkpoint_sha256"] = checkpoint_sha256
    measured = measure_at({**request, "post_hoc": experiment.post_hoc, "pictures": True, "rivals": list(others)})
    return {
        "value_measured_again": measured["own"][metric],
        "config": measured["config"],
        "training_images": measured["training_images"],
        "post_hoc": measured["grid"],
        "train_fullsup": measured["metrics"],
        "intervals": {"train_fullsup": measured["intervals"]},
        "baseline": {"train_fullsup": measured["baseline"]},
        **({"first": measured["first"]} if measured["first"] else {}),
    }


def evaluate_test(
    folder: Path, measure_at: Measure, result: Mapping[str, Any], reason: str | None, save_maps: Path | None = None
) -> dict[str, Any]:
    """Evaluate the winner on the test split and record it.

    Args:
        folder: of the run.
        measure_at: where to evaluate.
        result: the winner's, with the SHA-256 of its weights, and its metrics on train_fullsup, whose score thresholds
            give the numbers under `fixed`.
        reason: why again, if it was evaluated before.
        save_maps: a folder for the raw maps.

    Raises:
        InputError: it was evaluated before and no reason is given, or the weights are not the recorded ones.
    """
    request = {"folder": str(folder), "split": "test", "chosen": result["train_fullsup"]}
    checkpoint = {"checkpoint_sha256": result["checkpoint_sha256"]}
    maps = {"save_maps": save_maps and str(save_maps)}
    with looking_at_test(folder, **checkpoint, reason=reason, saves_maps=save_maps is not None) as record:
        measured = measure_at({**request, **checkpoint, **maps})
        record(measured)
    return measured


def _require_same(result: dict[str, Any]) -> None:
    """The exported checkpoint must be the one that won."""
    if abs(result["value_measured_again"] - result["value"]) > 1.0:
        raise InputError(
            f"the winner's checkpoint scores {result['value_measured_again']:.2f} on train_fullsup, but its trial"
            f" reported {result['value']:.2f}: the data or the checkpoint changed since; nothing was evaluated on test"
        )
