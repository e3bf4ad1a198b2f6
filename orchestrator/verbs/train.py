"""`train`: the published point alone, without Ray."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from orchestrator.cluster.plan import local_resources, plan_trials
from orchestrator.experiment.load import Loaded, load
from orchestrator.preflight.checks import check_runnable
from orchestrator.runs.folder import require_no_run
from orchestrator.runs.store import require_free_store
from orchestrator.study.begin import begin_study
from orchestrator.study.study import Study
from orchestrator.trials.alone import train_together
from orchestrator.verbs.conclude import conclude
from orchestrator.winner.measure import measure


def train(path: Path, overrides: list[str], run: Path | None = None) -> Path:
    """Train the published point without Ray, alone or under torchrun; returns the run folder.

    Args:
        path: a search-space file; its `search` is ignored.
        overrides: `KEY=VALUE`.
        run: the run folder, `runs/<file name>` by default; must not hold a run.

    Raises:
        InputError: something the user can mend; nothing was written.
        RunFailed: training diverged.
        KeyboardInterrupt: stopped by the user; resumable.
    """
    from wsol import distributed

    with distributed.process_group_from_environment():
        loaded = load(path, overrides, ignores_search=True)
        loaded = dataclasses.replace(loaded, experiment=loaded.experiment.alone(loaded.experiment.trial))
        folder = run or Path("runs") / loaded.name
        study = _create_for_training(loaded, folder) if distributed.is_main() else None
        train_together(study, folder, loaded.experiment)
    return conclude(study, folder, measure, test=False) if study else folder


def _create_for_training(loaded: Loaded, folder: Path) -> Study:
    from wsol import distributed

    require_no_run(folder)
    require_free_store(loaded.experiment.resources.storage, folder.resolve().name)
    check_runnable(loaded.experiment, folder)
    machine = plan_trials(loaded.experiment.resources.model_copy(update={"workers": 1}), 1, local_resources()).machine
    return begin_study(folder, loaded, "train", machine=machine, workers=distributed.world())
