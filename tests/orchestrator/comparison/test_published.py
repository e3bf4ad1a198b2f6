"""What papers print, beside our own numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from orchestrator.comparison.published import FILE, published_row
from orchestrator.comparison.rows import comparison_rows
from tests.support.tested_runs import METRIC, config, make_run, seeds
from wsol import plugins


def test_every_published_number_is_of_something_that_there_is() -> None:
    kinds = {
        "dataset": "dataset",
        "method": "method",
        "normalizer": "normalizer",
        "extractor": "extractor",
        "guide": "extractor",
    }
    seen = set()
    for table in yaml.safe_load(FILE.read_text()):
        assert table["dataset"] in plugins.names("dataset")
        assert table["metric"].partition("/")[0] in {*plugins.names("metric"), "top5"}  # top1 gives top5 too
        assert set(table["backbones"]) <= set(plugins.names("backbone")) and table["source"]
        for row in table["rows"]:
            assert set(row) <= {"method", "normalizer", "extractor", "guide", "size", "boxes", "values"}
            assert len(row["values"]) == len(table["backbones"])
            assert all(20 < value < 100 for value in row["values"])
            for backbone in table["backbones"]:  # a size is there where the backbone has several
                sizes = plugins.load("backbone", backbone).Config.model_fields.get("size")
                assert row.get("size") in (get_args(sizes.annotation) if sizes else [None])
            assert ("boxes" in row) == (row["method"] == "few_shot")
            for key in set(row) - {"values", "size", "boxes"}:
                assert set(str(row[key]).rstrip(")").split("(")) <= set(plugins.names(kinds[key]))
            for backbone in table["backbones"]:
                known = (
                    table["dataset"],
                    table["metric"],
                    backbone,
                    *sorted((key, value) for key, value in row.items() if key != "values"),
                )
                assert known not in seen, "two numbers for one thing"
                seen.add(known)
    assert len(seen) > 200


def by(extractor: str, normalizer: str) -> dict[str, Any]:
    """How maps were made."""
    return {"extractor": {"name": extractor}, "normalizer": {"name": normalizer}}


F_CAM = {"name": "f_cam", "base": {"name": "cam"}, "guide": {"name": "layer_cam"}}
ON_X_GRAD_CAM = {**F_CAM, "guide": {"name": "x_grad_cam"}}


@pytest.mark.parametrize(
    ("metric", "changes", "value"),
    [
        (METRIC, {}, 63.0),
        (METRIC, {"backbone": {"name": "vgg16"}}, 63.7),
        (METRIC, {"method": {"name": "da_wsol", "base": {"name": "cam"}}}, 69.87),
        (
            METRIC,
            {"method": {"name": "da_wsol", "base": {"name": "cam"}}, "evaluation": by("bag_cams", "min_max")},
            84.88,
        ),
        (METRIC, {"evaluation": by("cam", "ivr")}, 66.83),
        ("max_box_acc", {"method": F_CAM, "evaluation": by("cam", "none")}, 92.4),
        ("max_box_acc", {"method": ON_X_GRAD_CAM, "evaluation": by("cam", "none")}, 90.4),
        ("max_box_acc", {"evaluation": by("smooth_grad_cam_pp", "min_max")}, 76.3),
        ("pxap", {"data": {"name": "openimages"}, "evaluation": by("x_grad_cam", "min_max")}, 60.2),
        (METRIC, {"method": {"name": "da_wsol", "base": {"name": "adl"}}}, None),
        (METRIC, {"method": {"name": "bridging_gap"}}, None),
        (METRIC, {"data": {"name": "tiny_imagenet"}}, None),
        (METRIC, {"backbone": {"name": "timm"}}, None),
        (METRIC, {"method": {"name": "few_shot"}, "data": {"name": "cub", "fullsup_per_class": 5}}, 82.4),
        (METRIC, {"method": {"name": "few_shot"}, "data": {"name": "cub", "fullsup_per_class": 1}}, None),
        (METRIC, {"method": {"name": "few_shot"}}, None),
        ("top1/loc", {}, None),
        ("top1/loc", {"method": {"name": "scm"}, "backbone": {"name": "deit", "size": "small"}}, 76.4),
        ("top1/cls", {"method": {"name": "ts_cam"}, "backbone": {"name": "deit", "size": "tiny"}}, 72.9),
        ("top1/loc", {"method": {"name": "scm"}, "backbone": {"name": "deit", "size": "tiny"}}, None),
    ],
)
def test_the_published_number_of_a_configuration(metric: str, changes: dict[str, Any], value: float | None) -> None:
    found = published_row(config(**changes), metric)
    assert (found and found.value) == value


def test_a_number_is_reproduced_where_ours_is_not_surely_lower(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / "inside", 62.0, optim={"lr": 1}),  # 63.0 is published; the interval ends at about 64
        make_run(tmp_path / "above", 70.0, optim={"lr": 2}),
        make_run(tmp_path / "below", 60.0, optim={"lr": 3}),
        *seeds(tmp_path, "scattered", (58.0, 64.0), spread=0.1),  # the images alone say no, the seeds say perhaps
    ]
    rows = comparison_rows(runs, [METRIC], "test")
    assert [row.cells[METRIC].is_reproduced for row in rows] == [True, True, False, True]
