"""`resume` and `retry`: go on with a run, put failed trials back.

whose run is it?
    a campaign's    all its cells go on, see `protocol`
    a training's    its one trial goes on from its last checkpoint, see `train`
    a search's      what its study still asks for is trained, and what confirms it, see `search`
conclude        once more, with whichever winner there is now
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

from orchestrator.cluster.connection import connected
from orchestrator.cluster.plan import plan_on_cluster
from orchestrator.console import console
from orchestrator.experiment.foreign import packages_of
from orchestrator.experiment.load import load_experiment
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.study_config import RESUMABLE
from orchestrator.preflight.checks import require_packages
from orchestrator.preflight.place import require_new_run_folder, require_writable
from orchestrator.runs import names
from orchestrator.runs.folder import change_study, is_campaign_folder, open_experiment
from orchestrator.runs.header import read_header, update_header
from orchestrator.runs.store import require_own_store, restore_run
from orchestrator.study.confirmed import confirming_reruns, is_confirmed
from orchestrator.study.study import Study
from orchestrator.trials.alone import train_together
from orchestrator.verbs.conclude import conclude
from orchestrator.verbs.protocol import resume_campaign
from orchestrator.verbs.search import train_again, train_trials
from orchestrator.winner.in_store import measure_on_nodes
from orchestrator.winner.measure import measure
from wsol.errors import InputError, RunFailed


def resume(folder: Path, overrides: list[str], address: str | None = None, store: str | None = None) -> Path:
    """Continue an interrupted run or campaign, or a finished run that is given more trials or hours.

    Args:
        folder: the folder of the run or of the campaign.
        overrides: `resources.*=VALUE`, and the bounds of the study, such as `study.trials=60`. What is trained, and how
            it is drawn, cannot change.
        address: the address of a Ray cluster; None starts Ray on this machine.
        store: address of the run in its object store, from which the folder is restored first; the folder must not hold
            a run.

    Raises:
        InputError: the user can correct what is wrong.
        RunFailed: no trial succeeded, training diverged, Ray gave up, or a cell of the campaign has no winner.
        KeyboardInterrupt: the user stopped it; it can be resumed.
    """
    if store is not None:
        require_new_run_folder(folder)
        restore_run(store, folder)
    if is_campaign_folder(folder):
        return resume_campaign(folder, overrides, address)
    experiment, kind = _with_changes(folder, overrides), read_header(folder).kind
    require_writable(folder)
    if store is None:
        require_own_store(folder, experiment)
    if kind == "import":
        raise InputError(
            f"{folder}: holds an imported model, there is nothing to resume; score it with `python launch.py evaluate"
            f" {folder}`"
        )
    if kind == "train":
        return _go_on_training(folder, experiment)
    require_packages(experiment)
    with closing(Study(folder, experiment)) as study:
        if any(override.startswith("study.") for override in overrides):
            change_study(folder, experiment)
        return _go_on_searching(study, address)


def retry(folder: Path, numbers: list[int] | None, address: str | None = None) -> Path:
    """Train failed trials of a search again with the same values, from their last checkpoints, and continue the search.

    Args:
        folder: the run folder.
        numbers: the trials, by number; None: all that failed.
        address: the address of a Ray cluster; None starts Ray on this machine.

    Raises:
        InputError: the run is no search, or one of the trials did not fail.
        RunFailed: no trial succeeded, or Ray gave up.
        KeyboardInterrupt: the user stopped it; it can be resumed.
    """
    experiment = open_experiment(folder)
    if read_header(folder).kind not in ("search", "replay"):
        raise InputError(
            f"{folder}: is no search; to train again: python launch.py train {folder / names.EXPERIMENT} --run DIR"
        )
    require_writable(folder)
    require_own_store(folder, experiment)
    require_packages(experiment)
    with closing(Study(folder, experiment)) as study:
        again = study.retry(numbers)
        console.print(
            f"put back: trial {', '.join(map(str, again))}" if again else "no failed trial is left to put back"
        )
        if again:
            update_header(folder, ended=None)
        return _go_on_searching(study, address)


def _go_on_searching(study: Study, address: str | None) -> Path:
    """Train the trials that a study still needs, and its best ones with other seeds where that is asked for; if there
    are none, conclude it again."""
    folder, wanted, waiting, reason = study.folder, study.experiment.study, study.unfinished(), study.stopped()
    if waiting or not (reason or is_confirmed(study)):
        with connected(address, packages_of(study.experiment)) as resources:
            plan = plan_on_cluster(study.experiment.resources, waiting or len(confirming_reruns(study)), resources)
            if waiting:
                train_trials(study, plan, resources)
            train_again(study, plan, resources)
            return conclude(study, measure_on_nodes(study, plan))
    if reason:
        raise RunFailed(
            f"{folder}: {reason}\npython launch.py retry {folder}, or resume with a higher study.max_failed_trials"
        )
    if reason := study.enough():
        console.print(f"{reason}; for more: python launch.py resume {folder} study.hours=... or study.stop=null")
    else:
        console.print(
            f"all {wanted.trials} trials are finished; for more: python launch.py resume {folder}"
            f" study.trials={2 * wanted.trials}"
        )
    return conclude(study, measure)


def _go_on_training(folder: Path, experiment: Experiment) -> Path:
    from wsol import distributed

    with ExitStack() as opened:
        with distributed.process_group_from_environment():
            study = opened.enter_context(closing(Study(folder, experiment))) if distributed.is_main() else None
            if study and not study.unfinished():
                again = f"python launch.py train {folder / names.EXPERIMENT} KEY=VALUE --run DIR"
                console.print(f"this training is finished; for another: {again}")
            train_together(study, folder, experiment)
        return conclude(study, measure) if study else folder


def _with_changes(folder: Path, overrides: list[str]) -> Experiment:
    """The experiment of a run with other resources and, for a search, other bounds of its study."""
    experiment, kind = open_experiment(folder), read_header(folder).kind
    allowed = ("resources.", *(f"study.{name}=" for name in RESUMABLE if kind == "search"))
    foreign = [
        override
        for override in overrides
        if not override.startswith(allowed) or override.startswith("resources.storage=")
    ]
    if foreign:
        may = f"resources.* except storage and, of a search, {', '.join(f'study.{name}' for name in RESUMABLE)}"
        raise InputError(
            f"command line: {foreign[0]}: a resumed run can only change {may}; for other settings start a new run"
        )
    changed = load_experiment(folder / names.EXPERIMENT, overrides).experiment if overrides else experiment
    if changed.study.trials < experiment.study.trials:
        raise InputError(
            f"command line: study.trials={changed.study.trials}: this study has {experiment.study.trials} already"
        )
    return changed
