"""A run folder of a stranger, or a damaged one: the page shows what can be shown, and nothing in it acts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from orchestrator.report.page import write_report
from orchestrator.runs.summary import read_summary
from tests.support import browser
from tests.support.recorded_runs import fail_trial, make_run
from tests.support.report_pages import check_figures, page_of

EVIL = """</script><script>alert(1)</script>"'><img src=x onerror=alert(2)>&<b>"""


def strange_search(folder: Path) -> Path:
    """Everything that is somebody's text is markup."""
    study = make_run(folder, name=EVIL, command=EVIL, sampler=EVIL, source=EVIL, machine={"host": EVIL, "cpus": 1})
    for number in range(6):
        trial = study.ask()
        trial.suggest_float(f"{EVIL}.lr", 0, 1)
        trial.suggest_categorical(f"{EVIL}.name", [EVIL, "<i>other"])
        trial.set_user_attr("worker", f"{EVIL}:1")
        trial.set_user_attr("started", "2026-01-05T10:00:00+00:00")
        trial.report(50.0 + number, 1)
        study.tell(trial, 50.0 + number)
    fail_trial(study, EVIL)
    return folder


def test_markup_in_a_run_folder_is_text(tmp_path: Path) -> None:
    page = write_report(strange_search(tmp_path / "run")).read_text()
    check_figures(page)
    assert page.count("<script") == 3 and page.count("</script>") == 3
    assert "<img src=x" not in page and "&lt;img src=x" in page


@pytest.mark.skipif(browser.PROGRAM is None, reason="needs Chromium: apt install chromium")
def test_a_browser_runs_nothing_of_it_and_shows_it_as_it_is(tmp_path: Path) -> None:
    page = write_report(strange_search(tmp_path / "run"))
    ready = "document.querySelectorAll('.js-plotly-plot').length === document.querySelectorAll('.plot').length"
    words = "document.querySelector('main').textContent, document.querySelector('.plot[id$=name] svg').textContent"
    seen = browser.visit(page, f"[document.images.length, {words}]", ready=ready)
    assert seen.errors == [] and seen.value[0] == 0
    places = seen.value[1].count("<img src=x onerror=alert(2)>&<b>")
    assert places > 12
    assert seen.value[1].count("<i>other") >= 3 and "<i>other" in seen.value[2]


def test_control_codes_and_halves_of_characters_are_shown_as_escapes(tmp_path: Path) -> None:
    fail_trial(make_run(tmp_path / "run", name="x\ud800y"), "lost \x1b[2J \udfff\u202e")
    page = page_of(tmp_path / "run")
    assert r"x\ud800y" in page and r"lost \x1b[2J \udfff\u202e" in page


def test_curves_with_gaps_keep_the_figures(finished: Path) -> None:
    """JSON knows no `NaN`: one would make all figures unreadable."""
    curve = np.array([10.0, np.nan, np.inf, 40.0], np.float32)
    arrays = {"curve:max_box_acc_v2/iou_50": curve, "images": np.array("a"), "threshold_step": np.array(0.25)}
    np.savez(finished / "best" / "scores-train_fullsup.npz", **arrays)
    page = page_of(finished)
    text = page.split('id="specs">')[1].split("</script>")[0]
    line = json.loads(text)["thresholds"]["data"][0]
    assert line["y"] == [10.0, None, None, 40.0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("best/examples.json", '[3, null, {"photo": 5}, {"photo": "0_photo.jpg", "map": "0_map.jpg", "iou": "high"}]'),
        ("best/post_hoc.json", "{}"),
        ("best/post_hoc.json", '[1, {"values": 3, "metrics": {}}]'),
        ("best/post_hoc.json", '[{"values": {}, "metrics": {"max_box_acc_v2": "high"}}]'),
        ("best/images.csv", "image_id,class\n1,2\n"),
        ("best/images.csv", "image_id,class,size_percent,iou\nx,y,large,0.5\n"),
        ("best/images.csv", "\0\udcff"),
        ("best/scores-test.npz", "PK\x03\x04 no archive"),
    ],
)
def test_a_damaged_list_is_named_and_left_out(finished: Path, name: str, content: str) -> None:
    (finished / name).write_bytes(content.encode(errors="surrogateescape"))
    page = page_of(finished)
    assert "Winner: trial 2" in page
    assert re.search(rf'<p class="note">[^<]*{Path(name).name}[^<]*</p>', page)


@pytest.mark.parametrize("entry", [{"git": {"commit": 3.5}}, {"machine": {"cpus": [1], "memory_gb": "much"}}])
def test_a_header_with_other_values_is_shown(tmp_path: Path, entry: dict[str, object]) -> None:
    make_run(tmp_path / "run", **entry)
    assert "none started" in page_of(tmp_path / "run")


def test_a_report_is_written_where_its_name_points(finished: Path, tmp_path: Path) -> None:
    """A link of a stranger under a name that we would write to leads nowhere."""
    other = tmp_path / "precious.txt"
    other.write_text("precious")
    for name in ("report.html.part", "report.html"):
        (finished / name).symlink_to(other)
    write_report(finished)
    assert other.read_text() == "precious" and not (finished / "report.html").is_symlink()
    assert read_summary(finished).state == "finished"
