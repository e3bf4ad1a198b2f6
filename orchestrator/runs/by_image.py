"""`study.images`: how much each image added to the objective, for every epoch of every trial (`study.scheduler: race`).

A line of JSON for each epoch, added and never changed; the line that a crash cut off is left out. Hits and misses take
about a bit an image after compression.
"""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from orchestrator.runs import names

Numbers = npt.NDArray[np.float32]


def pack(numbers: npt.ArrayLike) -> str:
    """Numbers (n,) as text."""
    return base64.b64encode(zlib.compress(np.asarray(numbers, "<f4").tobytes())).decode()


def unpack(text: str) -> Numbers:
    """The numbers (n,) float32 in the text of `pack`."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<f4").astype(np.float32)


class ImageNumbers:
    """The file in a run folder.

    Args:
        folder: the run folder; the file need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / names.IMAGE_NUMBERS
        self._known: dict[tuple[int, int], str] = {}
        text = self._path.read_bytes() if self._path.is_file() else b""
        self._torn = bool(text) and not text.endswith(b"\n")
        for line in text.splitlines():
            try:
                trial, epoch, numbers = json.loads(line)
                self._known[int(trial), int(epoch)] = str(numbers)
            except (ValueError, TypeError):
                continue

    def add(self, trial: int, epoch: int, numbers: str) -> None:
        """Add the numbers of an epoch, as `pack` returns them. Those of an epoch that is there already stay."""
        if (trial, epoch) in self._known:
            return
        self._known[trial, epoch] = numbers
        with self._path.open("a", encoding="ascii") as file:
            file.write("\n" * self._torn + json.dumps([trial, epoch, numbers]) + "\n")
        self._torn = False

    def packed(self, trial: int, epoch: int) -> str:
        """The text of an epoch as it was added; empty where there is none."""
        return self._known.get((trial, epoch), "")

    def of(self, trial: int, epoch: int) -> Numbers | None:
        """The numbers (n,) of an epoch; None where there are none, or they are damaged."""
        try:
            return unpack(self._known[trial, epoch])
        except (KeyError, ValueError, zlib.error):
            return None
