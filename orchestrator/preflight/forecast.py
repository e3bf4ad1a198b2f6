"""Forecasts the time and disk space of a search: one training step and the evaluation of a few images are measured on
random images, and the rest is arithmetic.

Only the sizes of the data set are needed, not the data. Searched values may change the cost; the published point is
measured.
"""

from __future__ import annotations

import math
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cluster.plan import gpus_of_a_worker, local_resources, plan_trials
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.post_hoc import post_hoc_settings
from orchestrator.formats import duration, megabytes
from orchestrator.study.checkpoints import RIVALS
from orchestrator.study.points import shuffled_grid
from wsol.disk import existing
from wsol.errors import InputError

if TYPE_CHECKING:
    from wsol.data.dataset import Sizes
    from wsol.method import Method


LOG_BYTES = 100_000
"""Bytes of TensorBoard's maps and numbers for one epoch."""


STARTS = 30.0
"""Seconds until Ray runs, until the processes of trials have imported everything, and the same again for the
measurements at the end: 25 to 35 on two slow cores."""


RUN_BYTES = 5_000_000
"""Bytes of report, pictures and scores of a run."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The measured costs, and the totals computed from them.

    Attributes:
        device: the device on which it was measured.
        parameters: number of parameters of the method, its network included.
        weights_bytes: size of the exported weights.
        checkpoint_bytes: size of one checkpoint: weights, buffers and momentum.
        seconds_per_step: time for one worker's share of a global batch, at the last epoch.
        seconds_per_image: time of one worker for one evaluated image: forward pass, map, boxes.
        settings: how many settings every epoch is scored under; 1 where trials choose no post-hoc setting.
        seconds_under_all: time of one worker for one image under all of them.
        choices: how many post-hoc settings the winner's is chosen from at the end; 1 where nothing is chosen.
        seconds_of_choice: time of one worker for one image under all of these.
        passes: extractor -> how many further images go through the network for the map of one; only those of the
            settings above that need any, with the most of each.
        sizes: number of images that are trained on, scored on and tested on; see `supervision.sizes`.
        batch_size: images of a global batch.
        epochs: epochs of a trial.
        trials: number of trials of the search.
        again: how many trainings with other seeds follow it (`study.confirm`).
        workers: workers of a trial.
        cpus: CPU cores of a worker.
        gpus: GPUs of a worker.
        concurrent: number of trials at the same time on this machine; 1 if not even one fits.
    """

    device: str
    parameters: int
    weights_bytes: int
    checkpoint_bytes: int
    seconds_per_step: float
    seconds_per_image: float
    settings: int
    seconds_under_all: float
    choices: int
    seconds_of_choice: float
    passes: dict[str, int]
    sizes: Sizes
    batch_size: int
    epochs: int
    trials: int
    again: int
    workers: int
    cpus: int
    gpus: float
    concurrent: int

    @property
    def steps_per_epoch(self) -> int:
        """Number of global batches in an epoch."""
        return math.ceil(self.sizes.train_weaksup / self.batch_size)

    @property
    def seconds_per_trial(self) -> float:
        """Time of all epochs with their evaluations, in seconds, without start-up, waiting for the disk, and the
        exchange of gradients."""
        return self.epochs * (self.steps_per_epoch * self.seconds_per_step + self.seconds_of_scoring)

    @property
    def seconds_of_scoring(self) -> float:
        """Time of one epoch's evaluation on train_fullsup, under all settings, in seconds."""
        return math.ceil(self.sizes.train_fullsup / self.workers) * self.seconds_under_all

    @property
    def seconds_at_the_end(self) -> float:
        """Time in which one worker evaluates the winner and its rivals again on train_fullsup, and the winner on test,
        in seconds; where there are post-hoc settings, the winner under all of them."""
        plain = ((1 + RIVALS) * self.sizes.train_fullsup + self.sizes.test) * self.seconds_per_image
        return plain + (self.seconds_of_choosing if self.choices > 1 else 0.0)

    @property
    def seconds_of_choosing(self) -> float:
        """Time in which one worker evaluates the winner under all post-hoc settings on train_fullsup, in seconds."""
        return self.sizes.train_fullsup * self.seconds_of_choice

    def total_seconds(self, concurrent: int) -> float:
        """Wall time of the search with so many trials at the same time; schedulers make it shorter."""
        rounds = math.ceil(self.trials / concurrent) + math.ceil(self.again / concurrent)
        return STARTS + rounds * self.seconds_per_trial + self.seconds_at_the_end

    @property
    def hours_of_devices(self) -> float:
        """GPU hours of all trainings, or CPU hours where a trial takes no GPU."""
        seconds = (self.trials + self.again) * self.seconds_per_trial
        return seconds * self.workers * (self.gpus or self.cpus) / 3600

    @property
    def disk_bytes(self) -> int:
        """Largest size of the run folder in bytes."""
        return (
            disk_bytes(self.checkpoint_bytes, self.trials + self.again, self.epochs, self.concurrent)
            + self.weights_bytes
        )


