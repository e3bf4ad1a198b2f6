"""Shows what a search would do, without doing it."""

from __future__ import annotations

from pathlib import Path

from orchestrator.console import console
from orchestrator.experiment.load import load_and_print_notes
from orchestrator.formats import plain_text, to_yaml
from orchestrator.preflight.forecast import forecast_lines, forecast_search, require_disk, trials_at_once
from orchestrator.preflight.place import default_folder
from orchestrator.study.begin import preview
from orchestrator.study.samplers import require_sampler_packages
from wsol.console import say


def print_dry_run(path: Path, overrides: list[str], run: Path | None = None) -> None:
    """Print what a search would do: the resolved configuration, the space, the first points, and a forecast of time and
    disk. Nothing is written or started.

    Args:
        path: a search-space file.
        overrides: `KEY=VALUE`.
        run: where the run folder would be.

    Raises:
        InputError: the user can correct what is wrong, such as a full disk.
    """
    loaded = load_and_print_notes(path, overrides)
    require_sampler_packages(loaded.experiment.study.sampler)
    experiment = loaded.experiment
    console.print(to_yaml(experiment.model_dump(mode="json")), end="")
    concurrent, misfit = trials_at_once(experiment)
    if misfit:
        console.print(f"\nnote: not on this machine: {misfit}")
    console.print(
        f"\n{experiment.study.trials} trials, {concurrent} at a time, {experiment.resources.workers} worker(s) each;"
        " the first points:"
    )
    for task in preview(experiment, min(len(experiment.points) + 5, experiment.study.trials)):
        values = (f"{name}={plain_text(value)}" for name, value in task.values.items())
        console.print(f"  trial {task.number}: {', '.join(values)}  ({task.origin})")
    if confirm := experiment.study.confirm:
        console.print(f"then {confirm.in_words()}")
    say("measuring a training step and evaluated images")
    folder, made = run or default_folder(loaded.name), forecast_search(experiment)
    for line in forecast_lines(made, concurrent, folder):
        console.print(line)
    require_disk(made.disk_bytes, folder)
