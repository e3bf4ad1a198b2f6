"""What the verbs do, one function each; `orchestrator/cli.py` only parses and prints errors."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState
from rich.console import Console

from orchestrator import campaign, cluster, final, forecast, formats, loggers, post_hoc, runs, storage
from orchestrator.experiment import RESUMABLE, Experiment, Loaded, load_experiment
from orchestrator.journal import open_study, trial_folder
from orchestrator.measure import measure, post_hoc_settings
from orchestrator.points import recorded_points
from orchestrator.progress import Progress, score_table
from orchestrator.report import write_report
from orchestrator.rivals import RIVALS
from orchestrator.space import require_packages
from orchestrator.study import Study, Task, preview
from orchestrator.workplace import measure_in_scratch
from wsol.errors import Diverged, InputError, RunFailed

if TYPE_CHECKING:
    from orchestrator.points import Candidate
    from wsol.method import Method

console = Console(highlight=False, soft_wrap=True)
INTERRUPTED = 130
"""Exit code of what can be resumed."""


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
    loaded = _load(path, overrides)
    folder = run or Path("runs") / loaded.name
    runs.require_no_run(folder)
    require_packages(loaded.experiment.study.sampler)
    check_runnable(loaded.experiment, folder)
    return _begin_search(loaded, folder, address, "search", {})


def _begin_search(loaded: Loaded, folder: Path, address: str | None, kind: str, facts: dict[str, Any], points: list[Candidate] | None = None) -> Path:
    trials = loaded.experiment.study.trials
    loggers.require_packages(loaded.experiment.study.loggers)
    if address is None:
        cluster.plan(loaded.experiment.resources, trials, cluster.local_resources())  # refuse before Ray starts
    storage.require_free(loaded.experiment.resources.storage, folder.resolve().name)
    with cluster.connected(address) as resources:
        resources = cluster.of_kind(loaded.experiment.resources, resources)
        plan = cluster.plan(loaded.experiment.resources, trials, resources, cluster.nodes(loaded.experiment.resources.accelerator_type))
        header = runs.create(folder, loaded, kind, {"machine": plan.machine, "concurrent_trials": plan.concurrent, **facts})
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
        loaded = _load(path, overrides, ignores_search=True)
        alone = {
            "search": {},
            "points": [],
            "study": loaded.experiment.study.model_copy(update={"trials": 1, "sampler": "random", "scheduler": "none"}),
        }
        loaded = dataclasses.replace(loaded, experiment=loaded.experiment.model_copy(update=alone))
        folder = run or Path("runs") / loaded.name
        study = _create_for_training(loaded, folder) if distributed.is_main() else None
        _train_together(study, folder, loaded.experiment)
    return _conclude(study, folder, measure, test=False) if study else folder


def _create_for_training(loaded: Loaded, folder: Path) -> Study:
    from wsol import distributed

    runs.require_no_run(folder)
    storage.require_free(loaded.experiment.resources.storage, folder.resolve().name)
    check_runnable(loaded.experiment, folder)
    machine = cluster.plan(loaded.experiment.resources.model_copy(update={"workers": 1}), 1, cluster.local_resources()).machine
    header = runs.create(folder, loaded, "train", {"machine": machine, "workers": distributed.world()})
    return Study.create(folder, loaded.experiment, header)


def resume(folder: Path, overrides: list[str], address: str | None = None, store: str | None = None) -> Path:
    """Go on with an interrupted run or campaign, or with a finished run that is given more trials or hours.

    Args:
        folder: of the run or the campaign.
        overrides: `resources.*=VALUE`, and of `study` what bounds it, such as `study.trials=60`: what is trained and how is drawn stays.
        address: of a Ray cluster; None starts Ray on this machine.
        store: address of the run in its object store, from which the folder is made first; it must not hold a run.
    """
    if store is not None:
        storage.restore(store, folder)
    if campaign.is_campaign_folder(folder):
        from orchestrator.campaign_run import resume_campaign

        return resume_campaign(folder, overrides, address)
    experiment = _with_changes(folder, overrides)
    if runs.read_header(folder)["kind"] == "import":
        raise InputError(f"{folder}: holds an imported model, there is nothing to resume; score it with `python launch.py evaluate {folder}`")
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
        raise InputError(f"{folder}: is no search; to train again: python launch.py train {folder / 'experiment.yaml'} --run DIR")
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
    study = experiment.study.model_copy(update={"trials": len(points), "sampler": "random", "scheduler": "none", "hours": None})
    loaded = Loaded(experiment.model_copy(update={"study": study}), str(folder), into.name)
    return _begin_search(loaded, into, address, "replay", {"replay_of": str(folder)}, points)


def _go_on(study: Study, folder: Path, address: str | None) -> Path:
    """Run what a study still asks for; without any, finish it."""
    test = runs.read_header(folder)["kind"] == "search"
    if study.unfinished():
        loggers.require_packages(study.experiment.study.loggers)
        with cluster.connected(address) as resources:
            needs = study.experiment.resources
            resources = cluster.of_kind(needs, resources)
            plan = cluster.plan(needs, study.unfinished(), resources, cluster.nodes(needs.accelerator_type))
            return _run_search(study, folder, plan, resources, test=test)
    wanted = study.experiment.study
    if reason := study.stopped():
        study.close()
        raise RunFailed(f"{folder}: {reason}\npython launch.py retry {folder}, or resume with a higher study.max_failed_trials")
    if study.out_of_time():
        console.print(f"the {wanted.hours:g} hours of this study are spent; for more: python launch.py resume {folder} study.hours=...")
    else:
        console.print(f"all {wanted.trials} trials are finished; for more: python launch.py resume {folder} study.trials={2 * wanted.trials}")
    return _conclude(study, folder, measure, test=test)


def _resume_training(folder: Path, experiment: Experiment) -> Path:
    from wsol import distributed

    with distributed.process_group_from_environment():
        study = Study(folder, experiment) if distributed.is_main() else None
        _train_together(study, folder, experiment)
    return _conclude(study, folder, measure, test=False) if study else folder


def evaluate(folder: Path, split: str, test_again: str | None, save_maps: Path | None = None) -> dict[str, float]:
    """Score the exported winner of a run; the test split once, unless a reason is given, which is recorded. The maps can be saved on the way."""
    if split == "test":
        measured = final.evaluate_test(folder, measure, final.read_result(folder)["train_fullsup"], test_again, save_maps)
        write_report(folder)
        _bring_evaluation(folder)
    else:
        measured = measure({"folder": str(folder), "split": split, "save_maps": save_maps and str(save_maps)})
    console.print(score_table(split, measured["metrics"], measured["baseline"], measured["intervals"]))
    if save_maps:
        console.print(f"maps:  {save_maps}/<image_id>.npy, raw, as large as the network makes them")
    return dict(measured["metrics"])


def evaluate_settings(folder: Path, path: Path | None, overrides: list[str]) -> Path:
    """Score the winner of a run on train_fullsup under many post-hoc settings; returns the file with all their metrics.

    Args:
        folder: of the run.
        path: a search-space file, of which `post_hoc` counts; None: only `overrides`.
        overrides: `post_hoc.PATH=[VALUE, ...]`.

    Raises:
        InputError: something the user can mend; nothing was written.
    """
    settings = post_hoc.score_settings(folder, _load(path, []).experiment if path else None, overrides)
    console.print(post_hoc.settings_table(f"train_fullsup, {folder}", settings, post_hoc.objective(folder)))
    if runs.tested(folder):
        console.print("the test split was evaluated before; the run keeps the setting that it was evaluated with")
    else:
        console.print(f"used from now on: {post_hoc.adopt_best(folder, settings)}, see {folder / 'best' / 'config.yaml'}")
        write_report(folder)
    _bring_evaluation(folder)
    console.print(f"all metrics: {folder / post_hoc.FILE}")
    return folder / post_hoc.FILE


def evaluate_maps(maps: Path, path: Path, overrides: list[str], split: str) -> dict[str, float]:
    """Score anybody's maps against a data set.

    Args:
        maps: a folder with `<image_id>.npy`, (h, w) of any size, for every image of the split.
        path: a search-space file; of its `trial`, the data set and the evaluation count.
        overrides: `KEY=VALUE`.
        split: `train_fullsup` or `test`.

    Raises:
        InputError: something the user can mend.
    """
    from wsol import build
    from wsol.scoring import map_sizes, score_files

    config = _load(path, overrides, ignores_search=True).experiment.trial
    part, side = build.split(build.dataset(config.data), split, config.data), config.data.image_size
    sizes = map_sizes(maps, part)
    console.print(f"{len(part)} maps of {maps} on {split} of {config.data.name}, normalizer {config.evaluation.normalizer.name}")
    for (height, width), number in sorted(sizes.items()):
        resized = "as they are" if (height, width) == (side, side) else f"resized to {side} x {side} (bicubic)"
        console.print(f"  {number} of {height} x {width}, {resized}")
    scores = score_files(maps, part, side, config.evaluation)
    console.print(score_table(split, scores.metrics, {}, scores.intervals()))
    return scores.metrics


def evaluate_import(layout: str, file: Path, path: Path, overrides: list[str], run: Path | None) -> Path:
    """Make a run folder of a released checkpoint and score it on train_fullsup; returns the folder.

    Args:
        layout: whose names the weights have: a repository in `wsol/layouts.py`.
        file: the checkpoint.
        path: a search-space file, whose `trial` says method, backbone and data set.
        overrides: `KEY=VALUE`.
        run: the run folder, `runs/<name of the checkpoint>` by default; must not hold a run.

    Raises:
        InputError: something the user can mend; nothing was written.
    """
    from orchestrator.importing import import_checkpoint

    folder = run or Path("runs") / file.name.partition(".")[0]
    import_checkpoint(layout, file, _load(path, overrides, ignores_search=True), folder)
    result = final.read_result(folder)
    split = "train_fullsup"
    console.print(f"imported {file} ({layout}) into {folder}")
    console.print(score_table(split, result[split], result["baseline"][split], result["intervals"][split]))
    console.print(f"report:      {write_report(folder)}")
    console.print(f"test split:  untouched; when you are sure:\n             python launch.py evaluate {folder} --split test")
    return folder


def compare(folders: list[Path], metrics: list[str], split: str, form: str | None) -> None:
    """Print finished runs side by side, with paired differences from the first: a table for each metric, or one in a form for elsewhere."""
    from orchestrator.compare import compare
    from orchestrator.compare_tables import FORMATS, comparison_table, legend

    rows = compare(folders, metrics, split)
    if form is not None:
        print(FORMATS[form](rows))
        return
    for metric in metrics:
        console.print(comparison_table(rows, metric, split))
    for line in legend(rows):
        console.print(line, style="dim", soft_wrap=False)


def evaluate_baseline(metadata: Path, grid: int) -> dict[str, float]:
    """The centre Gaussian on metadata alone: no images, no network.

    Args:
        metadata: folder with the four text files of a split.
        grid: side in pixels of the evaluation grid.
    """
    from wsol import build
    from wsol.baseline import center_gaussian, score_constant_map
    from wsol.config import EvaluationConfig
    from wsol.metadata import read
    from wsol.types import Annotation

    config = EvaluationConfig.model_validate({"metrics": [{"name": "max_box_acc_v2"}, {"name": "max_box_acc"}]})
    data = read(metadata, annotated=True)
    if data.boxes is None or data.sizes is None:
        raise InputError(f"{metadata}: has masks, not boxes; the box metrics cannot be computed")
    annotations = (Annotation((int(w), int(h)), boxes) for (w, h), boxes in zip(data.sizes, data.boxes, strict=True))
    scores = score_constant_map(center_gaussian((grid, grid), grid / 4), annotations, build.metrics(config), config.threshold_step)
    console.print(f"centre Gaussian on {len(data.image_ids)} images of {metadata}, grid {grid}")
    console.print(score_table("centre Gaussian", scores, {}))
    return scores


def dry_run(path: Path, overrides: list[str], run: Path | None = None) -> None:
    """Print what a search would do: the resolved configuration, the space, the first points, what it takes. Nothing is written or started.

    Args:
        path: a search-space file.
        overrides: `KEY=VALUE`.
        run: where the run folder would be.

    Raises:
        InputError: something the user can mend, such as a disk that is too full.
    """
    loaded = _load(path, overrides)
    require_packages(loaded.experiment.study.sampler)
    experiment = loaded.experiment
    console.print(runs.to_yaml(experiment.model_dump(mode="json")), end="")
    concurrent, misfit = forecast.at_once(experiment)
    if misfit:
        console.print(f"\nnote: not on this machine: {misfit}", markup=False)
    console.print(f"\n{experiment.study.trials} trials, {concurrent} at a time, {experiment.resources.workers} worker(s) each; the first points:")
    for task in preview(experiment, min(len(experiment.points) + 5, experiment.study.trials)):
        values = (f"{name}={formats.plain(value)}" for name, value in task.values.items())
        console.print(f"  trial {task.number}: {', '.join(values)}  ({task.origin})", markup=False)
    folder, made = run or Path("runs") / loaded.name, forecast.forecast(experiment)
    for line in forecast.render(made, concurrent, folder):
        console.print(line, markup=False)
    forecast.require_disk(made.disk_bytes, folder)


def _load(path: Path, overrides: list[str], *, ignores_search: bool = False) -> Loaded:
    loaded = load_experiment(path, overrides, ignores_search=ignores_search)
    for note in loaded.notes:
        console.print(f"note: {note}")
    return loaded


def check_runnable(experiment: Experiment, folder: Path) -> None:
    """Read the data, decode what will be cached, try the metrics, build the model once, ask for room, before anything is written or started."""
    check_data(experiment)
    forecast.require_disk_for(experiment, check_model(experiment), folder)


def check_data(experiment: Experiment) -> None:
    """The part of `check_runnable` that runs with the same data set and metrics share."""
    from wsol import build
    from wsol.evaluation import require_countable

    config = experiment.trial
    dataset = build.dataset(config.data)
    build.images(dataset, "train_weaksup", config.data)
    for split in ("train_fullsup", "test"):
        require_countable(build.images(dataset, split, config.data), config.evaluation)


def check_model(experiment: Experiment) -> Method:
    """Build the model once, and look for the blocks that are evaluated; returns it."""
    from wsol import build
    from wsol.evaluation import require_blocks

    config = experiment.trial
    settings = [setting.evaluation for _, setting in post_hoc_settings(config, experiment.post_hoc)]
    method = build.method(config, build.dataset(config.data).num_classes)
    require_blocks(method, settings)
    return method


def _run_search(study: Study, folder: Path, plan: cluster.Plan, resources: dict[str, float], *, test: bool) -> Path:
    from orchestrator.tuning import run_trials

    mirror = storage.of_run(folder, study.experiment)
    done = study.best()
    epochs = study.experiment.trial.training.epochs
    console.print(f"{study.unfinished()} trials, {plan.concurrent} at a time, {plan.workers} worker(s) each; results in {folder}")
    progress = Progress(study.unfinished(), epochs, plan.concurrent, done.values[0] if done else None, console)
    try:
        with interruptible(folder, patient=True) as stopped, progress:
            run_trials(study, plan, progress, resources, stopped.is_set, mirror)
    finally:
        runs.write_trials(folder, study.trials())
    return _conclude(study, folder, on_ray(plan, measure_in_scratch if mirror else measure, mirror), test=test)


def on_ray(plan: cluster.Plan, function: final.Measure, mirror: storage.Mirror | None = None) -> final.Measure:
    """Call a function on a node that has what a worker needs: the driver's node may have no GPU, and the others may not see the run folder.

    Args:
        plan: what a worker needs.
        function: of a request that names a `folder`.
        mirror: of the run folder, through which `best/` travels; None: all nodes see it.
    """
    import ray

    needs = plan.needs()
    options = {"num_cpus": needs.pop("CPU"), "num_gpus": needs.pop("GPU", 0), "resources": needs, "max_retries": 1}
    remote: Any = ray.remote(**options)(function)

    def measure_there(request: dict[str, Any]) -> dict[str, Any]:
        here = {"folder": str(Path(request["folder"]).absolute()), "directory": str(Path.cwd())}
        if mirror:
            mirror.push(lambda name: name.startswith("best/"))
            here["store"] = mirror.address
        try:
            measured: dict[str, Any] = ray.get(remote.remote({**request, **here}))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        if mirror:
            mirror.pull(part="best")
        return measured

    return measure_there


def _train_together(study: Study | None, folder: Path, experiment: Experiment) -> None:
    """The only trial of a study without Ray, in this process and the others of torchrun; only the first has the study and writes."""
    from wsol import distributed
    from wsol.training import train

    distributed.barrier()  # the first process has checked the input and made the folder
    if study is None:
        with contextlib.suppress(Diverged):  # the first process says so
            train(experiment.trial, trial_folder(folder, 0), experiment.study.objectives[0])
        return
    task = study.ask()
    if task is not None:
        console.print(f"training {folder}; watch it with: tensorboard --logdir {folder.parent}")
        with interruptible(folder, patient=distributed.world() == 1) as stopped:  # torchrun ends the other processes at once
            _train_task(study, task, folder, stopped.is_set)


def _train_task(study: Study, task: Task, folder: Path, stopped: Callable[[], bool]) -> None:
    from orchestrator.trial import EpochLog
    from wsol.training import train

    progress = Progress(1, task.config.training.epochs, console=console)
    mirror = storage.of_run(folder, study.experiment)
    started = time.perf_counter()
    worker = f"process {os.getpid()}"

    def report(record: dict[str, float]) -> None:
        log(record)
        study.report(task.number, record)
        if mirror is not None:
            mirror.push_all()
        progress.epoch(task.number, record)
        if stopped():
            raise KeyboardInterrupt

    try:
        with progress, EpochLog(task.folder, task.config, writes=True) as log:
            history = train(task.config, task.folder, task.objective, report, log.look)
    except (Diverged, InputError) as error:
        study.fail(task.number, str(error), time.perf_counter() - started, worker)
    else:
        study.complete(task.number, history, time.perf_counter() - started, worker)
    finally:
        runs.write_trials(folder, study.trials())


def _conclude(study: Study, folder: Path, measure_at: final.Measure, *, test: bool) -> Path:
    """Winner, final test, report, summary."""
    with interruptible(folder), _kept_in_store(study, folder):
        result = final.finish(study, folder, measure_at, test=test)
        runs.update_header(folder, ended=runs.now())
        runs.write_trials(folder, study.trials())
        report = write_report(folder)
    failed = study.trials(TrialState.FAIL)
    front = study.pareto_front()
    for line in _remarks(study):
        console.print(line, markup=False)
    study.close()
    for trial in failed:
        console.print(f"trial {trial.number} failed: {trial.user_attrs.get('failure')}", style="red", markup=False)
    if result is None:
        raise RunFailed(f"{folder}: no trial succeeded; the reasons are above and in {report}")
    tested = final.test_of(folder, result["checkpoint_sha256"])
    console.print(f"\nwinner: trial {result['trial']}, epoch {result['epoch']}, {result['objective']} {result['value']:.2f}")
    if result["training_images"] != "all":
        console.print(f"trained on a part of train_weaksup: {result['training_images']}", markup=False)
    scores = {"train_fullsup": result["train_fullsup"], **({"test": tested["metrics"]} if tested else {})}
    for split, metrics in scores.items():
        console.print(score_table(split, metrics, result["baseline"][split], result["intervals"][split]))
    if front:
        console.print(f"no other trial is better in all objectives than trial {', '.join(map(str, front))}")
    if not tested and runs.tested(folder):
        again = f'python launch.py evaluate {folder} --split test --test-again "why"'
        console.print(f"test split:  was evaluated for another winner before; for this one:\n             {again}", markup=False)
    elif not tested:
        console.print(f"test split:  untouched; when you are sure:\n             python launch.py evaluate {folder} --split test")
    console.print(f"report:      {report}\ntensorboard: tensorboard --logdir {folder.parent}")
    return folder


@contextlib.contextmanager
def _kept_in_store(study: Study, folder: Path) -> Iterator[None]:
    """What the trials left in the run's store is here for the time of the block; what came of it is there afterwards."""
    mirror = storage.of_run(folder, study.experiment)
    if mirror is None:
        yield
        return
    with _told(mirror):
        mirror.pull(lambda name: storage.of_worker(name) and not storage.is_checkpoint(name), part="trials")
        for number in final.kept_trials(study) | {trial.number for trial in study.ranked()[: RIVALS + 1]}:
            mirror.pull(storage.is_checkpoint, part=trial_folder(Path(), number).as_posix())
    yield
    with _told(mirror):
        mirror.push_all()


