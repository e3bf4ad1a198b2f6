"""Notes which run, split and checkpoint a folder of saved maps is from, because scoring maps of the test split is a
look at test."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from orchestrator.runs import names
from orchestrator.runs.looks import MAPS
from orchestrator.runs.tested import record_look
from wsol.files import write_text


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of saved maps.

    Attributes:
        run: absolute path of the run folder.
        split: the split whose images they show.
        checkpoint_sha256: SHA-256 of the weights that made them.
    """

    run: str
    split: str
    checkpoint_sha256: str


def write_origin(maps: Path, folder: Path, split: str, checkpoint_sha256: str) -> None:
    """Write the note into a folder that is about to be filled with maps."""
    maps.mkdir(parents=True, exist_ok=True)
    origin = Origin(str(folder.resolve()), split, checkpoint_sha256)
    write_text(maps / names.MAPS_ORIGIN, json.dumps(asdict(origin), indent=1))


def read_origin(maps: Path) -> Origin | None:
    """The note of a folder of maps; None if there is none or it cannot be read."""
    try:
        return TypeAdapter(Origin).validate_json((maps / names.MAPS_ORIGIN).read_bytes())
    except (OSError, ValidationError):
        return None


def record_look_at_maps(maps: Path) -> str:
    """Record that maps of a test split are scored, in the run that they are from; returns what was done, in words."""
    origin = read_origin(maps)
    if origin is None:
        return "the run that these maps are from is not known here: this look at test is recorded nowhere"
    folder = Path(origin.run)
    if origin.split != "test":
        return f"these maps are of {origin.split} of {folder}, not of test"
    if not (folder / names.HEADER).is_file():
        return f"these maps are from {folder}, which is not here: this look at test is recorded nowhere"
    record_look(folder, origin.checkpoint_sha256, f"maps in {maps.resolve()} were scored", MAPS)
    return f"these maps are from {folder}: this look at test is recorded in its {names.TESTS}"
