"""The tables of predictions, row by row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.winner.predictions import new_predictions
from wsol.prediction import Failed, Prediction

EXPECTED = """\
image_id,image,width,height,class,class_name,probability,x0,y0,x1,y1,error
1,a.jpg,40,30,1,'=gull,0.75,2,3,20,29,
1,a.jpg,40,30,1,'=gull,0.75,0,0,1,1,
2,"b,c.jpg",,,,,,,,,,damaged
3,d.jpg,4,4,0,tern,0.333333,,,,,
4,e.jpg,4,4,0,tern,1.0,0,0,3,3,
"""


def test_a_row_for_every_box_and_for_every_image_without_one(tmp_path: Path) -> None:
    with new_predictions(tmp_path, ["tern", "=gull"]) as tables:
        tables.add(Prediction("a.jpg", (40, 30), 1, 0.75, [[2, 3, 20, 29], [0, 0, 1, 1]]))
        tables.add(Failed("b,c.jpg", "damaged"))
        tables.add(Prediction("d.jpg", (4, 4), 0, 1 / 3, []))
        tables.add(Prediction("e.jpg", (4, 4), 0, 1.0, [[0, 0, 3, 3]]))
        assert not (tmp_path / "predictions.csv").exists(), "it is not whole yet"
    assert (tables.images, tables.boxes, tables.failed) == (4, 3, 1)
    assert (tmp_path / "predictions.csv").read_text().replace("\r\n", "\n") == EXPECTED
    results = json.loads((tmp_path / "predictions.json").read_text())
    assert [(one["image_id"], one["category_id"], one["bbox"], one["score"]) for one in results] == [
        (1, 1, [2, 3, 19, 27], 0.75),
        (1, 1, [0, 0, 2, 2], 0.75),
        (4, 0, [0, 0, 4, 4], 1.0),
    ]


def test_an_error_keeps_what_was_added(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), new_predictions(tmp_path, ["tern"]) as tables:
        tables.add(Prediction("a.jpg", (40, 30), 0, 0.75, [[2, 3, 20, 29]]))
        raise RuntimeError
    assert len(json.loads((tmp_path / "predictions.json").read_text())) == 1
    with pytest.raises(RuntimeError), new_predictions(tmp_path / "new", ["tern"]):
        raise RuntimeError
    assert not list((tmp_path / "new").iterdir()), "with nothing in it the folder can be used again"
