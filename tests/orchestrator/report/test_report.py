"""The report: every state a search can be in gives one page that holds everything it shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import optuna
import plotly.graph_objects as go
import pytest
from filelock import FileLock
from optuna.trial import TrialState

from benchmarks import report as large
from orchestrator.pictures.drawing import map_overlay, photo_with_boxes, save_jpeg
from orchestrator.report.figure import short_names
from orchestrator.report.figures_space import contour_figure, fronts_figure
from orchestrator.report.figures_trials import Search, busy_share, effort_figure, history_figure
from orchestrator.report.page import write_report
from orchestrator.report.winner import setting_rows, size_bars, stability
from orchestrator.runs.summary import TrialRow, read_summary
from tests.support.recorded_runs import OBJECTIVE, complete_trial, fail_trial, make_run, start_trial
from wsol.errors import InputError

SHA = "c0ffee00" * 8
MEGABYTE = 1_000_000
LOADING_ATTRIBUTE = re.compile(
    r"""<[a-z][^<>]*\s(?:src|href|srcset|data|action|poster)\s*=\s*["']?\s*([^"'\s>]+)""", re.IGNORECASE
)
LOADING_STYLE = re.compile(r"""(?:url\(|@import)\s*["']?([^"')\s]+)""")


def add_winner(folder: Path, number: int, test_value: float = 61.37) -> None:
    """The files of a finished search."""
    (folder / "best").mkdir()
    scores = {
        "max_box_acc_v2": 64.25,
        "max_box_acc_v2/iou_50": 71.5,
        "max_box_acc_v2/threshold_50": 0.21,
        "top1/cls": 77.0,
    }
    baseline = {"train_fullsup": {"max_box_acc_v2": 50.0}}
    result = {
        "trial": number,
        "epoch": 2,
        "objective": OBJECTIVE,
        "value": 64.25,
        "checkpoint_sha256": SHA,
        "config": {"seed": 3},
    }
    (folder / "best" / "result.json").write_text(json.dumps({**result, "train_fullsup": scores, "baseline": baseline}))
    evaluation = {"time": "2026-01-05T11:00:00+00:00", "checkpoint_sha256": SHA, "reason": None, "config": {}}
    (folder / "test.json").write_text(
        json.dumps(
            {
                "evaluations": [
                    {**evaluation, "metrics": {"max_box_acc_v2": test_value}, "baseline": {"max_box_acc_v2": 52.25}}
                ]
            }
        )
    )


def add_examples(folder: Path, number: int, side: int = 48) -> None:
    """Pictures of noise."""
    rng, entries = np.random.default_rng(0), []
    (folder / "best").mkdir(exist_ok=True)
    box = np.array([4, 6, side - 9, side - 5])
    for index in range(number):
        image, scores = rng.integers(0, 256, (side, side, 3)).astype(np.uint8), rng.random((side, side))
        save_jpeg(folder / "best" / f"{index}_photo.jpg", photo_with_boxes(image, box[None]))
        save_jpeg(folder / "best" / f"{index}_map.jpg", map_overlay(image, scores, box + 2, box[None]))
        names = {
            "image_id": f"test/<{index}>.jpg",
            "class_name": "gull & tern",
            "photo": f"{index}_photo.jpg",
            "map": f"{index}_map.jpg",
        }
        entries.append({**names, "iou": 0.684, "threshold": 0.2})
    (folder / "best" / "examples.json").write_text(json.dumps(entries))


def page_of(folder: Path) -> str:
    """Write the report and check what holds for all of them."""
    path = write_report(folder)
    assert path == folder / "report.html"
    assert path.stat().st_size < 8 * MEGABYTE
    page = path.read_text(encoding="utf-8")
    visible = re.sub(r'<script type="text/plain" id="plotly">[^<]*</script>', "", page)
    targets = LOADING_ATTRIBUTE.findall(visible) + LOADING_STYLE.findall(visible)
    assert [target for target in targets if not target.startswith("data:")] == []
    assert "default-src 'none'" in page
    assert "alert(" not in re.sub("&lt;script&gt;alert", "", visible.replace("\\u003cscript\\u003ealert", ""))
    assert not list(folder.glob(".report*"))
    check_figures(page)
    return page


