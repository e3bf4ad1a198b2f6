"""What the search costs beside its trainings: per trial, against a bare loop over the same training calls and against
plain Ray Tune.

    python -m benchmarks.orchestration [--trials 12] [--epochs 3]

The trainings are real ones of a small network on rendered images. All three run them one at a time: `loop` in this
process, `search` through our study and reused actors, `plain` through a Ray Tune function of its own for each trial.
Ray is started once for both and not counted; what it takes is printed. One more row is our search with as many trials
at a time as there are cores, which should leave none idle.

Counted is what a way takes beyond the seconds of its own epochs (training and evaluation, as their records say), less
what the loop takes beyond its own: logs, checkpoints, reports, starts of processes. The epochs themselves are the same
work in all of them, and on a shared machine their time changes by more than all of that.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from benchmarks.row import Row, tell
from orchestrator.cluster.connection import connected
from orchestrator.cluster.plan import Plan, plan_trials
from orchestrator.experiment.load import Loaded, parse_experiment
from orchestrator.experiment.model import Experiment
from orchestrator.runs import names
from orchestrator.study.begin import begin_study
from orchestrator.study.study import Study
from orchestrator.trials.progress import SearchProgress
from orchestrator.trials.wire import Assignment
from wsol.checkpoint import Checkpoints
from wsol.config import TrainConfig
from wsol.training import train

TRIAL_SECONDS = 60
"""Length of the trial whose share is printed."""

EXPERIMENT = """
trial:
  method: {name: cam}
  backbone: {name: tiny, stride: 8, width: 16}
  data:
    {name: synthetic, classes: 4, train_images: 40, fullsup_images: 10, test_images: 4, side: 64, image_size: 64,
     resize_size: 72}
  optim: {lr: 0.01}
  training: {batch_size: 8}
search: {optim.lr: {low: 0.001, high: 0.1, log: true}}
study: {sampler: random}
"""


def main() -> None:
    """Print seconds per trial for each way to run the same trials."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with TemporaryDirectory() as place:
        experiment = parse_experiment(EXPERIMENT, "benchmark")
        training = experiment.trial.training.model_copy(update={"epochs": options.epochs})
        data = experiment.trial.data.model_copy(update={"root": place})
        trial = experiment.trial.model_copy(update={"training": training, "data": data})
        study = experiment.study.model_copy(update={"trials": options.trials})
        measure(experiment.model_copy(update={"trial": trial, "study": study}), Path(place))


def measure(experiment: Experiment, place: Path) -> None:
    """Run the trials each way and print a row for each."""
    train(experiment.trial, place / "warm", experiment.study.objectives[0])  # renders the images, loads the packages
    begun = time.perf_counter()
    with connected(None) as resources:
        print(f"Ray starts in {time.perf_counter() - begun:.1f} s (once for a search)")
        cores, trials = int(resources["CPU"]), experiment.study.trials
        ways: dict[str, Callable[[Path], None]] = {
            "loop": lambda folder: run_loop(experiment, folder),
            "wide": lambda folder: run_search(experiment, folder, cores, resources),
            "search": lambda folder: run_search(experiment, folder, 1, resources),
            "plain Ray Tune": lambda folder: run_plain(experiment, folder),
        }
        seconds, beside = dict[str, float](), dict[str, float]()
        for name, way in ways.items():
            folder = place / name.partition(" ")[0]
            begun = time.perf_counter()
            way(folder)
            seconds[name] = time.perf_counter() - begun
            beside[name] = (seconds[name] - seconds_of_epochs(folder)) / trials
    print(f"{trials} trials\n{'':<16} {'s/trial':>8} {'beside':>8} {'beyond the loop':>16} {'of a 60 s trial':>16}")
    for name in ("loop", "search", "plain Ray Tune"):
        over = beside[name] - beside["loop"]
        shown = f"{seconds[name] / trials:>8.2f} {beside[name]:>7.2f}s {over:>15.2f}s {over / TRIAL_SECONDS:>15.1%}"
        print(f"{name:<16} {shown}")
    print(f"{cores} at a time: {seconds['loop'] / seconds['wide']:.2f} times as fast as the loop")
    over, plain = (beside[name] - beside["loop"] for name in ("search", "plain Ray Tune"))
    own, what = f"{over:.2f} s a trial", "a trial, beyond its training"
    tell(Row(what, own, f"a trial of {TRIAL_SECONDS} s", 100 * over / TRIAL_SECONDS, "<= 2.5", "%"))
    tell(Row(what, own, f"Ray Tune, no reuse: {plain:.2f} s", plain / over, ">= 4"))
    wide, loop = seconds["wide"], seconds["loop"]
    beside_loop = f"bare loop: {loop:.0f} s"
    tell(Row(f"a search of {trials} trials", f"{cores} at a time: {wide:.0f} s", beside_loop, loop / wide, ">= 1.6"))


def seconds_of_epochs(folder: Path) -> float:
    """What the epochs of all trials of a run took, by their own records."""
    trials = (folder / names.TRIALS).iterdir()
    return sum(record["seconds"] for trial in trials for record in Checkpoints(trial).history)


def make_study(experiment: Experiment, folder: Path) -> Study:
    """A new study in a folder."""
    loaded = Loaded(experiment, "benchmark", folder.name)
    return begin_study(folder, loaded, "search")


def run_loop(experiment: Experiment, folder: Path) -> None:
    """The trials of a study, trained in this process and nothing else."""
    study = make_study(experiment, folder)
    while (task := study.ask()) is not None:
        study.complete(task.number, train(task.config, task.folder, task.objective), 0.0, "here")


def run_search(experiment: Experiment, folder: Path, at_once: int, resources: dict[str, float]) -> None:
    """The trials through our search, as `launch.py search` runs them."""
    from orchestrator.trials.tuner import run_trials

    plan = plan_trials(
        experiment.resources.model_copy(update={"concurrent_trials": at_once}), experiment.study.trials, resources
    )
    quiet = SearchProgress(experiment.study.trials, experiment.trial.training.epochs, console=Console(quiet=True))
    run_trials(make_study(experiment, folder), plan, quiet, resources, lambda: False)


def run_plain(experiment: Experiment, folder: Path) -> None:
    """The trials as a user of Ray Tune writes them down: a function, reports, no reuse."""
    from ray import tune

    study = make_study(experiment, folder)
    alone = Plan(workers=1, cpus=1, gpus=0, concurrent=1, machine={})
    wires = [Assignment.of_task(task, alone).to_plain() for task in iter(study.ask, None)]
    config = tune.TuneConfig(max_concurrent_trials=1, reuse_actors=False)
    run = tune.RunConfig(name="plain", storage_path=str(folder.absolute()), verbose=0)
    tune.Tuner(
        tune.with_resources(plain_trial, {"CPU": 1}),
        tune_config=config,
        run_config=run,
        param_space={"wire": tune.grid_search(wires)},
    ).fit()


def plain_trial(config: dict[str, Any]) -> None:
    """What Ray Tune runs in a new process for each trial."""
    from ray import tune

    sent = Assignment.from_plain(config["wire"])
    trial = TrainConfig.model_validate_json(sent.config, strict=False)
    train(trial, sent.folder, sent.objective, lambda record: tune.report(dict(record)))


if __name__ == "__main__":
    main()
