"""The report of a run shows what boxes give on the same images, beside the centre Gaussian."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.report.yardsticks import yardsticks
from orchestrator.runs.summary import read_summary
from tests.support.report_pages import page_of
from tests.support.tested_runs import make_run

FEW = {"boxes": "50 images of train_fullsup", "method": {"name": "few_shot"}}


def names_beside(folder: Path) -> list[str]:
    return [one.name for one in yardsticks(read_summary(folder))]


def test_runs_with_boxes_beside_a_run_are_its_yardsticks(tmp_path: Path) -> None:
    cam = make_run(tmp_path / "cam", 61.0)
    make_run(tmp_path / "has", 58.0, method={"name": "has"})
    make_run(tmp_path / "few-1", 66.0, **FEW)
    make_run(tmp_path / "few-6", 70.25, **FEW)
    (found, other) = yardsticks(read_summary(cam))
    assert (found.name, found.value, other.name, other.value) == ("few-1", 66.0, "few-6", 70.25)
    page = page_of(cam)
    assert "few-6, trained on boxes: 50 images of train_fullsup: 70.25" in page
    assert "Trained on boxes" not in page
    few = page_of(tmp_path / "few-6")
    assert "Trained on boxes: 50 images of train_fullsup." in few and names_beside(tmp_path / "few-6") == ["few-1"]


@pytest.mark.parametrize("changes", [{"images": "b"}, {"step": 0.01}, {"backbone": {"name": "vgg16"}}])
def test_what_was_tested_otherwise_is_none(tmp_path: Path, changes: dict[str, Any]) -> None:
    cam = make_run(tmp_path / "cam", 61.0)
    make_run(tmp_path / "few", 70.0, **FEW, **changes)
    assert names_beside(cam) == []


def test_a_damaged_neighbour_is_not_this_reports_matter(tmp_path: Path) -> None:
    cam = make_run(tmp_path / "cam", 61.0)
    for name in ("few", "broken"):
        make_run(tmp_path / name, 70.0, **FEW)
    (tmp_path / "broken" / "best" / "scores-test.npz").write_bytes(b"?")
    (tmp_path / "stranger" / "best").mkdir(parents=True)
    (tmp_path / "stranger" / "best" / "result.json").write_text("{}")
    assert names_beside(cam) == ["few"]


def test_before_its_test_a_run_has_none(tmp_path: Path) -> None:
    cam = make_run(tmp_path / "cam", 61.0)
    make_run(tmp_path / "few", 70.0, **FEW)
    (cam / "test.json").unlink()
    assert names_beside(cam) == []
