"""After a search: exports the winner, measures it again on train_fullsup, and evaluates the test split once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.console import console
from orchestrator.experiment.paths import Values
from orchestrator.runs import names
from orchestrator.runs.result import Setting, WinnerResult, read_result, write_result
from orchestrator.runs.tested import complete_cut_off, final_test_of, looking_at_test, looks_at_test
from orchestrator.study.checkpoints import Rival, drop_checkpoints, find_rivals
from orchestrator.study.confirmed import confirmed_trials, winner_of
from orchestrator.study.study import Study
from orchestrator.winner.measure import Measure, Measured, MeasureRequest
from orchestrator.winner.result import export_winner, write_config
from wsol.errors import InputError

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from orchestrator.experiment.model import Experiment


def finish_search(
    study: Study, folder: Path, measure_at: Measure, *, test: bool, choose: bool = True
) -> WinnerResult | None:
    """Export, measure and test the winner, then delete the checkpoints that are no longer needed.

    Args:
        study: the run's study.
        folder: the run folder.
        measure_at: where to measure.
        test: evaluate the test split, unless it was evaluated before for any winner.
        choose: choose among the experiment's post-hoc settings; otherwise those of the winner's configuration are kept.
            A setting that the trial chose itself always stays.

    Returns:
        the result that was written; None if no trial succeeded.

    Raises:
        InputError: the winner's checkpoint is missing, or scores differently than its trial reported.
    """
    confirmed = confirmed_trials(study)
    trial = winner_of(study, confirmed)
    if trial is None:
        return None
    result = _kept(folder, trial.number, choose=choose) or _measured_winner(
        study, trial, folder, measure_at, choose=choose
    )
    result = replace(result, confirmed=confirmed)
    if cut_off := complete_cut_off(folder):
        console.print(f"now recorded: the evaluation on test begun {cut_off.time}, cut off")
    if test and not looks_at_test(folder):
        evaluate_test(folder, measure_at, result, None)
    if look := final_test_of(folder, result.checkpoint_sha256):
        result = replace(
            result,
            baseline={**result.baseline, "test": look.baseline},
            intervals={**result.intervals, "test": look.intervals},
        )
    write_result(folder, result)
    drop_checkpoints(study, folder)
    return result


def _kept(folder: Path, number: int, *, choose: bool) -> WinnerResult | None:
    """The earlier result of the winning trial, whose post-hoc settings are kept: if the user has chosen them since, or,
    when nothing is chosen now, if an older version chose them."""
    if not (folder / names.WINNER_RESULT).exists():
        return None
    result = read_result(folder)
    chosen = result.adopted or (result.post_hoc and not choose)
    return result if chosen and result.trial == number else None


def _measured_winner(
    study: Study, trial: FrozenTrial, folder: Path, measure_at: Measure, *, choose: bool
) -> WinnerResult:
    """Export a trial, measure it and, if asked to, choose its post-hoc settings, unless it has chosen them itself."""
    exported = export_winner(study, trial, folder)
    setting = study.setting_of(trial)
    keeps_own = not choose and setting is None
    experiment = study.experiment.model_copy(update={"post_hoc": {}}) if keeps_own else study.experiment
    rivals = find_rivals(study, folder, trial)
    result = measured_result(experiment, folder, measure_at, exported.checkpoint_sha256, rivals, setting)
    result = replace(result, trial=trial.number, epoch=exported.epoch, value=trial.values[0])
    _require_same(result)
    write_config(study.experiment, folder, f"Trial {trial.number}", result.config)
    return result


def measured_result(
    experiment: Experiment,
    folder: Path,
    measure_at: Measure,
    checkpoint_sha256: str,
    rivals: Sequence[Rival] = (),
    setting: Values | None = None,
) -> WinnerResult:
    """Measure the exported model on train_fullsup and choose among the experiment's post-hoc settings there.

    Args:
        experiment: the run's experiment.
        folder: the run folder.
        measure_at: where to measure.
        checkpoint_sha256: SHA-256 of the exported weights.
        rivals: the trials that it is compared with.
        setting: the post-hoc setting that its trial chose, which stays; None: it is chosen now.

    Raises:
        InputError: the exported weights are not the recorded ones, or images are missing.
    """
    split, objective = "train_fullsup", experiment.study.objectives[0]
    metric = objective.partition("/")[2]
    measured = measure_at(
        MeasureRequest(
            folder, split, checkpoint_sha256, metric, experiment.post_hoc, setting, rivals=rivals, pictures=True
        )
    )
    return WinnerResult(
        objective=objective,
        checkpoint_sha256=checkpoint_sha256,
        value=measured.own[metric],
        value_measured_again=measured.own[metric],
        config=measured.config.model_dump(mode="json"),
        training_images=measured.training_images,
        uses_boxes=measured.config.uses_boxes,
        class_names=tuple(measured.class_names),
        post_hoc=tuple(Setting(one.values, one.metrics[metric]) for one in measured.settings),
        chosen=setting,
        train_fullsup=measured.metrics,
        intervals={split: measured.intervals},
        baseline={split: measured.baseline},
        first=measured.first or None,
    )


def evaluate_test(
    folder: Path, measure_at: Measure, result: WinnerResult, reason: str | None, save_maps: Path | None = None
) -> Measured:
    """Evaluate the winner on the test split and record it.

    Args:
        folder: the run folder.
        measure_at: where to evaluate.
        result: the winner's result; the score thresholds of its metrics give the numbers under `fixed`.
        reason: why it is evaluated again, if it was before.
        save_maps: a folder for the raw maps.

    Raises:
        InputError: it was evaluated before and no reason is given, or the weights are not the recorded ones.
    """
    digest = result.checkpoint_sha256
    request = MeasureRequest(folder, "test", digest, chosen=result.train_fullsup, save_maps=save_maps)
    with looking_at_test(folder, digest, reason, saves_maps=save_maps is not None) as look:
        measured = measure_at(replace(request, look=look.key))
        look.complete(measured.record())
    return measured


def _require_same(result: WinnerResult) -> None:
    """Require that the exported checkpoint scores as the one that won."""
    assert result.value is not None and result.value_measured_again is not None
    if abs(result.value_measured_again - result.value) > 1.0:
        raise InputError(
            f"the winner's checkpoint scores {result.value_measured_again:.2f} on train_fullsup, but its trial"
            f" reported {result.value:.2f}: the data or the checkpoint changed since; nothing was evaluated on test"
        )