def check_figures(page: str) -> None:
    """Plotly accepts every figure, and each has its place in the page."""
    text = page.split('id="specs">')[1].split("</script>")[0]
    specs = json.loads(re.sub(r"var\(--[a-z]+\)", "#123456", text), parse_constant=pytest.fail)
    for key, spec in specs.items():
        go.Figure(spec)
        assert f'id="plot-{key}"' in page


def age(folder: Path, seconds: float) -> None:
    """Let the last sign of life be long ago."""
    moment = datetime.now(UTC).timestamp() - seconds
    for file in ("study.journal", "study.json"):
        os.utime(folder / file, (moment, moment))


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path) -> Path:
    """A copy of the finished search, to be changed."""
    return Path(shutil.copytree(finished_once, tmp_path / "runs" / "crop"))


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Complete, pruned and failed trials, a winner, its test, pictures."""
    folder = tmp_path_factory.mktemp("runs") / "crop"
    study = make_run(folder, ended="2026-01-05T11:30:00+00:00")
    for value in (55.5, 60.125, 63.875, 58.0, 61.0):
        complete_trial(study, value)
    fail_trial(study)
    fail_trial(study, "Traceback (most recent call last):\n  File <b>\nDiverged: the loss is nan")
    study.tell(start_trial(study, (40.0, 45.75)), state=TrialState.PRUNED)
    (folder / "experiment.yaml").write_text("trial: {seed: 3}  # <kept>\n")
    (folder / "best.yaml").write_text("trial: {seed: 3}\n")
    add_winner(folder, number=2)
    add_examples(folder, 3)
    return folder


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


def test_a_running_search(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "crop"
    study = make_run(folder)
    complete_trial(study, 58.625)
    start_trial(study, (40.0, 47.0))
    page = page_of(folder)
    assert ">running</span>" in page
    assert "Best so far: trial 0" in page
    assert "58.62" in page
    assert "launch.py resume" not in page
    assert [trial.value for trial in read_summary(folder).trials] == [58.625, 47.0]


def test_an_interrupted_search_says_how_to_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "crop"
    study = make_run(folder)
    complete_trial(study, 58.625)
    start_trial(study, (40.0,))
    age(folder, 7200)
    page = page_of(folder)
    assert ">interrupted</span>" in page
    assert "python launch.py resume runs/crop" in page
    assert read_summary(folder).trials[1].state == "interrupted"


def test_long_epochs_are_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "crop"
    study = make_run(folder)
    trial = start_trial(study, (50.0,))
    trial.set_user_attr("seconds", 7200.0)
    trial.set_user_attr("epochs", 1)
    study.tell(trial, 50.0)
    age(folder, 7200)
    assert read_summary(folder).state == "running"


def test_the_lock_of_the_study_says_whether_it_runs(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "crop"
    make_run(folder)
    (folder / "study.owner").write_text(f"{socket.gethostname()}, process 1, since now")
    with FileLock(folder / "study.lock"):
        age(folder, 7200)
        assert read_summary(folder).state == "running"
    (folder / "study.json").touch()
    assert read_summary(folder).state == "interrupted"


def test_only_failed_trials(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "crop"
    study = make_run(folder, ended="2026-01-05T11:30:00+00:00")
    for _ in range(3):
        fail_trial(study)
    page = page_of(folder)
    assert "No trial completed" in page
    assert "All failed for the same reason" in page
    assert "× 3" in page


def test_zero_trials(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "crop"
    make_run(folder)
    assert "none started" in page_of(folder)
    assert read_summary(folder).best is None


def test_a_folder_with_nothing_but_the_header_or_the_journal(tmp_path: Path) -> None:
    complete_trial(make_run(tmp_path / "a"), 50.0)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "a" / "study.journal").unlink()
    (tmp_path / "b" / "study.json").unlink()
    assert "none started" in page_of(tmp_path / "a")
    assert "50.00" in page_of(tmp_path / "b")


def test_damaged_files_are_named_and_left_out(finished: Path) -> None:
    (finished / "best" / "result.json").write_text("{")
    (finished / "best" / "examples.json").write_text('{"not": "a list"}')
    (finished / "study.journal").write_text("no journal\nat all\n")
    page = page_of(finished)
    for name in ("result.json", "examples.json", "study.journal"):
        assert f"{name} could not be read" in page


def test_a_folder_without_a_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no search here"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


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


def test_not_a_number_never_reaches_the_page(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "crop"
    study = make_run(folder)
    study.tell(start_trial(study, (float("nan"), 44.0, float("inf"))), 44.0)
    assert "44.00" in page_of(folder)


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
    assert re.findall('data-tab="([a-z]+)"', page) == ["hits", "disagreements"]


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
    assert setting_rows(read_summary(finished)) == (
        ["max_box_acc_v2"],
        [("pas percentile=90", True, [64.25]), ("as it is", False, [61.5])],
    )
    assert "pas percentile=90 (used)" in page_of(finished)


def test_objects_by_size_from_the_metric_or_from_the_images(finished: Path) -> None:
    rows = ["image_id,class,size_percent,iou", "a,x,3.9,0.2", "b,x,4.0,0.5", "c,x,35.9,0.49", "d,x,36,1.0"]
    (finished / "best" / "images.csv").write_text("\n".join(rows))
    bars, caption = size_bars(read_summary(finished))
    assert [(bar.value, bar.images) for bar in bars["train_fullsup"]] == [(0.0, 1), (50.0, 2), (100.0, 1)]
    assert "of those looked at" in caption
    low, high = bars["train_fullsup"][1].interval or (0, 0)
    assert (round(low, 1), round(high, 1)) == (9.5, 90.5)  # Wilson, 1 of 2
    path = finished / "best" / "result.json"
    result = json.loads(path.read_text())
    result["train_fullsup"]["max_box_acc_by_size/small"] = 33.0
    path.write_text(json.dumps(result))
    bars, caption = size_bars(read_summary(finished))
    assert [(bar.size, bar.value) for bar in bars["train_fullsup"]] == [
        ("small<br>below 4 %", 33.0)
    ] and "MaxBoxAcc by size" in caption


def test_trials_that_ran_together_on_a_host_have_rows_of_their_own() -> None:
    at = [datetime(2026, 1, 5, 10, minute, tzinfo=UTC) for minute in range(6)]
    spans = [(0, 2, "a:1"), (1, 3, "a:2"), (2, 4, "a:9"), (1, 5, "b:1"), (5, None, "a:3")]
    rows = [
        TrialRow(n, "complete", started=at[b], ended=None if e is None else at[e], worker=w)
        for n, (b, e, w) in enumerate(spans)
    ]
    rows.sort(key=lambda trial: trial.started or at[0])
    assert busy_share(rows, at[5]) == {0: "a #1", 1: "a #2", 3: "b #1", 2: "a #1", 4: "a #1"}


def test_the_front_of_several_objectives() -> None:
    pairs = [(1.0, 9.0), (5.0, 5.0), (4.0, 4.0), (9.0, 1.0), (5.0, 4.0)]
    rows = [TrialRow(number, "complete", pair[0], pair) for number, pair in enumerate(pairs)]
    (figure,) = fronts_figure(rows, ["a", "b"], ["A", "B"])
    assert figure.spec["data"][1]["y"] == [9.0, 5.0, 1.0]
    assert "of 3 trials no other is better in all 2 objectives" in figure.caption


def test_the_contour_takes_parameters_that_vary_together() -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    for value in range(6):
        trial = study.ask()
        name = trial.suggest_categorical("name", ["x", "y"])
        trial.suggest_float("fixed", 1.0, 1.0)
        trial.suggest_float("lr", 0.001, 1.0, log=True)
        if name == "y":
            trial.suggest_float("only_y", 0, 1)
        study.tell(trial, value)
    figure = contour_figure(study, ["name", "only_y", "fixed", "lr"], "value")
    assert figure is not None and figure.title == "lr and name" and figure.caption.startswith("6 complete trials")
    assert len(figure.spec["data"][1]["x"]) == 6
    assert contour_figure(study, ["name", "fixed"], "value") is None


def test_short_names_are_the_shortest_that_differ() -> None:
    paths = ["optim.lr", "method.name", "evaluation.normalizer.name", "a.weight", "b.weight", "seed"]
    assert list(short_names(paths).values()) == [
        "lr",
        "method.name",
        "normalizer.name",
        "a.weight",
        "b.weight",
        "seed",
    ]


def test_best_so_far_follows_the_direction() -> None:
    rows = [TrialRow(number, "complete", value) for number, value in enumerate((3.0, 1.0, 2.0))]
    for maximize, expected in ((True, [3.0, 3.0, 3.0]), (False, [3.0, 1.0, 1.0])):
        figure = history_figure(rows, "loss", maximize)
        assert figure is not None
        assert figure.spec["data"][0]["y"] == expected


def test_effort_counts_the_epochs_of_all_trials_in_the_order_they_ended() -> None:
    def row(number: int, state: str, value: float | None, epochs: int) -> TrialRow:
        ended = datetime(2026, 1, 5, 10, 10 - number, tzinfo=UTC)  # the later number ended first
        return TrialRow(
            number, state, value, curve=dict.fromkeys(range(1, epochs + 1), value or 0.0), epochs=epochs, ended=ended
        )

    one = Search(
        "a",
        "tpe + asha",
        [row(0, "complete", 5.0, 4), row(1, "pruned", 9.0, 1), row(2, "complete", 3.0, 4), row(3, "failed", None, 2)],
    )
    two = Search("b", "random", [row(0, "complete", 4.0, 4)])
    figure = effort_figure([one, two], "loss", True)
    assert figure is not None
    lines = {line["name"]: (line["x"], line["y"]) for line in figure.spec["data"]}
    assert lines == {"a (tpe + asha)": ([6, 7, 11], [3.0, 3.0, 5.0]), "b (random)": ([4], [4.0])}
    assert effort_figure([one], "loss", True) is not None and effort_figure([two], "loss", True) is None


def test_searches_beside_are_drawn_and_others_are_refused(finished: Path, tmp_path: Path) -> None:
    study = make_run(tmp_path / "other", sampler="random")
    complete_trial(study, 60.0)
    page = write_report(finished, [tmp_path / "other"]).read_text()
    check_figures(page)
    assert "Best value by epochs trained" in page and "other (random)" in page
    make_run(tmp_path / "elsewhere", objective="train_fullsup/pxap")
    with pytest.raises(InputError, match="only one objective can be compared"):
        write_report(finished, [tmp_path / "elsewhere"])


def test_pictures_enlarge_small_images_and_keep_boxes_on_pixels() -> None:
    picture = photo_with_boxes(np.full((64, 64, 3), 128, np.uint8), np.array([[10, 20, 39, 49]]))
    assert picture.shape == (192, 192, 3)
    green = np.argwhere((picture == (64, 224, 96)).all(axis=2))
    assert np.abs(green.min(axis=0) - [60, 30]).max() <= 1
    assert np.abs(green.max(axis=0) - [149, 119]).max() <= 1


def test_pictures_of_degenerate_input() -> None:
    image = np.zeros((224, 224, 3), np.uint8)
    plain = map_overlay(image, np.full((224, 224), np.nan), None, np.zeros((0, 4)))
    assert plain.shape == (224, 224, 3)
    assert not plain.any()
    assert map_overlay(image, np.ones((224, 224)), np.zeros(4), np.array([[0, 0, 223, 223]])).any()
    assert not image.any()


def test_pictures_are_the_same_every_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image, scores, box = (
        rng.integers(0, 256, (96, 96, 3)).astype(np.uint8),
        rng.random((96, 96)),
        np.array([5, 5, 60, 70]),
    )
    for name in ("a.jpg", "b.jpg"):
        save_jpeg(tmp_path / name, map_overlay(image, scores, box, box[None]))
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    save_jpeg(tmp_path / "red.jpg", red)
    assert cv2.imread(str(tmp_path / "red.jpg"))[16, 16].argmax() == 2


def test_a_single_training_is_not_called_a_search(tmp_path: Path) -> None:
    study = make_run(tmp_path / "alone", kind="train", ended="2026-01-05T11:30:00+00:00", trials=1)
    complete_trial(study, 64.25)
    add_winner(tmp_path / "alone", 0)
    page = page_of(tmp_path / "alone")
    assert "Training report" in page and "the whole search" not in page and "<dt>sampler</dt>" not in page
    assert 'id="plot-curves"' in page and 'id="plot-history"' not in page and 'id="plot-timeline"' not in page
