"""`best/scores-<split>.npz`: bootstrap replicates and curves over thresholds, of which comparisons and figures are
made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
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
    """What a file holds.

    Attributes:
        images: fingerprint of the image names; equal ones were resampled alike.
        replicates: metric -> (R,).
        curves: curve -> percent over thresholds (T,).
        threshold_step: distance of those thresholds, which start at 0.
    """

    images: str
    replicates: dict[str, Floats]
    curves: dict[str, Floats]
    threshold_step: float


def write_scores(best: Path, scores: Scores, split: Split) -> None:
    """Write the file of a split in one step."""
    path = scores_path(best, split.name)
    arrays = {
        **{REPLICATES + name: values.astype(np.float32) for name, values in scores.replicates.items()},
        **{CURVES + name: values.astype(np.float32) for name, values in scores.curves.items()},
    }
    images = hashlib.sha256("\n".join(sorted(split.image_ids)).encode()).hexdigest()
    step = np.array(scores.threshold_step)
    with temporary_beside(path) as temporary:
        with temporary.open("wb") as file:
            np.savez_compressed(file, images=np.array(images), threshold_step=step, **arrays)  # type: ignore[arg-type]
        sync_and_rename(temporary, path)


def read_scores(best: Path, split: str) -> Stored:
    """Read the file of a split.

    Raises:
        InputError: there is none, or it is damaged.
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
        return Stored(str(found["images"]), replicates, curves, float(found["threshold_step"]))
    except (ValueError, OSError, KeyError, EOFError, BadZipFile) as error:
        raise InputError(f"{path}: is damaged ({error})") from None


def scores_path(best: Path, split: str) -> Path:
    """Where the file of a split is."""
    return best / f"scores-{split}.npz"
