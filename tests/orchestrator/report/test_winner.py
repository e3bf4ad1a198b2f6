"""What the report says about the winner."""

from __future__ import annotations

import json
import re
from pathlib import Path

from orchestrator.report.lists import read_overlaps, read_settings
from orchestrator.report.winner import confirmation, setting_rows, size_bars, stability
from orchestrator.runs.summary import read_summary
from tests.support.report_pages import page_of


def test_rank_stability_from_the_epochs(finished: Path) -> None:
    found = stability(read_summary(finished))
    assert found is not None
    assert (found.shares, found.leads, found.epochs) == ({}, 3, 3)
    assert found.level is None  # no interval was recorded
    assert "In 3 of its last 3 epochs no complete trial was ahead" in page_of(finished)


def test_the_settings_that_were_scored_are_listed(finished: Path) -> None:
    path = finished / "best" / "result.json"
    grid = [
        {"values": {}, "value": 61.5},
        {"values": {"evaluation.normalizer": {"name": "pas", "percentile": 90}}, "value": 64.25},
    ]
    path.write_text(json.dumps({**json.loads(path.read_text()), "post_hoc": grid}))
    summary = read_summary(finished)
    assert setting_rows(summary, read_settings(summary, [])) == (
        ["max_box_acc_v2"],
        [("pas percentile=90", True, [64.25]), ("as it is", False, [61.5])],
    )
    assert "pas percentile=90 (used)" in page_of(finished)


def test_what_trials_reached_with_other_seeds_stands_beside_the_values_that_selected_them(finished: Path) -> None:
    path = finished / "best" / "result.json"
    result = json.loads(path.read_text())
    confirmed = [
        {"trial": 2, "value": 63.875, "seeds": {"1": 60.0, "10": 61.0}, "first": 0.8125},
        {"trial": 4, "value": 61.0, "seeds": {"1": 60.5}, "first": 0.1875},
        {"trial": 1, "value": 60.125, "seeds": {}, "first": None},
    ]
    path.write_text(json.dumps({**result, "confirmed": confirmed}))
    found = confirmation(read_summary(finished), [])
    assert found is not None and found.seeds == [1, 10] and found.too_high == (3.375 + 0.5) / 2
    row = page_of(finished).partition("With other seeds")[2].partition("<tbody>")[2].split("</tr>")
    assert [re.findall(r"<td[^>]*>([^<]*)", one) for one in row[:3]] == [
        ["2", "63.88", "60.00", "61.00", "60.50", "+3.38", "81 %"],
        ["4", "61.00", "60.50", "failed", "60.50", "+0.50", "19 %"],
        ["1", "60.12", "failed", "failed", "–", "–", "–"],
    ]
    path.write_text(json.dumps({**result, "confirmed": [{"trial": "two"}]}))
    assert "its entry confirmed is damaged and is left out" in page_of(finished)


def test_objects_by_size_from_the_metric_or_from_the_images(finished: Path) -> None:
    rows = ["image_id,class,size_percent,iou", "a,x,3.9,0.2", "b,x,4.0,0.5", "c,x,35.9,0.49", "d,x,36,1.0"]
    (finished / "best" / "images.csv").write_text("\n".join(rows))
    summary = read_summary(finished)
    bars, caption = size_bars(summary, read_overlaps(summary, []))
    assert [(bar.value, bar.images) for bar in bars["train_fullsup"]] == [(0.0, 1), (50.0, 2), (100.0, 1)]
    assert "of those looked at" in caption
    low, high = bars["train_fullsup"][1].interval or (0, 0)
    assert (round(low, 1), round(high, 1)) == (9.5, 90.5)  # Wilson, 1 of 2
    path = finished / "best" / "result.json"
    result = json.loads(path.read_text())
    result["train_fullsup"]["max_box_acc_by_size/small"] = 33.0
    path.write_text(json.dumps(result))
    summary = read_summary(finished)
    bars, caption = size_bars(summary, read_overlaps(summary, []))
    assert [(bar.size, bar.value) for bar in bars["train_fullsup"]] == [
        ("small<br>below 4 %", 33.0)
    ] and "MaxBoxAcc by size" in caption
