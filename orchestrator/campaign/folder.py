"""The folder of a campaign: begun, read again, compared with what is asked for."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

from orchestrator.campaign.model import CampaignCell, Planned, Reruns
from orchestrator.cluster.plan import Plan, local_resources, plan_trials
from orchestrator.experiment.load import Loaded, load_experiment
from orchestrator.formats import timestamp
from orchestrator.preflight.checks import require_data, require_model
from orchestrator.preflight.place import require_no_foreign_files, require_writable
from orchestrator.runs import names
from orchestrator.runs.folder import require_no_run, write_experiment
from orchestrator.runs.provenance import git, versions
from wsol.errors import InputError
from wsol.files import write_text


def require_campaign(folder: Path, planned: Planned, address: str | None) -> None:
    """Every check of a campaign that is about to begin, once; see `orchestrator.preflight.checks.require`.

    Raises:
        InputError: something the user can mend; nothing was written.
    """
    cells = {cell.name for cell in planned.cells}
    require_writable(folder)
    require_no_run(folder)
    require_no_foreign_files(folder, lambda name: name in cells)
    if address is None:
        plan_here(planned)
    _check(planned.stages()[0])


def begin_campaign(folder: Path, planned: Planned) -> None:
    """Write down the cells; the file that makes the folder a campaign comes last."""
    for cell in planned.cells:
        (folder / cell.name).mkdir(parents=True, exist_ok=True)
        write_experiment(folder / cell.name, cell.experiment, f"A cell of {planned.source}. From {cell.loaded.source}.")
    cells = [
        {key: getattr(cell, key) for key in ("name", "method", "backbone", "dataset", "after")}
        for cell in planned.cells
    ]
    command = shlex.join(["python", Path(sys.argv[0]).name, *sys.argv[1:]])
    facts = {
        "started": timestamp(),
        "ended": None,
        "command": command,
        "git": git(),
        "versions": versions(),
    }
    write_text(
        folder / names.CAMPAIGN,
        json.dumps(
            {"name": planned.name, "source": planned.source, "cells": cells, **planned.identity(), **facts}, indent=1
        ),
    )


def end_campaign(folder: Path, *, done: bool) -> None:
    """Note when a campaign ended; one that is not done has not."""
    header = json.loads((folder / names.CAMPAIGN).read_text())
    write_text(folder / names.CAMPAIGN, json.dumps({**header, "ended": timestamp() if done else None}, indent=1))


def _check(cells: list[CampaignCell]) -> None:
    """Data and methods of some cells, each data set once."""
    checked: list[object] = []
    for cell in cells:
        trial = cell.experiment.trial
        if cell.experiment.resources.storage:
            raise InputError(
                f"{cell.name}: resources.storage: a campaign needs a folder that all nodes see; leave it out, or"
                " `search` cells alone"
            )
        if (trial.data, trial.evaluation) not in checked:
            require_data(cell.experiment)
            checked.append((trial.data, trial.evaluation))
        require_model(cell.experiment)


def read_campaign(folder: Path, overrides: list[str]) -> Planned:
    """The campaign of a folder, with other resources."""
    header = json.loads((folder / names.CAMPAIGN).read_text())
    cells = []
    for known in header["cells"]:
        loaded = load_experiment(folder / known["name"] / names.EXPERIMENT, overrides)
        cells.append(CampaignCell(**known, loaded=Loaded(loaded.experiment, header["source"], known["name"])))
    reruns = None if header["reruns"] is None else Reruns.model_validate(header["reruns"])
    return Planned(header["name"], header["source"], cells, reruns, header["published_points"])


def require_same_campaign(folder: Path, planned: Planned) -> None:
    """Raises InputError if a folder holds another campaign than this one."""
    header, identity = json.loads((folder / names.CAMPAIGN).read_text()), planned.identity()
    if any(header[key] != identity[key] for key in identity):
        hashes = {**header["hashes"], **identity["hashes"]}
        other = [name for name in hashes if header["hashes"].get(name) != identity["hashes"].get(name)]
        what = (
            f"{', '.join(other[:3])}{' ...' if len(other) > 3 else ''} differ"
            if other
            else "its reruns or published points differ"
        )
        raise InputError(
            f"{folder}: holds a campaign of {header['source']} that is another one by now ({what}); go on with it as it"
            f" was by `python launch.py resume {folder}`, or begin this one in another folder with --run"
        )


def plan_here(planned: Planned) -> Plan:
    return plan_trials(planned.cells[0].experiment.resources, planned.trials(), local_resources())
