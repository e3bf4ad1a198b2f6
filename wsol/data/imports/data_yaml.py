"""The `data.yaml` of YOLO, as Ultralytics and Roboflow write it: where the images of each split are, and the names of
the classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from wsol.data.imports.annotations import SPLITS, read_bytes
from wsol.errors import InputError
from wsol.files import exists, is_dir

LARGEST_FILE = 2**24
NOTHING = ("", "~", "null", "Null", "NULL")
"""How YAML writes that a key has no value."""


@dataclass(frozen=True, slots=True)
class DataYaml:
    """The content of the file.

    Attributes:
        base: the folder that its paths start at.
        names: class names by number.
        places: split -> folders of images, or lists of them.
        notes: where it is read in another place than it says, one sentence each.
    """

    base: Path
    names: dict[int, str]
    places: dict[str, list[Path]]
    notes: list[str] = field(default_factory=list)


def read(path: Path) -> DataYaml:
    """Read the file.

    Raises:
        InputError: it cannot be read, has no names, is of poses, or names a place that is not there.
    """
    try:
        content: Any = yaml.load(read_bytes(path, LARGEST_FILE), yaml.BaseLoader)  # scalars stay text: `no` is a name
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from None
    found = {key: value for key, value in content.items() if value not in NOTHING} if isinstance(content, dict) else {}
    if "names" not in found:
        raise InputError(f"{path}: has no names; a data.yaml of YOLO has train, val and names")
    if "kpt_shape" in found:
        raise InputError(f"{path}: is of poses (kpt_shape), whose rows are no boxes; export boxes")
    names = found["names"]
    numbered = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(numbered, dict) or not all(
        isinstance(name, str) and str(number).isdigit() for number, name in numbered.items()
    ):
        raise InputError(f"{path}: names should be a list, or numbers with names")
    base, notes = path.parent / str(found.get("path", "")), []
    if not is_dir(base):
        notes.append(f"{path}: path {base} is not there; places are looked for in the folder of the file")
        base = path.parent
    places = {split: _places(base, found[split], path, notes) for split in SPLITS if found.get(split)}
    return DataYaml(base, {int(number): name for number, name in numbered.items()}, places, notes)


def _places(base: Path, entry: Any, path: Path, notes: list[str]) -> list[Path]:
    """Folders or lists; Roboflow writes `../train/images` for `train/images`."""
    found: list[Path] = []
    for text in entry if isinstance(entry, list) else [entry]:
        tried = [base / str(text), base / str(text).removeprefix("../")]
        if not any(map(exists, tried)):
            raise InputError(f"{path}: {tried[0]} is not there; correct the path")
        found.append(next(filter(exists, tried)))
        if found[-1] != tried[0]:
            notes.append(f"{path}: {tried[0]} is not there; {found[-1]} is taken")
    return found
