"""`best/scores-<split>.npz`: bootstrap replicates and curves over thresholds, for comparisons and figures. The file of
test also holds the numbers of its look, in case the process ends before they are recorded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from wsol.errors import InputError
from wsol.files import sync_and_rename, temporary_beside

if TYPE_CHECKING:
    from wsol.data.dataset import Split
    from wsol.ops.boxes import Floats
    from wsol.scoring import Scores


REPLICATES, CURVES = "replicates:", "curve:"


@dataclass(frozen=True, slots=True)
class Stored:
    """The content of a file of scores.

    Attributes:
        images: fingerprint of the image names; runs with the same fingerprint share their bootstrap draws.
        replicates: metric -> its value in each of R bootstrap draws (R,).
        curves: name of the curve -> percent at each score threshold (T,).
        threshold_step: distance of those thresholds, which start at 0.
        look: key of the look at test that wrote the file; empty for other splits and in files of older versions.
        numbers: the results of that look, as `test.json` records them.
    """

    images: str
    replicates: dict[str, Floats]
    curves: dict[str, Floats]
    threshold_step: float
    look: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)


def write_scores(
    best: Path, scores: Scores, split: Split, look: str = "", numbers: Mapping[str, Any] | None = None
) -> None:
    """Write the file of a split in one step; see `Stored` for a look at test and its numbers."""
    path = scores_path(best, split.name)
    arrays = {
        **{REPLICATES + name: values.astype(np.float32) for name, values in scores.replicates.items()},
        **{CURVES + name: values.astype(np.float32) for name, values in scores.curves.items()},
    }
    images = hashlib.sha256("\n".join(sorted(split.image_ids)).encode()).hexdigest()
    about = {
        "images": np.array(images),
        "threshold_step": np.array(scores.threshold_step),
        "look": np.array(look),
        "numbers": np.array(json.dumps(numbers or {})),
    }
    with temporary_beside(path) as temporary:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **about, **arrays)  # type: ignore[arg-type]
        sync_and_rename(temporary, path)


def read_scores(best: Path, split: str) -> Stored:
    """Read the file of a split.

    Raises:
        InputError: the file is missing or damaged.
    """
    path = scores_path(best, split)
    if not path.is_file():
        raise InputError(
            f"{path}: missing; {split} was not scored yet, or by an older version: `python launch.py evaluate"
            f" {best.parent} --split {split}`"
        )
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        replicates, curves = (
            {
                name.removeprefix(kind): values.astype(np.float64)
                for name, values in found.items()
                if name.startswith(kind)
            }
            for kind in (REPLICATES, CURVES)
        )
        look, numbers = str(found.get("look", "")), json.loads(str(found.get("numbers", "{}")))
        return Stored(str(found["images"]), replicates, curves, float(found["threshold_step"]), look, numbers)
    except (ValueError, OSError, KeyError, EOFError, BadZipFile) as error:
        raise InputError(f"{path}: is damaged ({error})") from None


def scores_path(best: Path, split: str) -> Path:
    """The path of the file of a split."""
    return best / f"scores-{split}.npz"