def forecast_search(experiment: Experiment) -> Forecast:
    """Measure a step and an evaluation of the published point on the device of this process, on random images; nothing
    is left behind.

    Raises:
        InputError: the sizes of the data set are not known, or a step does not fit the device's memory.
    """
    from wsol import build, cost, supervision

    config, resources = experiment.trial, experiment.resources
    sizes = supervision.sizes(config)
    method = build.bare_method(config, sizes.classes)
    settings = [setting for _, setting in post_hoc_settings(config, experiment.chosen_by_trials)]
    spent = cost.seconds(method, config, sizes, resources.workers, resources.cpus_per_worker, settings)
    choices = [setting for _, setting in post_hoc_settings(config, experiment.post_hoc)]
    chosen_at_the_end = len(choices) > len(settings)
    seconds_of_choice = (
        cost.seconds_of_choice(method, config, sizes, resources.cpus_per_worker, choices)
        if chosen_at_the_end
        else spent.image_under_all
    )
    return Forecast(
        device=cost.device_name(resources.cpus_per_worker),
        parameters=sum(parameter.numel() for parameter in method.parameters()),
        weights_bytes=cost.weights_bytes(method),
        checkpoint_bytes=cost.checkpoint_bytes(method, config.optim),
        seconds_per_step=spent.step,
        seconds_per_image=spent.image,
        settings=len(settings),
        seconds_under_all=spent.image_under_all,
        choices=len(choices),
        seconds_of_choice=seconds_of_choice,
        passes=cost.passes_by_extractor(method, choices),
        sizes=sizes,
        batch_size=config.training.batch_size,
        epochs=config.training.epochs,
        trials=_trials(experiment),
        again=_again(experiment),
        workers=resources.workers,
        cpus=resources.cpus_per_worker,
        gpus=gpus_of_a_worker(resources, local_resources()),
        concurrent=trials_at_once(experiment)[0],
    )


def trials_at_once(experiment: Experiment) -> tuple[int, str | None]:
    """How many trials this machine runs at the same time; if not even one fits, how many would run elsewhere, and why
    none fits here."""
    try:
        return plan_trials(experiment.resources, experiment.study.trials, local_resources()).concurrent, None
    except InputError as error:
        return experiment.resources.concurrent_trials or 1, str(error)


def disk_bytes(checkpoint: int, trials: int, epochs: int, concurrent: int) -> int:
    """Largest size of a run folder in bytes: a checkpoint of each trial, for running ones also the latest and a
    half-written one, and all curves."""
    return (trials + 2 * min(concurrent, trials)) * checkpoint + trials * epochs * LOG_BYTES + RUN_BYTES


def require_disk(needed: int, folder: Path) -> None:
    """Raise InputError if a run folder would not fit the free disk space."""
    if needed > (free := free_bytes(folder)):
        raise InputError(
            f"{folder}: the run needs up to {needed / 1e9:.2f} GB (checkpoints of all trials, TensorBoard), "
            f"{free / 1e9:.2f} GB are free there; make room, choose another disk with --run, or lower study.trials"
        )


def require_disk_for(experiment: Experiment, method: Method, folder: Path) -> None:
    """Call `require_disk` for a search that is about to start.

    Args:
        experiment: the run's experiment.
        method: the method of its published point.
        folder: the run folder, which need not exist.

    Raises:
        InputError: the run folder would not fit the free disk space.
    """
    from wsol import cost

    concurrent, _ = trials_at_once(experiment)
    checkpoint = cost.checkpoint_bytes(method, experiment.trial.optim)
    require_disk(
        disk_bytes(checkpoint, _trials(experiment) + _again(experiment), experiment.trial.training.epochs, concurrent),
        folder,
    )


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk where a folder is or would be."""
    return int(shutil.disk_usage(existing(folder)).free)


def forecast_lines(made: Forecast, concurrent: int, folder: Path) -> Iterator[str]:
    """The forecast in lines of at most 80 columns.

    Args:
        made: the forecast.
        concurrent: trials at the same time.
        folder: the run folder, for its free disk.
    """
    kind = "GPU" if made.gpus else "CPU"
    yield f"forecast, measured on random images on {made.device}:"
    yield (
        f"  model    {made.parameters / 1e6:.2f} M parameters, {megabytes(made.weights_bytes)}; a checkpoint"
        f" {megabytes(made.checkpoint_bytes)}"
    )
    share = math.ceil(made.batch_size / made.workers)
    yield (
        f"  step     {made.seconds_per_step:.3g} s for {share} images; evaluation {made.seconds_per_image:.3g} s an"
        " image"
    )
    trial = f"{made.epochs} epochs of {made.steps_per_epoch} steps and {made.sizes.train_fullsup} images"
    if made.settings > 1:
        part = made.epochs * made.seconds_of_scoring / made.seconds_per_trial
        yield f"  post-hoc {made.settings} settings after every epoch: {made.seconds_under_all:.3g} s an image,"
        yield f"           {100 * part:.0f} % of a trial"
    elif made.choices > 1:
        yield (
            f"  post-hoc {made.choices} settings of the winner: {made.seconds_of_choice:.3g} s an image,"
            f" {duration(made.seconds_of_choosing)} at the end"
        )
    if made.passes:
        told = ", ".join(f"{name} {passes}" for name, passes in made.passes.items())
        yield from textwrap.wrap(
            f"{told} of the network an image", 80, initial_indent="  passes   ", subsequent_indent=" " * 11
        )
    yield f"  trial    {duration(made.seconds_per_trial)} ({trial})"
    hours = f"{made.hours_of_devices:,.0f}" if made.hours_of_devices > 10 else f"{made.hours_of_devices:.2g}"
    total = duration(made.total_seconds(concurrent))
    trials = f"{made.trials} trials" + (f" and {made.again} again" if made.again else "")
    yield f"  search   {total} for {trials}, {concurrent} at a time; {hours} {kind} hours"
    yield f"  disk     {megabytes(made.disk_bytes)} for the run folder; {megabytes(free_bytes(folder))} are free there"


def _trials(experiment: Experiment) -> int:
    study = experiment.study
    return min(study.trials, len(shuffled_grid(experiment))) if study.sampler == "grid" else study.trials


def _again(experiment: Experiment) -> int:
    """How many trainings with other seeds follow the search."""
    confirm = experiment.study.confirm
    return 0 if confirm is None else min(confirm.top, _trials(experiment)) * len(confirm.seeds)
