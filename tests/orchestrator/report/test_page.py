"""The page of a finished search holds everything it shows."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from benchmarks import report as large
from orchestrator.report.page import write_report
from orchestrator.runs.summary import read_summary
from tests.support.finished_search import add_winner
from tests.support.recorded_runs import complete_trial, make_run
from tests.support.report_pages import check_figures, page_of
from wsol.errors import InputError


def test_a_finished_search_shows_winner_test_and_baseline(finished: Path) -> None:
    page = page_of(finished)
    for text in (
        "finished",
        "Winner: trial 2",
        "64.25",
        "+14.25",
        "61.37",
        "52.25",
        "+9.12",
        "MaxBoxAccV2",
        "5 complete",
        "2 failed",
        "1 pruned",
    ):
        assert text in page
    for text in (
        "python launch.py search crop.yaml",
        "3f2b1c9e7a5d",
        "uncommitted changes",
        "node-7",
        "torch 2.15.0",
        "seed 3",
        "1h 30m",
    ):
        assert text in page
    assert "git checkout 3f2b1c9e7a5d4c3b" in page
    assert "python launch.py train runs/crop/best.yaml" in page
    assert "# &lt;kept&gt;" in page


def test_failure_reasons_are_escaped_and_shown_in_full(finished: Path) -> None:
    page = page_of(finished)
    assert "ValueError: &lt;script&gt;alert(&#34;map &amp; box&#34;)&lt;/script&gt;" in page
    assert "File &lt;b&gt;" in page


def test_examples_are_inside_the_page(finished: Path) -> None:
    page = page_of(finished)
    assert page.count('src="data:image/jpeg;base64,') == 6
    assert "test/<wbr>&lt;0&gt;.jpg" in page
    assert "gull &amp; tern" in page
    assert "IoU 0.68" in page


def test_every_figure_says_which_trials_it_shows(finished: Path) -> None:
    page = page_of(finished)
    assert "5 complete and 1 pruned trials with a value" in page
    assert "2 failed trials marked at the bottom" in page
    assert page.count("<figcaption>5 complete trials") >= 4
    assert "1 parameter that only some trials have is left out" in page


def test_changed_code_is_a_step_of_its_own(finished: Path) -> None:
    assert "git apply" not in page_of(finished)
    (finished / "code.diff").write_text("+ x")
    assert f"git apply {finished.parent.name}/{finished.name}/code.diff" in page_of(finished)


def test_a_copied_folder_gives_the_same_page(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(finished, copy)
    shutil.rmtree(finished)
    assert "Winner: trial 2" in page_of(copy)


def test_a_second_test_evaluation_is_told_and_does_not_replace_the_first(finished: Path) -> None:
    entries = json.loads((finished / "test.json").read_text())["evaluations"]
    again = {**entries[0], "reason": "the <disk> was full", "metrics": {"max_box_acc_v2": 99.99}}
    (finished / "test.json").write_text(json.dumps({"evaluations": [*entries, again]}))
    page = page_of(finished)
    assert "evaluated 2 times" in page
    assert "the &lt;disk&gt; was full" in page
    assert "99.99" not in page
    assert read_summary(finished).test["metrics"] == {"max_box_acc_v2": 61.37}


def test_a_test_of_another_checkpoint_is_not_the_winners(finished: Path) -> None:
    entry = {
        "time": "2026-01-05T11:00:00+00:00",
        "checkpoint_sha256": "0" * 64,
        "reason": None,
        "metrics": {"max_box_acc_v2": 99.99},
    }
    (finished / "test.json").write_text(json.dumps({"evaluations": [entry]}))
    page = page_of(finished)
    assert "not with the winner" in page
    assert "99.99" not in page


def test_a_winner_below_the_baseline_is_called_so(finished: Path) -> None:
    (finished / "test.json").unlink()
    shutil.rmtree(finished / "best")
    add_winner(finished, number=2, test_value=41.0)
    page = page_of(finished)
    assert "On test the winner is no better than a Gaussian" in page
    assert "−11.25" in page


def test_damaged_files_are_named_and_left_out(finished: Path) -> None:
    (finished / "best" / "result.json").write_text("{")
    (finished / "best" / "examples.json").write_text('{"not": "a list"}')
    (finished / "study.journal").write_text("no journal\nat all\n")
    page = page_of(finished)
    for name in ("result.json", "examples.json", "study.journal"):
        assert f"{name} could not be read" in page


def test_reading_changes_nothing(finished: Path) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    read_summary(finished)
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_pictures_outside_the_folder_are_not_read(finished: Path) -> None:
    (finished.parent / "secret.jpg").write_bytes(b"secret")
    entry = {
        "image_id": "x",
        "class_name": "y",
        "iou": 0.5,
        "threshold": 0.1,
        "photo": "../../secret.jpg",
        "map": "0_map.jpg",
    }
    (finished / "best" / "examples.json").write_text(json.dumps([entry]))
    assert "data:image/jpeg" not in page_of(finished)


def test_a_hundred_trials_with_two_hundred_pictures(tmp_path: Path) -> None:
    page = page_of(large.make_run(tmp_path / "runs" / "large", trials=100, images=50, views=3))
    assert page.count('src="data:image/jpeg;base64,') == 200
    for text in (
        "70 complete",
        "20 pruned",
        "10 failed",
        "Searched for the best compromises with Top-1 Loc",
        "asha stops trials",
        "4 at once",
    ):
        assert text in page
    for key in (
        "history",
        "curves",
        "timeline",
        "front-1",
        "thresholds",
        "sizes",
        "parallel",
        "contour",
        "slice-optim.lr",
    ):
        assert f'id="plot-{key}"' in page
    assert "node-0, node-1, node-2, node-3" in page
    assert "A cross ends the 20 trials that asha stopped" in page
    assert "bag_cams block=top" in page and "pcs block=top" in page
    assert "it is first in <strong>71 %</strong>" in page


def test_old_pictures_without_tabs_and_other_views_are_shown(finished: Path) -> None:
    page = page_of(finished)
    assert "data-tab=" not in page and 'data-tabs=""' in page


def test_pictures_of_several_views_stand_in_tabs(finished: Path) -> None:
    entries = json.loads((finished / "best" / "examples.json").read_text())
    other = {"label": "trial 1", "map": "1_map.jpg", "iou": 0.31, "threshold": 0.4}
    entries[0] |= {"label": "winner", "tabs": ["hits", "disagreements"], "size": 12.5, "others": [other]}
    (finished / "best" / "examples.json").write_text(json.dumps(entries))
    page = page_of(finished)
    assert page.count('src="data:image/jpeg;base64,') == 7
    assert 'data-tabs="hits disagreements"' in page and "trial 1: IoU 0.31" in page and "12.5 % large" in page
    assert re.findall('data-tab="([a-z]+)"', page) == ["hits", "disagreements"] and "“As it is”" not in page
    entries[0]["others"] = [other | {"label": "as it is"}]
    (finished / "best" / "examples.json").write_text(json.dumps(entries))
    assert "“As it is” is the winner with the post-hoc settings of its training." in page_of(finished)


def test_searches_beside_are_drawn_and_others_are_refused(finished: Path, tmp_path: Path) -> None:
    study = make_run(tmp_path / "other", sampler="random")
    complete_trial(study, 60.0)
    page = write_report(finished, [tmp_path / "other"]).read_text()
    check_figures(page)
    assert "Best value by epochs trained" in page and "other (random)" in page
    make_run(tmp_path / "elsewhere", objective="train_fullsup/pxap")
    with pytest.raises(InputError, match="only one objective can be compared"):
        write_report(finished, [tmp_path / "elsewhere"])
