"""The folder of a campaign: beginning it, reading it again, and comparing it with a campaign file."""

from __future__ import annotations

from pathlib import Path

from orchestrator.campaign.header import read_campaign_header, write_campaign_header
from orchestrator.campaign.model import CampaignCell, Planned
from orchestrator.cluster.environment import ready_for_ray
from orchestrator.cluster.plan import Plan, local_resources, plan_trials
from orchestrator.experiment.load import Loaded, load_experiment
from orchestrator.experiment.post_hoc import require_choosable
from orchestrator.preflight.checks import require_data, require_model
from orchestrator.preflight.place import require_no_foreign_files, require_writable
from orchestrator.runs import names
from orchestrator.runs.folder import is_campaign_folder, require_no_run, require_plugins, write_experiment
from orchestrator.runs.lock import locked_new
from wsol.errors import InputError, listed
from wsol.files import TEMPORARY


def require_campaign(folder: Path, planned: Planned, address: str | None) -> None:
    """Make every check of a campaign that is about to begin, once; see `orchestrator.preflight.checks.require`.

    Args:
        folder: the folder in which it is to begin.
        planned: the campaign that is to begin.
        address: the address of a Ray cluster; None: this machine must have room for a trial, and for Ray.

    Raises:
        InputError: the user can correct what is wrong; nothing was written.
    """
    own = {*(cell.name for cell in planned.cells), names.LOCK, names.OWNER}
    require_writable(folder)
    require_no_run(folder)
    require_no_foreign_files(folder, lambda name: name in own or name.endswith(TEMPORARY))
    if address is None:
        plan_here(planned)
        ready_for_ray()
    _require_runnable(planned.stages()[0])


def begin_campaign(folder: Path, planned: Planned) -> None:
    """Write the files of the cells; the file that makes the folder a campaign comes last. The folder is locked while
    this is done, so that only one of two launchers that begin at the same moment writes.

    Raises:
        InputError: another process begins another campaign there.
    """
    with locked_new(folder):
        if is_campaign_folder(folder):  # the other process was faster
            require_same_campaign(folder, planned)
            return
        for cell in planned.cells:
            (folder / cell.name).mkdir(exist_ok=True)
            title = f"A cell of {planned.source}. From {cell.loaded.source}."
            write_experiment(folder / cell.name, cell.experiment, title)
        write_campaign_header(folder, planned)


def read_campaign(folder: Path, overrides: list[str]) -> Planned:
    """Read the campaign of a folder, with changed resources.

    Args:
        folder: a campaign's folder.
        overrides: `resources.KEY=VALUE`.

    Raises:
        InputError: a file of it is missing or damaged, or an override is wrong.
    """
    header = read_campaign_header(folder)
    cells = []
    for cell in header.cells:
        require_plugins(folder / cell.name)
        experiment = load_experiment(folder / cell.name / names.EXPERIMENT, overrides).experiment
        loaded = Loaded(experiment, header.source, cell.name)
        cells.append(CampaignCell(cell.name, cell.method, cell.backbone, cell.dataset, cell.after, loaded))
    return Planned(header.name, header.source, cells, header.reruns, header.published_points)


def require_same_campaign(folder: Path, planned: Planned) -> None:
    """Raise InputError if a folder holds another campaign than this one."""
    header, hashes = read_campaign_header(folder), planned.hashes()
    cells = {cell.name: cell for cell in planned.cells}
    other = [
        name
        for name in {**header.hashes, **hashes}
        if header.hashes.get(name) != hashes.get(name) and not _is_recorded(folder, cells.get(name))
    ]
    if other:
        what = f"{listed(other)} differ"
    elif (header.reruns, header.published_points) != (planned.reruns, planned.published_points):
        what = "its reruns or published points differ"
    else:
        return
    raise InputError(
        f"{folder}: holds a campaign of {header.source} that has changed since ({what}); continue it as it was with"
        f" `python launch.py resume {folder}`, or begin this one in another folder with --run"
    )


def _is_recorded(folder: Path, cell: CampaignCell | None) -> bool:
    """Whether the folder records the same experiment for a cell. Hashes alone do not tell, because versions with other
    entries in their configurations have other hashes."""
    if cell is None or not (folder / cell.name / names.EXPERIMENT).is_file():
        return False
    recorded = load_experiment(folder / cell.name / names.EXPERIMENT).experiment
    return recorded.model_copy(update={"resources": cell.experiment.resources}) == cell.experiment


def plan_here(planned: Planned) -> Plan:
    """How many trials fit on this machine at once.

    Raises:
        InputError: not even one does.
    """
    return plan_trials(planned.cells[0].experiment.resources, planned.trials(), local_resources())


def _require_runnable(cells: list[CampaignCell]) -> None:
    """Raise InputError if a cell cannot be trained; each data set is read only once."""
    checked: list[object] = []
    for cell in cells:
        trial = cell.experiment.trial
        if cell.experiment.resources.storage:
            raise InputError(
                f"{cell.name}: resources.storage: a campaign needs a folder that all nodes see; leave it out, or"
                " `search` cells alone"
            )
        require_choosable(trial, cell.experiment.post_hoc)
        if (read := (trial.data, trial.evaluation, trial.withheld)) not in checked:
            require_data(cell.experiment)
            checked.append(read)
        require_model(cell.experiment)
