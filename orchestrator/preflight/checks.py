"""All checks that come before anything is written or started."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cluster.environment import ready_for_ray
from orchestrator.cluster.plan import Plan, local_resources, plan_trials
from orchestrator.console import console
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.post_hoc import post_hoc_settings, require_choosable
from orchestrator.preflight.forecast import require_disk_for
from orchestrator.preflight.packages import require_logger_packages
from orchestrator.preflight.place import require_new_run_folder
from orchestrator.runs.store import require_free_store
from orchestrator.study.samplers import require_sampler_packages

if TYPE_CHECKING:
    from wsol.data.dataset import Split
    from wsol.method import Method

NVIDIA, DISPLAY = "0x10de", "0x03"
"""Vendor and class of a PCI device."""


def require(experiment: Experiment, folder: Path, address: str | None = None, *, alone: bool = False) -> None:
    """Make every check of a run that is about to begin, once, cheap ones first. Nothing is written or started.

        the folder can be made, and holds no run and nothing else
        the packages of sampler and loggers are installed
        a trial fits this machine, unless it goes to a cluster, which is checked after connecting
        post-hoc settings can be chosen, if there are any
        Ray can start on this machine, if it is to
        the store, if there is one, can be written, and has no run of that name
        the data can be read, the metrics can be computed, images to be cached can be decoded
        the method can be built, and has the blocks that are evaluated
        the disk has room

    Args:
        experiment: the run's experiment.
        folder: the run folder.
        address: the address of a Ray cluster; None: this machine.
        alone: the run is one training without Ray, whose workers are this process or those of torchrun.

    Raises:
        InputError: a check failed; the message says what, where, and what to do.
    """
    require_new_run_folder(folder)
    require_packages(experiment, alone=alone)
    if not alone:
        require_choosable(experiment.trial, experiment.post_hoc)
    if address is None:
        local_plan(experiment, alone=alone)
    if address is None and not alone:
        ready_for_ray()
    require_free_store(experiment.resources.storage, folder.resolve().name)
    require_data(experiment)
    require_disk_for(experiment, require_model(experiment), folder)


def local_plan(experiment: Experiment, *, alone: bool = False) -> Plan:
    """The resources that a trial takes of this machine. Raises InputError if not even one trial fits. Arguments: see
    `require`."""
    resources = experiment.resources.model_copy(update={"workers": 1}) if alone else experiment.resources
    here = local_resources()
    if not here["GPU"] and has_nvidia_gpu():
        console.print(
            "note: this machine has an NVIDIA GPU that torch cannot use: install its driver, or a newer one, until"
            " `nvidia-smi` lists it; CPUs are used"
        )
    return plan_trials(resources, experiment.study.trials, here)


def has_nvidia_gpu(devices: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Whether this machine has an NVIDIA GPU, with or without a driver; on Linux only."""
    for device in devices.glob("*"):
        with contextlib.suppress(OSError):
            kind = (device / "class").read_text(encoding="ascii")
            if (device / "vendor").read_text(encoding="ascii").strip() == NVIDIA and kind.startswith(DISPLAY):
                return True
    return False


def require_packages(experiment: Experiment, *, alone: bool = False) -> None:
    """Raise InputError if sampler or loggers need a package that is not installed; a training alone has no loggers."""
    require_sampler_packages(experiment.study.sampler)
    if not alone:
        require_logger_packages(experiment.study.loggers)


def require_data(experiment: Experiment) -> None:
    """The checks that runs with the same data set and metrics share: read the data, try the metrics, and only then
    decode the images to be cached. Prints notes about images that are in two splits, and about the training images if
    they are a list or have boxes.

    Raises:
        InputError: a file is missing or damaged, or a metric cannot be computed.
    """
    from wsol import build, supervision
    from wsol.evaluation import require_countable

    config = experiment.trial
    dataset = build.dataset(config.data)
    scored = {name: supervision.scored_split(dataset, name, config) for name in ("train_fullsup", "test")}
    for split in scored.values():
        require_countable(split, config.data.image_size, config.evaluation)
    trained = supervision.training_images(dataset, config).split
    for split in scored.values():
        supervision.on_the_grid(split, config)  # decodes
    for note in shared_images({"what is trained on" if config.uses_boxes else "train_weaksup": trained, **scored}):
        console.print(f"note: {note}")
    if config.data.subset_list is not None or config.uses_boxes:
        console.print(f"note: trained on {supervision.described(dataset, config)}")


def shared_images(splits: Mapping[str, Split]) -> Iterator[str]:
    """Notes about images that are in two splits."""
    known = {name: set(split.image_ids) for name, split in splits.items()}
    for one, other in combinations(known, 2):
        if both := known[one] & known[other]:
            yield (
                f"{len(both)} of {len(known[other])} images of {other} are in {one} too, such as {min(both)}: scores on"
                f" {other} are not those of unseen images"
            )


def require_model(experiment: Experiment) -> Method:
    """Build the method once, and try the extractors that are evaluated; returns the method.

    Raises:
        InputError: the method cannot be built, or an extractor cannot work on it.
    """
    from wsol import build
    from wsol.evaluation import require_extractors

    config = experiment.trial
    settings = [setting.evaluation for _, setting in post_hoc_settings(config, experiment.post_hoc)]
    method = build.method(config, build.dataset(config.data).num_classes)
    require_extractors(method, settings, config.data.image_size)
    return method
