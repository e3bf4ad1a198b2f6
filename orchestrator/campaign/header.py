"""`campaign.json`: the cells of a campaign, how it began, and whether it has ended. This file makes a folder a
campaign, so it is written after the cells' files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from orchestrator.campaign.model import Combination, Planned, Reruns
from orchestrator.experiment.foreign import packages_of
from orchestrator.experiment.paths import Values
from orchestrator.formats import timestamp
from orchestrator.runs import names
from orchestrator.runs.provenance import command, git, versions
from wsol.errors import InputError
from wsol.files import write_text
from wsol.schema import first_problem


@dataclass(frozen=True, slots=True)
class CampaignHeader:
    """The facts about a campaign apart from the runs of its cells.

    Attributes:
        name: the name of the campaign file.
        source: the path of the campaign file.
        cells: all cells, in their order.
        hashes: cell -> hash of its experiment without the resources.
        reruns: how each cell's best trials are trained again.
        published_points: whether the published points are tried first.
        started, ended: times with their zone; `ended` is None until every cell has a winner.
        command: the command that began it.
        git: commit of the code and whether it was changed since; None outside a checkout.
        versions: package -> version.
    """

    name: str
    source: str
    cells: tuple[Combination, ...]
    hashes: dict[str, str]
    reruns: Reruns | None
    published_points: bool
    started: str
    ended: str | None
    command: str
    git: Values | None
    versions: dict[str, str]


def write_campaign_header(folder: Path, planned: Planned) -> None:
    """Make a folder, which holds the files of the cells, a campaign."""
    header = CampaignHeader(
        name=planned.name,
        source=planned.source,
        cells=tuple(cell.combination() for cell in planned.cells),
        hashes=planned.hashes(),
        reruns=planned.reruns,
        published_points=planned.published_points,
        started=timestamp(),
        ended=None,
        command=command(),
        git=git(),
        versions=versions(packages_of(*(cell.experiment for cell in planned.cells))),
    )
    _write(folder, header)


def read_campaign_header(folder: Path) -> CampaignHeader:
    """`campaign.json` of a folder.

    Raises:
        InputError: it is missing or damaged.
    """
    path = folder / names.CAMPAIGN
    try:
        header = TypeAdapter(CampaignHeader).validate_python(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(f"{folder}: holds no campaign (no {names.CAMPAIGN})") from None
    except ValidationError as error:
        raise _damaged(path, first_problem(error)) from None
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    if not header.cells:
        raise _damaged(path, "it has no cells")
    for cell in header.cells:
        if cell.name != Path(cell.name).name or cell.name in ("", "..") or "\0" in cell.name:
            raise _damaged(path, f"cell {cell.name!r} is not one plain part of a path")
    return header


def end_campaign(folder: Path, *, done: bool) -> None:
    """Record that every cell has a winner, or that some have none (any more)."""
    _write(folder, replace(read_campaign_header(folder), ended=timestamp() if done else None))


def _write(folder: Path, header: CampaignHeader) -> None:
    reruns = None if header.reruns is None else header.reruns.model_dump()
    write_text(folder / names.CAMPAIGN, json.dumps({**asdict(header), "reruns": reruns}, indent=1))


def _damaged(path: Path, why: str) -> InputError:
    remedy = "restore it from a copy; each folder beside it is a run of its own, for `resume`"
    return InputError(f"{path}: is damaged ({why}); {remedy}")
