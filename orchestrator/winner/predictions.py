"""Writes the predictions of a run's winner on new images into a folder of their own.

    predictions.csv         a row for every box; for an image without one, or that failed, a row without a box
    predictions.json        the boxes in COCO's result format
    overlays/<name>.png     the score map over the photo, with the boxes
    maps/<name>.npy         raw maps, if asked for; as `evaluate --save-maps` writes them

An image's id is its place among all images, from 1; a category's id is the class in [0, K). The score of a box is the
probability of the class. The two tables appear under their names at the end, or when the run is interrupted, and are
complete then.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from orchestrator.formats import csv_cell
from orchestrator.pictures.drawing import encoded_png, prediction_overlay
from wsol.disk import full_disk_of
from wsol.files import sync_and_rename, temporary_beside
from wsol.prediction import Evidence, Failed, Prediction

TABLE, RESULTS, OVERLAYS, MAPS = "predictions.csv", "predictions.json", "overlays", "maps"

COLUMNS = (
    "image_id",
    "image",
    "width",
    "height",
    "class",
    "class_name",
    "probability",
    "x0",
    "y0",
    "x1",
    "y1",
    "error",
)

NO_BOX = ("", "", "", "")


class Predictions:
    """The two tables, open.

    Args:
        class_names: the classes of the data set, in the order of its labels.
        table: the open file that gets the rows.
        results: the open file that gets COCO's list.

    Attributes:
        images: how many were added, including failed ones.
        boxes: the total number of their boxes.
        failed: how many images have an error.
    """

    def __init__(self, class_names: Sequence[str], table: IO[str], results: IO[str]) -> None:
        self.images = self.boxes = self.failed = 0
        self._class_names, self._table, self._results = class_names, table, results
        self._rows = csv.writer(table)
        self._rows.writerow(COLUMNS)

    def add(self, found: Prediction | Failed) -> None:
        """Write the next image."""
        self.images += 1
        if isinstance(found, Failed):
            self.failed += 1
            nothing = [""] * (len(COLUMNS) - 3)
            self._rows.writerow([self.images, csv_cell(found.name), *nothing, csv_cell(found.reason)])
        else:
            self._add_boxes(found)

    def _add_boxes(self, found: Prediction) -> None:
        class_name, probability = self._class_names[found.label], round(found.probability, 6)
        known = [self.images, csv_cell(found.name), *found.size, found.label, csv_cell(class_name), probability]
        boxes: Sequence[Sequence[object]] = found.boxes or [NO_BOX]
        self._rows.writerows([*known, *box, ""] for box in boxes)
        for x0, y0, x1, y1 in found.boxes:
            result = {
                "image_id": self.images,
                "category_id": found.label,
                "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1],
                "score": probability,
                "file_name": found.name,
            }
            self._results.write(f"{',' if self.boxes else '['}\n{json.dumps(result)}")
            self.boxes += 1

    def close(self) -> None:
        """Complete COCO's list and close both files."""
        self._results.write("\n]\n" if self.boxes else "[]\n")
        self._results.close()
        self._table.close()


@contextmanager
def new_predictions(folder: Path, class_names: Sequence[str]) -> Iterator[Predictions]:
    """Open the tables in a new or empty folder. However the block ends, everything added until then is kept.

    Args:
        folder: made if it is not there.
        class_names: the classes of the data set, in the order of its labels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (
        temporary_beside(folder / TABLE) as rows,
        temporary_beside(folder / RESULTS) as entries,
        rows.open("w", encoding="utf-8", errors="surrogateescape", newline="") as table,
        entries.open("w", encoding="utf-8") as results,
    ):
        predictions = Predictions(class_names, table, results)
        try:
            yield predictions
        finally:
            predictions.close()
            if predictions.images:
                sync_and_rename(rows, folder / TABLE)
                sync_and_rename(entries, folder / RESULTS)


def draw(evidence: Evidence, folder: Path, *, maps: bool) -> Prediction | Failed:
    """Write the pictures of a prediction; the prediction counts as failed if the file system refuses their names.

    Args:
        evidence: what the prediction was made from.
        folder: the folder of the predictions.
        maps: write the raw map as well.

    Raises:
        OSError: the disk is full.
    """
    found = evidence.prediction
    picture = prediction_overlay(evidence.pixels, found.size, evidence.score_map, evidence.grid_boxes)
    try:
        _write(folder / OVERLAYS / f"{found.name}.png", encoded_png(picture))
        if maps:
            content = io.BytesIO()
            np.save(content, evidence.raw_map)
            _write(folder / MAPS / f"{found.name}.npy", content.getvalue())
    except OSError as error:
        if full_disk_of(error, folder):
            raise
        return Failed(found.name, f"its pictures cannot be written ({error.strerror})")
    return found


def _write(path: Path, content: bytes) -> None:
    """Write a file that is either complete or absent. Because thousands are written, it does not wait until each is on
    the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_beside(path) as temporary:
        temporary.write_bytes(content)
        temporary.replace(path)
