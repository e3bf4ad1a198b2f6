"""`replay`: train the recorded points of a search again and compare the values; like `search`, but without the test."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from orchestrator.cluster.connection import connected
from orchestrator.cluster.plan import plan_on_cluster
from orchestrator.experiment.foreign import packages_of
from orchestrator.experiment.load import Loaded
from orchestrator.preflight import checks
from orchestrator.runs.folder import open_experiment
from orchestrator.runs.journal import open_study
from orchestrator.study.begin import begin_study
from orchestrator.study.points import recorded_points
from orchestrator.verbs.conclude import conclude
from orchestrator.verbs.search import train_trials
from orchestrator.winner.in_store import measure_on_nodes


def replay(folder: Path, numbers: list[int] | None, run: Path | None = None, address: str | None = None) -> Path:
    """Train the recorded points of a run again, in a run folder of their own, and compare; test stays untouched.

    Args:
        folder: the run folder.
        numbers: the trials, by number; None: all that completed.
        run: the new run folder, `<folder>-replay` by default.
        address: the address of a Ray cluster; None starts Ray on this machine.

    Raises:
        InputError: there is no such trial, or the new folder holds a run already.
        RunFailed: no trial succeeded, or Ray gave up.
        KeyboardInterrupt: the user stopped it; it can be resumed.
    """
    recorded = open_experiment(folder)
    points = recorded_points(open_study(folder).get_trials(deepcopy=False), str(folder), numbers)
    experiment = recorded.model_copy(update={"study": recorded.study.of_given_points(len(points))})
    into = run or folder.with_name(f"{folder.name}-replay")
    checks.require(experiment, into, address)
    loaded = Loaded(experiment, str(folder), into.name)
    with connected(address, packages_of(experiment)) as resources:
        plan = plan_on_cluster(experiment.resources, len(points), resources)
        facts = {"machine": plan.machine, "concurrent_trials": plan.concurrent, "replay_of": str(folder)}
        with closing(begin_study(into, loaded, "replay", points, **facts)) as study:
            train_trials(study, plan, resources)
            return conclude(study, measure_on_nodes(study, plan))
