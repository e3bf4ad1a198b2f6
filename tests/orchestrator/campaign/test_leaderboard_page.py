"""The page of a campaign: a figure, the same images through every method, tables; nothing is fetched."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from orchestrator.campaign.leaderboard_page import Board, Group, leaderboard_page
from orchestrator.comparison.rows import comparison_rows
from tests.support import browser
from tests.support.small_archives import picture
from tests.support.tested_runs import METRIC, make_run, seeds

HOSTILE = "<b>has & more"


def pictures(run: Path, *images: str) -> Path:
    """Pictures of some images in a run folder, the later ones of larger objects."""
    (run / "best" / "examples").mkdir(exist_ok=True)
    entries = []
    for place, image in enumerate(images):
        files = {"photo": f"examples/{place}-photo.jpg", "map": f"examples/{place}-map.jpg"}
        for name in files.values():
            (run / "best" / name).write_bytes(picture())
        shown = {"class_name": "bird", "iou": 0.5, "threshold": 0.3, "size": 10.0 + place, "tabs": ["sizes"]}
        entries.append({"image_id": image, **files, **shown})
    (run / "best" / "examples.json").write_text(json.dumps(entries))
    return run


@pytest.fixture
def group(tmp_path: Path) -> Group:
    """CAM with two seeds and HaS, which saw other images as well."""
    cam = seeds(tmp_path, "cam", (60.0, 64.0))
    has = make_run(tmp_path / HOSTILE, 66.5, method={"name": "has"})
    pictures(cam[0], "a.jpg", "b.jpg", "d.jpg")
    pictures(has, "c.jpg", "b.jpg", "a.jpg")
    rows = comparison_rows([*cam, has], [METRIC], "test")
    return Group("cub", "resnet50", METRIC, rows, {"cam": cam[0], HOSTILE: has})


def page(*groups: Group) -> str:
    return leaderboard_page(Board("demo", ["2 of 2 cells are tested."], [], {"cub": [["method"], ["cam"]]}, [*groups]))


def test_dots_and_whiskers_lie_on_the_axis_the_best_first(group: Group) -> None:
    text = page(group)
    assert re.findall(r'<span class="name">(cam|&lt;b&gt;has &amp; more)</span>\s*<div class="track">', text) == [
        "&lt;b&gt;has &amp; more",
        "cam",
    ]
    dots = [float(place) for place in re.findall(r'class="dot" style="left: ([\d.]+)%', text)]
    assert len(dots) == 2 and 100 > dots[0] > dots[1] > 0
    for dot, ends in zip(dots, re.findall(r'whisker" style="left: ([\d.]+)%; width: ([\d.]+)%', text), strict=True):
        left, width = map(float, ends)
        assert 0 <= left < dot < left + width <= 100
    assert text.count('class="seed"') == 2 and "62.0 (60.0, 64.0)" in text
    assert 0 <= float(re.findall(r'class="gauss" style="left: ([\d.]+)%', text)[0]) < min(dots)


def test_only_images_that_every_method_has_are_shown(group: Group) -> None:
    text = page(group)
    assert text.count("<img ") == 2 * 3  # two photographs, two maps of each method
    (group.runs["cam"] / "best" / "examples" / "0-map.jpg").unlink()
    assert page(group).count("<img ") == 3
    (group.runs["cam"] / "best" / "examples.json").write_text("[]")
    assert page(group).count("<img ") == 2 * 3  # those of the only method that has any, of three images
    assert "The same images" not in page(Group("cub", "resnet50", METRIC, group.rows, {}))


def test_runs_that_cannot_be_compared_are_named(group: Group) -> None:
    text = page(Group("cub", "vgg16", METRIC, "not comparable: other images", {}))
    assert "cub, vgg16: not comparable: other images" in text and "whiskers" not in text.partition("<body>")[2]


@pytest.mark.skipif(browser.PROGRAM is None, reason="needs Chromium: apt install chromium")
def test_it_fits_a_phone_and_asks_for_nothing(group: Group, tmp_path: Path) -> None:
    file = tmp_path / "leaderboard.html"
    file.write_text(page(group), encoding="utf-8")
    assert "<script" not in page(group)
    seen = browser.visit(file, "document.documentElement.scrollWidth - innerWidth", width=390)
    assert seen.value <= 0 and seen.errors == []
    assert [address for address in seen.requests if not address.startswith("data:")] == [file.as_uri()]


def test_what_boxes_give_is_a_line_through_all_methods_and_takes_no_picture_away(tmp_path: Path) -> None:
    cam = pictures(make_run(tmp_path / "cam", 60.0), "a.jpg")
    few = pictures(make_run(tmp_path / "few", 70.0, boxes="50 images", method={"name": "few_shot"}), "z.jpg")
    rows = comparison_rows([cam, few], [METRIC], "test")
    text = page(Group("cub", "resnet50", METRIC, rows, {"cam": cam, "few_shot": few}))
    places = re.findall(r'class="boxes" style="left: ([\d.]+)%', text)
    dots = re.findall(r'class="dot" style="left: ([\d.]+)%', text)
    assert places == [dots[0]] * 2 and "few_shot (boxes)" in text and "dotted: trained on boxes" in text
    assert text.count("<img ") == 2
    alone = page(Group("cub", "resnet50", METRIC, comparison_rows([cam], [METRIC], "test"), {"cam": cam}))
    assert 'class="boxes"' not in alone and "dotted: trained" not in alone
