"""`train`: the published point alone, without Ray.

the processes of torchrun, or this one
    load            the file with its overrides, checked; its search is ignored
    require         all other checks, before anything is written       the first process only
    begin_study     the run folder, and a study of one trial           the first process only
    train_together  all processes train that trial
conclude        what was trained on train_fullsup, with the post-hoc settings of the file; report and summary
"""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack, closing
from pathlib import Path

from orchestrator.experiment.load import Loaded, load_and_print_notes
from orchestrator.preflight import checks
from orchestrator.preflight.place import default_folder
from orchestrator.study.begin import begin_study
from orchestrator.study.study import Study
from orchestrator.trials.alone import train_together
from orchestrator.verbs.conclude import conclude
from orchestrator.winner.measure import measure


def train(path: Path, overrides: list[str], run: Path | None = None) -> Path:
    """Train the published point without Ray, in this process or under torchrun; returns the run folder. The post-hoc
    settings of the file are kept.

    Args:
        path: a search-space file; its `search` is ignored.
        overrides: `KEY=VALUE`.
        run: the run folder, `runs/<file name>` by default; must not hold a run.

    Raises:
        InputError: the user can correct what is wrong; nothing was written.
        RunFailed: training diverged.
        KeyboardInterrupt: the user stopped it; it can be resumed.
    """
    from wsol import distributed

    with ExitStack() as opened:
        with distributed.process_group_from_environment():
            loaded = load_and_print_notes(path, overrides, ignores_search=True)
            loaded = dataclasses.replace(loaded, experiment=loaded.experiment.alone(loaded.experiment.trial))
            folder = run or default_folder(loaded.name)
            study = opened.enter_context(closing(_begin(folder, loaded))) if distributed.is_main() else None
            train_together(study, folder, loaded.experiment)
        return conclude(study, measure) if study else folder


def _begin(folder: Path, loaded: Loaded) -> Study:
    from wsol import distributed

    checks.require(loaded.experiment, folder, alone=True)
    machine = checks.local_plan(loaded.experiment, alone=True).machine
    return begin_study(folder, loaded, "train", machine=machine, workers=distributed.world())
