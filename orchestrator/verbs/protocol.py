"""`protocol`: the official protocol as one command. All cells of a campaign are searched together, their winners tested
once, and ranked.

    load                the file with its overrides and all search spaces that it names, checked
    require_campaign    all other checks, before anything is written; or: it is the campaign that has begun here
    begin_campaign      the folder with what each cell is
    connected           Ray on this machine, or a cluster
        every stage         cells that start from others' winners come after those
            search              `Interleaved`: each search goes on, and so does each machine; then the best with seeds
            finish              winners measured on train_fullsup, the one that counts tested; leaderboard after each
    end_campaign        which cells have no winner

All state is in the run folders of the cells; the same command started again continues from there.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.campaign.folder import (
    begin_campaign,
    plan_here,
    read_campaign,
    require_campaign,
    require_same_campaign,
)
from orchestrator.campaign.forecast import Left, measure_cost, say_forecast
from orchestrator.campaign.header import end_campaign
from orchestrator.campaign.load import load_campaign
from orchestrator.campaign.model import Planned, campaign_in_words
from orchestrator.campaign.running import opened_campaign
from orchestrator.cluster.connection import connected
from orchestrator.cluster.plan import plan_on_cluster
from orchestrator.console import console
from orchestrator.experiment.foreign import packages_of
from orchestrator.preflight.place import default_folder, require_writable
from orchestrator.runs import names
from orchestrator.runs.folder import is_campaign_folder
from orchestrator.study.samplers import require_sampler_packages
from orchestrator.trials.interrupt import interruptible
from wsol.errors import InputError, RunFailed


def protocol(path: Path, overrides: list[str], run: Path | None = None, address: str | None = None) -> Path:
    """Run a campaign from its beginning or from where it was left; returns its folder.

    Args:
        path: a campaign file.
        overrides: `KEY=VALUE`; once a campaign has begun, only its resources may change.
        run: the folder, `runs/<file name>` by default.
        address: the address of a Ray cluster; None starts Ray on this machine.

    Raises:
        InputError: the user can correct what is wrong; nothing was written.
        RunFailed: a cell has no winner; all others are done.
        KeyboardInterrupt: the user stopped it; it can be resumed.
    """
    folder = run or default_folder(path.stem)
    planned = _load(path, overrides, folder)
    if is_campaign_folder(folder):
        require_same_campaign(folder, planned)
    else:
        require_campaign(folder, planned, address)
        begin_campaign(folder, planned)
    return _run(folder, planned, address)


def resume_campaign(folder: Path, overrides: list[str], address: str | None = None) -> Path:
    """Continue a campaign; `overrides` may change its resources.

    Raises:
        InputError: the overrides change something else, or the user can correct what is wrong.
        RunFailed: a cell has no winner; all others are done.
        KeyboardInterrupt: the user stopped it; it can be resumed.
    """
    for override in overrides:
        if not override.startswith("resources."):
            raise InputError(
                f"command line: {override}: a resumed campaign can only change resources.*; for other settings start a"
                " new one"
            )
    return _run(folder, read_campaign(folder, overrides), address)


def print_forecast(path: Path, overrides: list[str], run: Path | None = None) -> None:
    """Print how long a campaign would take and how much disk; nothing is written or started. Arguments: see `protocol`.

    Raises:
        InputError: the user can correct what is wrong.
    """
    folder = run or default_folder(path.stem)
    planned = _load(path, overrides, folder)
    plan = plan_here(planned)
    console.print(f"{planned.source}: {campaign_in_words(planned)}\nwould go to {folder}")
    again = planned.reruns_of_a_cell()
    left = [
        Left(cell.name, cell.experiment, cell.experiment.study.trials, planned.again(cell), again)
        for cell in planned.cells
    ]
    say_forecast(left, measure_cost, plan)


def _load(path: Path, overrides: list[str], folder: Path) -> Planned:
    """Load the campaign of a file and print its notes for the user."""
    planned = load_campaign(path, overrides, folder)
    require_sampler_packages(planned.cells[0].experiment.study.sampler)
    for note in dict.fromkeys(f"{cell.method}: {note}" for cell in planned.cells for note in cell.loaded.notes):
        console.print(f"note: {note}")
    return planned


def _run(folder: Path, planned: Planned, address: str | None) -> Path:
    """Run what is left of a campaign."""
    require_writable(folder)
    with connected(address, packages_of(*(cell.experiment for cell in planned.cells))) as resources:
        plan = plan_on_cluster(planned.cells[0].experiment.resources, planned.trials(), resources)
        with opened_campaign(folder, planned, plan) as campaign:
            with interruptible(folder):
                campaign.foretell()
            for stage in planned.stages():
                campaign.search(stage, resources)
                with interruptible(folder):
                    campaign.finish(stage)
            standings = campaign.standings()
    failed = [f"{standing.cell.name}: {standing.failure}" for standing in standings if standing.failure]
    end_campaign(folder, done=not failed)
    console.print(f"\nleaderboard: {folder / names.LEADERBOARD}\ntensorboard: tensorboard --logdir {folder}")
    if failed:
        raise RunFailed("\n".join([f"{len(failed)} of {len(planned.cells)} cells have no winner", *failed]))
    return folder
