"""How long the report of a large search takes, and how large it is: 100 trials of 30 epochs, five parameters (one
conditional), 200 pictures.

    python -m benchmarks.report [--trials 100] [--images 50] [--views 3]

The run folder is made here: random numbers in a real journal, and pictures as the search writes them, of 256 pixels and
as full of detail as photos. A fresh process is timed, from the command to the written page.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from benchmarks.photo import SIDE, photo
from benchmarks.row import Row, tell
from orchestrator.pictures.drawing import map_overlay, photo_with_boxes, save_jpeg
from orchestrator.runs.journal import open_storage

START = datetime(2026, 1, 5, 10, tzinfo=UTC)
OBJECTIVE = "train_fullsup/max_box_acc_v2"
TABS = ("hits", "misses", "small", "disagreements")


def main() -> None:
    """Print seconds and megabytes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--views", type=int, default=3, help="score maps of each image, beside its photo")
    options = parser.parse_args()
    with TemporaryDirectory() as place:
        folder = make_run(Path(place) / "runs" / "large", options.trials, options.images, options.views)
        started = time.perf_counter()
        subprocess.run([sys.executable, "launch.py", "report", str(folder)], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        size = (folder / "report.html").stat().st_size / 1e6
    pictures = options.images * (1 + options.views)
    print(f"{options.trials} trials, {pictures} pictures: {seconds:.1f} s, {size:.2f} MB")
    tell(
        Row(
            "report",
            f"{seconds:.1f} s, {size:.2f} MB",
            f"{options.trials} trials, {pictures} pictures",
            seconds,
            "<= 10",
            "s",
        )
    )


def make_run(folder: Path, trials: int, images: int, views: int) -> Path:
    """A finished search with everything that the report shows.

    Args:
        folder: must not exist.
        trials: how many; every tenth failed, two of ten were stopped.
        images: among the pictures.
        views: score maps of each.
    """
    rng = np.random.default_rng(0)
    (folder / "best").mkdir(parents=True)
    study = optuna.create_study(study_name="large", storage=open_storage(folder), directions=["maximize", "maximize"])
    frozen = [make_trial(number, rng) for number in range(trials)]
    study.add_trials(frozen)
    complete = [number for number, trial in enumerate(frozen) if trial.state == TrialState.COMPLETE]
    winner = max(complete, key=lambda number: frozen[number].values[0])
    write_header(folder, trials)
    write_winner(folder, winner, complete, frozen[winner].values[0])
    write_pictures(folder / "best", images, views, rng)
    return folder


def make_trial(number: int, rng: np.random.Generator) -> FrozenTrial:
    """An ended trial of a search with two objectives."""
    spaces = {
        "optim.lr": FloatDistribution(1e-5, 1e-1, log=True),
        "method.cell_size": IntDistribution(8, 64),
        "method.drop_rate": FloatDistribution(0.0, 0.9),
        "evaluation.normalizer.name": CategoricalDistribution(["min_max", "pas", "ivr"]),
    }
    params = {
        "optim.lr": float(10 ** rng.uniform(-5, -1)),
        "method.cell_size": int(rng.integers(8, 65)),
        "method.drop_rate": float(rng.uniform(0, 0.9)),
        "evaluation.normalizer.name": str(rng.choice(["min_max", "pas", "ivr"])),
    }
    if params["evaluation.normalizer.name"] == "pas":
        spaces["evaluation.normalizer.percentile"], params["evaluation.normalizer.percentile"] = (
            FloatDistribution(50, 100),
            float(rng.uniform(50, 100)),
        )
    state = {9: TrialState.FAIL, 4: TrialState.PRUNED, 7: TrialState.PRUNED}.get(number % 10, TrialState.COMPLETE)
    epochs = {TrialState.FAIL: 2, TrialState.PRUNED: 10}.get(state, 30)
    top = 60 - 3 * (np.log10(params["optim.lr"]) + 3) ** 2 + 5 * params["method.drop_rate"] + rng.normal(0, 1)
    curve = {epoch: float(top * (1 - 0.5 * 0.8**epoch) + rng.normal(0, 0.5)) for epoch in range(1, epochs + 1)}
    best = max(curve, key=lambda epoch: curve[epoch])
    begins = START + timedelta(minutes=12 * (number // 4))
    facts = {
        "started": begins.isoformat(),
        "ended": (begins + timedelta(seconds=20 * epochs)).isoformat(),
        "worker": f"node-{number % 4}:{1000 + number}",
    }
    known = {**facts, "seconds": 20.0 * epochs, "epochs": epochs}
    if state == TrialState.COMPLETE:
        known |= {
            "best_epoch": best,
            "metrics": {OBJECTIVE: curve[best], "train_fullsup/top1": curve[best] - 10, "epoch": best},
        }
    if state == TrialState.FAIL:
        known["failure"] = "loss became nan in epoch 3 at optim.lr 0.09: training diverged; a lower rate may help"
    values = (
        [curve[best], float(70 - 8 * params["method.drop_rate"] + rng.normal(0, 2))]
        if state == TrialState.COMPLETE
        else None
    )
    return create_trial(
        state=state, values=values, params=params, distributions=spaces, user_attrs=known, intermediate_values=curve
    )


def write_header(folder: Path, trials: int) -> None:
    """`study.json` and `experiment.yaml`."""
    machine = {"host": "node-0", "cpus": 64, "gpus": 4, "memory_gb": 256.0}
    info = {
        "study_name": "large",
        "name": "large",
        "objective": OBJECTIVE,
        "objectives": [OBJECTIVE, "train_fullsup/top1"],
        "trials": trials,
    }
    asked = {
        "sampler": "tpe",
        "scheduler": "asha",
        "seed": 0,
        "workers": 1,
        "concurrent_trials": 4,
        "command": "python launch.py search large.yaml",
    }
    ran = {
        "git": {"commit": "3f2b1c9e7a5d4c3b", "dirty": False},
        "versions": {"torch": "2.15.0", "ray": "2.60.0"},
        "machine": machine,
    }
    ends = {"started": START.isoformat(), "ended": (START + timedelta(hours=5)).isoformat()}
    (folder / "study.json").write_text(json.dumps({**info, **asked, **ran, **ends}))
    (folder / "experiment.yaml").write_text("trial: {seed: 0, training: {epochs: 30}}\n")


def write_winner(folder: Path, winner: int, complete: list[int], value: float) -> None:
    """The files of `best/` without the pictures, and `test.json`."""
    scores = {
        "max_box_acc_v2": value,
        "max_box_acc_v2/iou_50": value + 8,
        "max_box_acc_v2/threshold_50": 0.21,
        "top1": 55.5,
    }
    sizes = {
        f"max_box_acc_by_size/{group}": value + shift for group, shift in (("small", -20), ("medium", -2), ("large", 9))
    }
    intervals = {name: [number - 2, number + 2.5] for name, number in {**scores, **sizes}.items()}
    others = [number for number in complete if number != winner][:3]
    first = {"winner": 0.71, **{str(number): share for number, share in zip(others, (0.2, 0.07, 0.02), strict=True)}}
    grid = [
        {"values": {"evaluation.extractor": {"name": name, "block": "top"}}, "value": value - 3 * i}
        for i, name in enumerate(("pcs", "bag_cams"))
    ]
    result = {
        "trial": winner,
        "epoch": 28,
        "objective": OBJECTIVE,
        "value": value,
        "checkpoint_sha256": "c0ffee00" * 8,
        "config": {"seed": 0},
    }
    more = {"post_hoc": [{"values": {}, "value": value}, *grid], "first": first, "train_fullsup": {**scores, **sizes}}
    baseline = {"max_box_acc_v2": 50.0}
    known = {**result, **more, "intervals": {"train_fullsup": intervals}, "baseline": {"train_fullsup": baseline}}
    (folder / "best" / "result.json").write_text(json.dumps(known))
    entry = {
        "time": START.isoformat(),
        "checkpoint_sha256": "c0ffee00" * 8,
        "reason": None,
        "config": {},
        "baseline": baseline,
        "intervals": intervals,
    }
    (folder / "test.json").write_text(
        json.dumps({"evaluations": [{**entry, "metrics": {**scores, **sizes, "max_box_acc_v2/fixed": value - 1}}]})
    )
    x = np.linspace(0, 1, 1000)
    curves = {f"curve:max_box_acc_v2/iou_{iou}": 90 * np.exp(-(((x - 0.3) * iou / 12) ** 2)) for iou in (30, 50, 70)}
    for split in ("train_fullsup", "test"):
        np.savez_compressed(
            folder / "best" / f"scores-{split}.npz", images=np.array("0"), threshold_step=np.array(0.001), **curves
        )


def write_pictures(best: Path, images: int, views: int, rng: np.random.Generator) -> None:
    """Photos of coloured noise at several scales: about as many bytes as photos of the same size."""
    (best / "examples").mkdir()
    entries = []
    for number in range(images):
        image = photo(rng)
        box = np.array([60, 40, 200, 190])
        save_jpeg(best / f"examples/{number}.jpg", photo_with_boxes(image, box[None]))
        shown = []
        for view in range(views):
            rise = np.exp(-(((np.indices((SIDE, SIDE)) - rng.integers(90, 170, (2, 1, 1))) / 60) ** 2).sum(0))
            save_jpeg(
                best / f"examples/{number}-{view}.jpg",
                map_overlay(image, rise, box + rng.integers(-30, 30, 4), box[None]),
            )
            label = ("winner", "trial 5", "pcs block=top", "bag_cams block=top")[view]
            shown.append(
                {"label": label, "map": f"examples/{number}-{view}.jpg", "iou": float(rng.random()), "threshold": 0.21}
            )
        names = {
            "image_id": f"val/class_{number}/image_{number}.jpg",
            "class_name": f"class {number}",
            "photo": f"examples/{number}.jpg",
        }
        entries.append({**names, "size": 30.5, "tabs": [TABS[number % 4]], **shown[0], "others": shown[1:]})
    (best / "examples.json").write_text(json.dumps(entries))


if __name__ == "__main__":
    main()
