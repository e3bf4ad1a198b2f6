"""Real searches on Ray: concurrent, killed and resumed, with several workers, repeatable. Slow."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from orchestrator.runs.journal import open_study
from tests.support.launcher import LONG, command, environment, launch, rows, torchrun, wait_for

pytestmark = pytest.mark.slow


def overlap(trials: list[dict[str, str]]) -> int:
    """The highest number of trials that ran at the same time."""
    changes = sorted([(row["started"], 1) for row in trials] + [(row["ended"], -1) for row in trials])
    running, highest = 0, 0
    for _, change in changes:
        running += change
        highest = max(highest, running)
    return highest


def without_clocks(trials: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if "second" not in k and k not in ("started", "ended")} for row in trials]


def test_a_search_ends_with_everything(space_file: Path) -> None:
    code, out = launch(
        "search", str(space_file), "study.trials=4", "training.epochs=5", "resources.concurrent_trials=2"
    )
    assert code == 0, out
    assert max(map(len, out.splitlines())) <= 80
    trials = rows("runs/tiny")
    assert [row["state"] for row in trials] == ["complete"] * 4
    assert float(trials[0]["optim.lr"]) == 0.01  # the published point comes first
    assert overlap(trials) == 2
    result = json.loads(Path("runs/tiny/best/result.json").read_text())
    assert result["value"] == max(float(row["value"]) for row in trials) == result["value_measured_again"]
    assert len(json.loads(Path("runs/tiny/test.json").read_text())["evaluations"]) == 1
    assert not Path("runs/tiny/.tune").exists()
    assert [len(list(folder.glob("epoch-*.pt"))) for folder in sorted(Path("runs/tiny/trials").iterdir())] == [1] * 4
    code, out = launch("resume", "runs/tiny")
    assert code == 0 and "all 4 trials are finished" in out
    assert len(json.loads(Path("runs/tiny/test.json").read_text())["evaluations"]) == 1


def test_one_at_a_time_the_same_seed_gives_the_same_search_even_when_killed(space_file: Path) -> None:
    words = [str(space_file), "study.trials=4", "resources.concurrent_trials=1", "training.epochs=4"]
    code, out = launch("search", *words, "--run", "runs/whole")
    assert code == 0, out
    process = subprocess.Popen(command("search", *words, "--run", "runs/killed"), env=environment(), text=True)
    wait_for(lambda: Path("runs/killed/trials/0002/manifest.json").exists(), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    states = [trial.state.name for trial in open_study(Path("runs/killed")).trials]
    assert states == ["COMPLETE", "COMPLETE", "RUNNING"]
    code, out = launch("resume", "runs/killed")
    assert code == 0, out
    assert [trial.state.name for trial in open_study(Path("runs/killed")).trials] == ["COMPLETE"] * 4
    assert without_clocks(rows("runs/killed")) == without_clocks(rows("runs/whole"))
    tested = [
        json.loads(Path(f"runs/{name}/test.json").read_text())["evaluations"][0]["metrics"]
        for name in ("whole", "killed")
    ]
    assert tested[0] == tested[1]


def test_ctrl_c_is_resumable(space_file: Path) -> None:
    process = subprocess.Popen(
        command("search", str(space_file), "study.trials=2", "training.epochs=40"),
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
    )
    wait_for(lambda: Path("runs/tiny/trials/0000/manifest.json").exists(), process)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=LONG)
    assert process.returncode == 130, out
    assert "continue with: python launch.py resume runs/tiny" in out
    code, out = launch("resume", "--run", "runs/tiny")
    assert code == 0, out
    assert [row["state"] for row in rows("runs/tiny")] == ["complete"] * 2
    assert [int(row["epochs"]) for row in rows("runs/tiny")] == [40, 40]


def test_a_trial_with_two_workers_is_a_ray_train_job(space_file: Path) -> None:
    code, out = launch("search", str(space_file), "study.trials=2", "resources.workers=2", "backbone.batch_norm=false")
    assert code == 0, out
    assert [row["state"] for row in rows("runs/tiny")] == ["complete"] * 2
    assert Path("runs/tiny/report.html").exists() and Path("runs/tiny/test.json").exists()
    one, _ = launch("train", str(space_file), "backbone.batch_norm=false", "--run", "runs/one")
    assert one == 0
    assert float(rows("runs/one")[0]["value"]) == pytest.approx(float(rows("runs/tiny")[0]["value"]), abs=5)


def test_failed_trials_do_not_end_the_search(space_file: Path) -> None:
    wide = "search.optim.head_lr_scale={choices: [10.0, 1e30]}"
    code, out = launch(
        "search", str(space_file), "study.trials=4", "study.sampler=random", "backbone.batch_norm=false", wide
    )
    states = [row["state"] for row in rows("runs/tiny")]
    assert code == 0, out
    assert set(states) == {"complete", "fail"}
    assert all("training diverged" in row["failure"] for row in rows("runs/tiny") if row["state"] == "fail")
    assert "training diverged" in Path("runs/tiny/report.html").read_text()


def test_torchrun_trains_the_same_run_folder(space_file: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            torchrun(*words), capture_output=True, text=True, env=environment(), timeout=LONG, check=False
        )

    done = run("train", str(space_file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["state"] for row in rows("runs/tiny")] == ["complete"]
    assert json.loads(Path("runs/tiny/study.json").read_text())["workers"] == 2
    assert done.stdout.count("winner:") == 1
    again = run("resume", "runs/tiny")  # no process trains alone
    assert again.returncode == 0 and "this training is finished" in again.stdout, again.stdout + again.stderr


def test_a_scheduler_stops_trials_and_a_finished_search_gets_more(space_file: Path) -> None:
    words = [
        "study.trials=6",
        "training.epochs=6",
        "study.scheduler=asha",
        "study.keep_checkpoints=1",
        "resources.concurrent_trials=2",
    ]
    code, out = launch("search", str(space_file), *words)
    assert code == 0, out
    trials = rows("runs/tiny")
    assert "pruned" in {row["state"] for row in trials} and "stopped early at" in out
    assert all(int(row["epochs"]) < 6 for row in trials if row["state"] == "pruned")
    assert [trial.state.name.lower() for trial in open_study(Path("runs/tiny")).trials] == [
        row["state"] for row in trials
    ]
    winner = json.loads(Path("runs/tiny/best/result.json").read_text())["trial"]
    assert trials[winner]["state"] == "complete"
    assert [path.parent.name for path in Path("runs/tiny/trials").rglob("epoch-*.pt")] == [f"{winner:04d}"]
    code, out = launch("resume", "runs/tiny", "study.trials=8")
    assert code == 0, out
    assert rows("runs/tiny")[:6] == trials and len(rows("runs/tiny")) == 8
    assert len(json.loads(Path("runs/tiny/test.json").read_text())["evaluations"]) == 1
    code, out = launch("resume", "runs/tiny", "study.trials=7")
    assert code == 2 and "this study has 8 already" in out
    code, out = launch("replay", "runs/tiny", "--trial", str(winner))
    assert code == 0, out
    again = rows("runs/tiny-replay")
    assert [row["state"] for row in again] == ["complete"] and not Path("runs/tiny-replay/test.json").exists()
    assert again[0]["value"] == trials[winner]["value"]


def test_the_same_failure_at_the_start_stops_the_search_and_is_shown_once(space_file: Path) -> None:
    words = [
        "study.trials=8",
        "backbone.batch_norm=false",
        "optim.head_lr_scale=1e30",
        "search.optim.lr={low: 0.009, high: 0.011}",
    ]
    code, out = launch(
        "search", str(space_file), *words, "resources.concurrent_trials=1"
    )  # else the first trial may be the last to end
    assert code == 1 and out.count("the first 3 trials all failed alike") == 1 and "training diverged" in out
    assert len(rows("runs/tiny")) == 3 and not Path("runs/tiny/report.html").exists()
    code, out = launch("retry", "runs/tiny", "--trial", "0")
    assert "put back: trial 0" in out
    assert [row["retry_of"] for row in rows("runs/tiny")].count("0") == 1


def test_trials_that_choose_their_post_hoc_settings_choose_alike_when_killed_and_resumed(space_file: Path) -> None:
    grid = (
        "post_hoc.evaluation.normalizer=[{name: min_max}, {name: pas, percentile: 40.0}, {name: pas, percentile: 70.0}]"
    )
    words = [str(space_file), grid, "study.post_hoc=every_trial", "study.trials=2", "training.epochs=4"]
    words += ["resources.concurrent_trials=1"]
    code, out = launch("search", *words, "--run", "runs/whole")
    assert code == 0 and "post-hoc settings chosen on train_fullsup: " in out, out
    process = subprocess.Popen(command("search", *words, "--run", "runs/killed"), env=environment(), text=True)
    wait_for(lambda: Path("runs/killed/trials/0001/manifest.json").exists(), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    code, out = launch("resume", "runs/killed")
    assert code == 0, out
    assert without_clocks(rows("runs/killed")) == without_clocks(rows("runs/whole"))
    results = [json.loads(Path(f"runs/{run}/best/result.json").read_text()) for run in ("whole", "killed")]
    assert results[0]["chosen"] == results[1]["chosen"] and results[0]["config"] == results[1]["config"]
    assert all(one["value"] == one["value_measured_again"] == one["train_fullsup"]["max_box_acc_v2"] for one in results)
    chosen = {row["post_hoc"] for row in rows("runs/whole")}
    assert chosen <= {"as it is", "min_max", "pas percentile=40.0", "pas percentile=70.0"} and len(chosen) >= 1
