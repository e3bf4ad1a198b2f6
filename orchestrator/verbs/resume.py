"""`resume`, `retry`, `replay`: go on with a run, put failed trials back, train recorded points again."""

from __future__ import annotations

from pathlib import Path

from orchestrator.cluster.connection import connected
from orchestrator.cluster.plan import plan_on_cluster
from orchestrator.console import console
from orchestrator.experiment.load import Loaded, load_experiment
from orchestrator.experiment.model import RESUMABLE, Experiment
from orchestrator.preflight.checks import check_runnable
from orchestrator.runs import names
from orchestrator.runs.folder import (
    change_study,
    is_campaign_folder,
    open_experiment,
    require_no_run,
)
from orchestrator.runs.header import read_header, update_header
from orchestrator.runs.journal import open_study
from orchestrator.runs.store import restore_run
from orchestrator.study.points import recorded_points
from orchestrator.study.samplers import require_sampler_packages
from orchestrator.study.study import Study
from orchestrator.trials.alone import train_together
from orchestrator.trials.loggers import require_logger_packages
from orchestrator.verbs.conclude import conclude
from orchestrator.verbs.search import begin_search, run_search
from orchestrator.winner.measure import measure
from wsol.errors import InputError, RunFailed


def resume(folder: Path, overrides: list[str], address: str | None = None, store: str | None = None) -> Path:
    """Go on with an interrupted run or campaign, or with a finished run that is given more trials or hours.

    Args:
        folder: of the run or the campaign.
        overrides: `resources.*=VALUE`, and of `study` what bounds it, such as `study.trials=60`: what is trained and
            how is drawn stays.
        address: of a Ray cluster; None starts Ray on this machine.
        store: address of the run in its object store, from which the folder is made first; it must not hold a run.

    Raises:
        InputError: something the user can mend.
        RunFailed: no trial succeeded, training diverged, Ray gave up, or a cell of the campaign has no winner.
        KeyboardInterrupt: stopped by the user; resumable.
    """
    if store is not None:
        restore_run(store, folder)
    if is_campaign_folder(folder):
        from orchestrator.verbs.protocol import resume_campaign

        return resume_campaign(folder, overrides, address)
    experiment = _with_changes(folder, overrides)
    if read_header(folder).kind == "import":
        raise InputError(
            f"{folder}: holds an imported model, there is nothing to resume; score it with `python launch.py evaluate"
            f" {folder}`"
        )
    if read_header(folder).kind == "train":
        return _resume_training(folder, experiment)
    require_sampler_packages(experiment.study.sampler)
    study = Study(folder, experiment)
    if any(override.startswith("study.") for override in overrides):
        change_study(folder, experiment)
    return _go_on(study, folder, address)


def retry(folder: Path, numbers: list[int] | None, address: str | None = None) -> Path:
    """Train failed trials of a search again with their values, from their last checkpoints, and go on.

    Args:
        folder: of the run.
        numbers: which trials; None: all that failed.
        address: of a Ray cluster; None starts Ray on this machine.

    Raises:
        InputError: the run is no search, or one of the trials did not fail.
    """
    experiment = open_experiment(folder)
    if read_header(folder).kind not in ("search", "replay"):
        raise InputError(
            f"{folder}: is no search; to train again: python launch.py train {folder / names.EXPERIMENT} --run DIR"
        )
    study = Study(folder, experiment)
    again = study.retry(numbers)
    console.print(f"put back: trial {', '.join(map(str, again))}" if again else "no failed trial is left to put back")
    if again:
        update_header(folder, ended=None)
    return _go_on(study, folder, address)


def replay(folder: Path, numbers: list[int] | None, run: Path | None = None, address: str | None = None) -> Path:
    """Train the recorded points of a run again, in a run folder of their own, and compare; test stays untouched.

    Args:
        folder: of the run.
        numbers: which trials; None: all that completed.
        run: the new run folder, `<folder>-replay` by default.
        address: of a Ray cluster; None starts Ray on this machine.

    Raises:
        InputError: there is no such trial, or the new folder holds a run already.
    """
    experiment = open_experiment(folder)
    points = recorded_points(open_study(folder).get_trials(deepcopy=False), str(folder), numbers)
    into = run or folder.with_name(f"{folder.name}-replay")
    require_no_run(into)
    check_runnable(experiment, into)
    study = experiment.study.model_copy(
        update={"trials": len(points), "sampler": "random", "scheduler": "none", "hours": None}
    )
    loaded = Loaded(experiment.model_copy(update={"study": study}), str(folder), into.name)
    return begin_search(loaded, into, address, "replay", {"replay_of": str(folder)}, points)


def _go_on(study: Study, folder: Path, address: str | None) -> Path:
    """Run what a study still asks for; without any, finish it."""
    test = read_header(folder).kind == "search"
    if study.unfinished():
        require_logger_packages(study.experiment.study.loggers)
        with connected(address) as resources:
            plan = plan_on_cluster(study.experiment.resources, study.unfinished(), resources)
            return run_search(study, folder, plan, resources, test=test)
    wanted = study.experiment.study
    if reason := study.stopped():
        study.close()
        raise RunFailed(
            f"{folder}: {reason}\npython launch.py retry {folder}, or resume with a higher study.max_failed_trials"
        )
    if study.out_of_time():
        console.print(
            f"the {wanted.hours:g} hours of this study are spent; for more: python launch.py resume {folder}"
            " study.hours=..."
        )
    else:
        console.print(
            f"all {wanted.trials} trials are finished; for more: python launch.py resume {folder}"
            f" study.trials={2 * wanted.trials}"
        )
    return conclude(study, folder, measure, test=test)


def _resume_training(folder: Path, experiment: Experiment) -> Path:
    from wsol import distributed

    with distributed.process_group_from_environment():
        study = Study(folder, experiment) if distributed.is_main() else None
        if study and not study.unfinished():
            console.print(
                f"this training is finished; for another: python launch.py train {folder / names.EXPERIMENT} KEY=VALUE"
                " --run DIR"
            )
        train_together(study, folder, experiment)
    return conclude(study, folder, measure, test=False) if study else folder


def _with_changes(folder: Path, overrides: list[str]) -> Experiment:
    """The experiment of a run with other resources, or of a search with other bounds of its study."""
    experiment = open_experiment(folder)
    allowed = ("resources.", *(f"study.{name}=" for name in RESUMABLE if read_header(folder).kind == "search"))
    foreign = [
        override
        for override in overrides
        if not override.startswith(allowed) or override.startswith("resources.storage=")
    ]
    if foreign:
        bounds = ", ".join(f"study.{name}" for name in RESUMABLE)
        raise InputError(
            f"command line: {foreign[0]}: a resumed run can only change resources.* except storage and, of a search,"
            f" {bounds}; for other settings start a new run"
        )
    changed = load_experiment(folder / names.EXPERIMENT, overrides).experiment if overrides else experiment
    if changed.study.trials < experiment.study.trials:
        raise InputError(
            f"command line: study.trials={changed.study.trials}: this study has {experiment.study.trials} already"
        )
    return changed