@contextlib.contextmanager
def _told(mirror: storage.Mirror) -> Iterator[None]:
    """An error of a store, in words."""
    try:
        yield
    except OSError as error:
        remedy = f"nothing is lost here; when it answers again: python launch.py resume {mirror.folder}"
        raise RunFailed(f"{mirror.address}: the store does not answer ({error}); {remedy}") from error


def _bring_evaluation(folder: Path) -> None:
    """A later evaluation goes to the store of the run as well."""
    if mirror := storage.of_run(folder, runs.open_experiment(folder)):
        with _told(mirror):
            mirror.push(lambda name: not name.startswith("trials/"))


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
    foreign = [override for override in overrides if not override.startswith(allowed) or override.startswith("resources.storage=")]
    if foreign:
        names = f"resources.* except storage and, of a search, {', '.join(f'study.{name}' for name in RESUMABLE)}"
        raise InputError(f"command line: {foreign[0]}: a resumed run can only change {names}; for other settings start a new run")
    changed = load_experiment(folder / "experiment.yaml", overrides).experiment if overrides else experiment
    if changed.study.trials < experiment.study.trials:
        raise InputError(f"command line: study.trials={changed.study.trials}: this study has {experiment.study.trials} already")
    return changed


@contextlib.contextmanager
def interruptible(folder: Path, *, patient: bool = False) -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM end a run so that it can be resumed; a second one ends the process on the spot, which can be resumed as well.

    Args:
        folder: of the run.
        patient: leave the block to end itself after the first one, when the running epochs have ended.

    Yields:
        set once one of them came. The exception alone can be lost: Python drops what is raised inside a destructor, which may just be running.
    """
    stopped = threading.Event()
    remedy = f"interrupted; continue with: python launch.py resume {folder}"

    def stop(number: int, frame: object) -> None:
        if stopped.is_set():
            os.write(1, f"\n{remedy}\n".encode())
            os._exit(INTERRUPTED)
        stopped.set()
        if not patient:
            raise KeyboardInterrupt
        os.write(1, b"\nstops when the running epochs have ended; once more: at once\n")

    former = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
        if stopped.is_set():
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        console.print(f"\n{remedy}")
        raise
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
