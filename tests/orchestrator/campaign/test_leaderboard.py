"""What of a cell counts on the leaderboard of a campaign."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.campaign.leaderboard import Standing, write_leaderboard
from orchestrator.campaign.load import load_campaign
from orchestrator.campaign.model import Planned
from tests.support.tested_runs import SHA, make_run, seeds


@pytest.fixture
def planned(campaign_file: Path) -> Planned:
    """Four cells: two methods with two backbones."""
    return load_campaign(campaign_file, [], Path("runs/all"))


def look_again(folder: Path, value: float) -> None:
    path = folder / "test.json"
    entries = json.loads(path.read_text())["evaluations"]
    later = {**entries[0], "metrics": {"max_box_acc_v2": value}, "reason": "again"}
    path.write_text(json.dumps({"evaluations": [*entries, later]}))


def test_the_first_evaluation_on_test_counts(planned: Planned, tmp_path: Path) -> None:
    run = make_run(tmp_path / "cam", 61.5)
    look_again(run, 75.0)
    standing = Standing(planned.cells[0], [run])
    assert standing.metric == "max_box_acc_v2" and standing.values() == [61.5]
    write_leaderboard(tmp_path, planned, [standing])
    board = (tmp_path / "leaderboard.md").read_text()
    assert "| cam | 61.5 |" in board and "75" not in board


def test_each_cell_has_its_own_numbers(planned: Planned, tmp_path: Path) -> None:
    """The mean over seeds with both values, an empty place where there is none yet, and why there will be none."""
    first, second, third, fourth = planned.cells
    standings = [
        Standing(first, seeds(tmp_path, "cam", (60.0, 62.0))),
        Standing(second, [make_run(tmp_path / "has", 58.0, method={"name": "has"})]),
        Standing(third, []),
        Standing(fourth, [], "no trial succeeded"),
    ]
    write_leaderboard(tmp_path, planned, standings)
    board = (tmp_path / "leaderboard.md").read_text()
    assert "2 of 4 cells are tested" in board and "has-wide: no trial succeeded" in board
    assert [one.cell.name for one in standings] == ["cam-narrow", "has-narrow", "cam-wide", "has-wide"]
    overview = [line for line in board.splitlines() if line.startswith(("| method |", "| cam |", "| has |"))][:3]
    seeds_of_cam = "61.0 (2 seeds: 60.0, 62.0)"
    assert overview == ["| method | narrow | wide |", f"| cam | {seeds_of_cam} |  |", "| has | 58.0 | failed |"]
    assert board.count("### synthetic, narrow: max_box_acc_v2") == 1 and "### synthetic, wide" not in board
    assert SHA not in board


def test_a_table_has_the_methods_of_one_backbone(planned: Planned, tmp_path: Path) -> None:
    values = (61.0, 58.0, 47.0, 44.0)
    standings = [
        Standing(cell, [make_run(tmp_path / cell.name, value)])
        for cell, value in zip(planned.cells, values, strict=True)
    ]
    write_leaderboard(tmp_path, planned, standings)
    narrow, wide = (tmp_path / "leaderboard.md").read_text().partition("### synthetic, wide")[::2]
    tables = [narrow.partition("### synthetic, narrow")[2], wide]
    assert [[f"{value:.1f}" in table for value in values] for table in tables] == [
        [True, True, False, False],
        [False, False, True, True],
    ]


def test_of_several_objectives_the_first_is_the_one_that_chose(campaign_file: Path, tmp_path: Path) -> None:
    objectives = "study.objective=[train_fullsup/top1/loc, train_fullsup/max_box_acc_v2]"
    planned = load_campaign(campaign_file, [objectives], Path("runs/all"))
    assert Standing(planned.cells[0], [make_run(tmp_path / "cam", 61.5)]).values() == [51.5]


def test_a_method_with_boxes_stands_beside_the_centre_gaussian(planned: Planned, tmp_path: Path) -> None:
    """Behind the others, except where they are compared with it, and it is told what it was trained on."""
    first, second, *_ = planned.cells
    few = make_run(tmp_path / "few", 70.0, boxes="50 images of train_fullsup", method={"name": "few_shot"})
    runs = [make_run(tmp_path / "cam", 61.5), few, make_run(tmp_path / "has", 58.0, method={"name": "has"})]
    write_leaderboard(tmp_path, planned, [Standing(first, runs[:1]), Standing(second, runs[1:])])
    board = (tmp_path / "leaderboard.md").read_text()
    table = [line.split(" | ")[:2] for line in board.partition("### synthetic")[2].splitlines() if " | " in line]
    assert [words[0].strip("| ") for words in table] == ["run", "---", "cam", "has", "few", "centre Gaussian"]
    assert table[4][1] == "few_shot (boxes)"
    assert "Trained on boxes: 50 images of train_fullsup (has-narrow)." in board
    write_leaderboard(tmp_path, planned, [Standing(first, [few]), Standing(second, runs[2:])])
    table = (tmp_path / "leaderboard.md").read_text().partition("### synthetic")[2].splitlines()
    assert [line.split(" | ")[0] for line in table if line.startswith("| ")][2:4] == ["| few", "| has"]
