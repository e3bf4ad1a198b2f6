"""The verbs that train, one function each, and what they share; `orchestrator/cli.py` only parses and prints errors."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import campaign, cluster, final, forecast, formats, loggers, runs, storage
from orchestrator.experiment import RESUMABLE, Experiment, Loaded, load_experiment
from orchestrator.figures import counted
from orchestrator.ground import check_runnable, console, interruptible, kept_in_store, load, on_ray
from orchestrator.journal import open_study, trial_folder
from orchestrator.measure import measure
from orchestrator.points import recorded_points
from orchestrator.progress import Progress, score_table
from orchestrator.report import write_report
from orchestrator.space import require_packages
from orchestrator.study import Study, Task, preview
from orchestrator.workplace import measure_in_scratch
from wsol.errors import Diverged, InputError, RunFailed

if TYPE_CHECKING:
    from orchestrator.points import Candidate


def search(path: Path, overrides: list[str], run: Path | None = None, address: str | None = None) -> Path:
    """Search, select on train_fullsup, test once; returns the run folder.

    Args:
        path: a search-space file.
        overrides: `KEY=VALUE`.
        run: the run folder, `runs/<file name>` by default; must not hold a run.
        address: of a Ray cluster; None starts Ray on this machine.

    Raises:
        InputError: something the user can mend; nothing was written.
        RunFailed: no trial succeeded, or Ray gave up.
        KeyboardInterrupt: stopped by the user; resumable.
    """
    loaded = load(path, overrides)
    folder = run or Path("runs") / loaded.name
    runs.require_no_run(folder)
    require_packages(loaded.experiment.study.sampler)
    check_runnable(loaded.experiment, folder)
    return _begin_search(loaded, folder, address, "search", {})


def _begin_search(
    loaded: Loaded,
    folder: Path,
    address: str | None,
    kind: str,
    facts: dict[str, Any],
    points: list[Candidate] | None = None,
) -> Path:
    trials = loaded.experiment.study.trials
    loggers.require_packages(loaded.experiment.study.loggers)
    if address is None:
        cluster.plan(loaded.experiment.resources, trials, cluster.local_resources())  # refuse before Ray starts
    storage.require_free(loaded.experiment.resources.storage, folder.resolve().name)
    with cluster.connected(address) as resources:
        plan = cluster.plan_there(loaded.experiment.resources, trials, resources)
        header = runs.create(
            folder, loaded, kind, {"machine": plan.machine, "concurrent_trials": plan.concurrent, **facts}
        )
        study = Study.create(folder, loaded.experiment, header, points)
        return _run_search(study, folder, plan, resources, test=kind == "search")


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
        _train_together(study, folder, loaded.experiment)
    return _conclude(study, folder, measure, test=False) if study else folder


def _create_for_training(loaded: Loaded, folder: Path) -> Study:
    from wsol import distributed

    runs.require_no_run(folder)
    storage.require_free(loaded.experiment.resources.storage, folder.resolve().name)
    check_runnable(loaded.experiment, folder)
    machine = cluster.plan(
        loaded.experiment.resources.model_copy(update={"workers": 1}), 1, cluster.local_resources()
    ).machine
    header = runs.create(folder, loaded, "train", {"machine": machine, "workers": distributed.world()})
    return Study.create(folder, loaded.experiment, header)


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
        storage.restore(store, folder)
    if campaign.is_campaign_folder(folder):
        from orchestrator.campaign_run import resume_campaign

        return resume_campaign(folder, overrides, address)
    experiment = _with_changes(folder, overrides)
    if runs.read_header(folder)["kind"] == "import":
        raise InputError(
            f"{folder}: holds an imported model, there is nothing to resume; score it with `python launch.py evaluate"
            f" {folder}`"
        )
    if runs.read_header(folder)["kind"] == "train":
        return _resume_training(folder, experiment)
    require_packages(experiment.study.sampler)
    study = Study(folder, experiment)
    if any(override.startswith("study.") for override in overrides):
        runs.change_study(folder, experiment)
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
    experiment = runs.open_experiment(folder)
    if runs.read_header(folder)["kind"] not in ("search", "replay"):
        raise InputError(
            f"{folder}: is no search; to train again: python launch.py train {folder / 'experiment.yaml'} --run DIR"
        )
    study = Study(folder, experiment)
    again = study.retry(numbers)
    console.print(f"put back: trial {', '.join(map(str, again))}" if again else "no failed trial is left to put back")
    if again:
        runs.update_header(folder, ended=None)
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
    experiment = runs.open_experiment(folder)
    points = recorded_points(open_study(folder).get_trials(deepcopy=False), str(folder), numbers)
    into = run or folder.with_name(f"{folder.name}-replay")
    runs.require_no_run(into)
    check_runnable(experiment, into)
    study = experiment.study.model_copy(
        update={"trials": len(points), "sampler": "random", "scheduler": "none", "hours": None}
    )
    loaded = Loaded(experiment.model_copy(update={"study": study}), str(folder), into.name)
    return _begin_search(loaded, into, address, "replay", {"replay_of": str(folder)}, points)


def _go_on(study: Study, folder: Path, address: str | None) -> Path:
    """Run what a study still asks for; without any, finish it."""
    test = runs.read_header(folder)["kind"] == "search"
    if study.unfinished():
        loggers.require_packages(study.experiment.study.loggers)
        with cluster.connected(address) as resources:
            plan = cluster.plan_there(study.experiment.resources, study.unfinished(), resources)
            return _run_search(study, folder, plan, resources, test=test)
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
    return _conclude(study, folder, measure, test=test)


def _resume_training(folder: Path, experiment: Experiment) -> Path:
    from wsol import distributed

    with distributed.process_group_from_environment():
        study = Study(folder, experiment) if distributed.is_main() else None
        if study and not study.unfinished():
            console.print(
                f"this training is finished; for another: python launch.py train {folder / 'experiment.yaml'} KEY=VALUE"
                " --run DIR"
            )
        _train_together(study, folder, experiment)
    return _conclude(study, folder, measure, test=False) if study else folder


def dry_run(path: Path, overrides: list[str], run: Path | None = None) -> None:
    """Print what a search would do: the resolved configuration, the space, the first points, what it takes. Nothing is
    written or started.

    Args:
        path: a search-space file.
        overrides: `KEY=VALUE`.
        run: where the run folder would be.

    Raises:
        InputError: something the user can mend, such as a disk that is too full.
    """
    loaded = load(path, overrides)
    require_packages(loaded.experiment.study.sampler)
    experiment = loaded.experiment
    console.print(runs.to_yaml(experiment.model_dump(mode="json")), end="")
    concurrent, misfit = forecast.at_once(experiment)
    if misfit:
        console.print(f"\nnote: not on this machine: {misfit}", markup=False)
    console.print(
        f"\n{experiment.study.trials} trials, {concurrent} at a time, {experiment.resources.workers} worker(s) each;"
        " the first points:"
    )
    for task in preview(experiment, min(len(experiment.points) + 5, experiment.study.trials)):
        values = (f"{name}={formats.plain(value)}" for name, value in task.values.items())
        console.print(f"  trial {task.number}: {', '.join(values)}  ({task.origin})", markup=False)
    folder, made = run or Path("runs") / loaded.name, forecast.forecast(experiment)
    for line in forecast.render(made, concurrent, folder):
        console.print(line, markup=False)
    forecast.require_disk(made.disk_bytes, folder)


def _run_search(study: Study, folder: Path, plan: cluster.Plan, resources: dict[str, float], *, test: bool) -> Path:
    from orchestrator.tuning import run_trials

    mirror = storage.of_run(folder, study.experiment)
    done = study.best()
    epochs = study.experiment.trial.training.epochs
    console.print(
        f"{counted(study.unfinished(), 'trial')}, {plan.concurrent} at a time, {plan.workers} worker(s) each; results"
        f" in {folder}"
    )
    progress = Progress(study.unfinished(), epochs, plan.concurrent, done.values[0] if done else None, console)
    try:
        with interruptible(folder, patient=True) as stopped, progress:
            run_trials(study, plan, progress, resources, stopped.is_set, mirror)
    finally:
        runs.write_trials(folder, study.trials())
    return _conclude(study, folder, on_ray(plan, measure_in_scratch if mirror else measure, mirror), test=test)


def _train_together(study: Study | None, folder: Path, experiment: Experiment) -> None:
    """The only trial of a study without Ray, in this process and the others of torchrun; only the first has the study
    and writes."""
    import torch

    from wsol import distributed
    from wsol.training import train

    task = study.ask() if study else None
    if not distributed.sum_over_workers(
        torch.tensor(int(task is not None))
    ):  # all wait here: the first process has checked the input by now
        return
    if study is None:
        with contextlib.suppress(Diverged):  # the first process says so
            train(experiment.trial, trial_folder(folder, 0), experiment.study.objectives[0])
        return
    assert task is not None  # else the sum were 0
    console.print(f"training {folder}; watch it with: tensorboard --logdir {folder.parent}")
    with interruptible(
        folder, patient=distributed.world() == 1
    ) as stopped:  # torchrun ends the other processes at once
        _train_task(study, task, folder, stopped.is_set)


def _train_task(study: Study, task: Task, folder: Path, stopped: Callable[[], bool]) -> None:
    from orchestrator.trial import EpochLog
    from wsol.training import train

    progress = Progress(1, task.config.training.epochs, console=console)
    mirror = storage.of_run(folder, study.experiment)
    started = time.perf_counter()
    worker = f"process {os.getpid()}"

    def report(record: dict[str, float]) -> None:
        study.report(task.number, record)
        if mirror is not None:
            mirror.push_all()
        progress.epoch(task.number, record)
        if stopped():
            raise KeyboardInterrupt

    try:
        with progress, EpochLog(task.folder, task.config, writes=True) as log:
            history = train(task.config, task.folder, task.objective, report, log)
    except (Diverged, InputError) as error:
        study.fail(task.number, str(error), time.perf_counter() - started, worker)
    else:
        study.complete(task.number, history, time.perf_counter() - started, worker)
    finally:
        runs.write_trials(folder, study.trials())


def _conclude(study: Study, folder: Path, measure_at: final.Measure, *, test: bool) -> Path:
    """Winner, final test, report, summary."""
    with interruptible(folder), kept_in_store(study, folder):
        result = final.finish(study, folder, measure_at, test=test)
        runs.update_header(folder, ended=runs.now())
        runs.write_trials(folder, study.trials())
        report = write_report(folder)
    failed = study.failed()
    front = study.pareto_front()
    for line in _remarks(study):
        console.print(line, markup=False)
    study.close()
    for trial in failed:
        console.print(f"trial {trial.number} failed: {trial.user_attrs.get('failure')}", style="red", markup=False)
    if result is None:
        raise RunFailed(f"{folder}: no trial succeeded; the reasons are above and in {report}")
    tested = final.test_of(folder, result["checkpoint_sha256"])
    console.print(
        f"\nwinner: trial {result['trial']}, epoch {result['epoch']}, {result['objective']} {result['value']:.2f}"
    )
    if result["training_images"] != "all":
        console.print(f"trained on a part of train_weaksup: {result['training_images']}", markup=False)
    scores = {"train_fullsup": result["train_fullsup"], **({"test": tested["metrics"]} if tested else {})}
    for split, metrics in scores.items():
        console.print(score_table(split, metrics, result["baseline"][split], result["intervals"][split]))
    if front:
        console.print(f"no other trial is better in all objectives than trial {', '.join(map(str, front))}")
    if not tested and runs.tested(folder):
        again = f'python launch.py evaluate {folder} --split test --test-again "why"'
        console.print(
            f"test split:  was evaluated for another winner before; for this one:\n             {again}", markup=False
        )
    elif not tested:
        console.print(
            f"test split:  untouched; when you are sure:\n             python launch.py evaluate {folder} --split test"
        )
    console.print(f"report:      {report}\ntensorboard: tensorboard --logdir {folder.parent}")
    return folder


def _remarks(study: Study) -> Iterator[str]:
    """What is to be said about trials that repeat others, here or in the run that is replayed."""
    for trial in study.trials():
        known, value = trial.user_attrs, f"{trial.values[0]:.4f}" if trial.values else "no value"
        if "repeats" in known:
            yield f"trial {trial.number} repeats trial {known['repeats']}: the same configuration, not trained again"
        if "replay_of" in known:
            yield f"{known['origin']}: {known['recorded']} recorded, {value} now"


def _with_changes(folder: Path, overrides: list[str]) -> Experiment:
    """The experiment of a run with other resources, or of a search with other bounds of its study."""
    experiment = runs.open_experiment(folder)
    allowed = ("resources.", *(f"study.{name}=" for name in RESUMABLE if runs.read_header(folder)["kind"] == "search"))
    foreign = [
        override
        for override in overrides
        if not override.startswith(allowed) or override.startswith("resources.storage=")
    ]
    if foreign:
        names = f"resources.* except storage and, of a search, {', '.join(f'study.{name}' for name in RESUMABLE)}"
        raise InputError(
            f"command line: {foreign[0]}: a resumed run can only change {names}; for other settings start a new run"
        )
    changed = load_experiment(folder / "experiment.yaml", overrides).experiment if overrides else experiment
    if changed.study.trials < experiment.study.trials:
        raise InputError(
            f"command line: study.trials={changed.study.trials}: this study has {experiment.study.trials} already"
        )
    return changed
