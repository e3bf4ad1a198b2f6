"""The table of docs/results.md: all methods on a folder of photographs with three seeds, tested; then every extractor
and every normalizer with the weights of CAM and of the best method.

    make results DATA=DIR
    python -m benchmarks.results --data DIR --run runs/results      the same; again, to go on after Ctrl-C or a crash

DIR has images/ and metadata/{train,val,test}. Written are `results.md` and the tables as CSV, beside the runs of the
campaign `search_spaces/campaigns/photographs.yaml`, and `strip.jpg`: four photographs of test with the maps of CAM,
CAM without negative weights, BagCAMs and CropCAM.

The best method is the one with the highest mean on train_fullsup. The sweeps look at test of runs that were tested
already and choose nothing: every setting is in the table.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import orchestrator
from orchestrator.comparison.rows import Row
from orchestrator.comparison.tables import FORMATS
from orchestrator.console import console
from orchestrator.experiment.paths import Values
from orchestrator.experiment.post_hoc import with_setting
from orchestrator.pictures.drawing import map_overlay, photo_with_boxes, save_jpeg, shrunk, shrunk_region
from orchestrator.pictures.looks import Look, View, look_at
from orchestrator.runs.provenance import git
from orchestrator.verbs.ending import exit_codes
from orchestrator.winner.exported import open_exported
from wsol.data.images import ImageStore
from wsol.errors import InputError
from wsol.evaluation import evaluate
from wsol.files import write_text

CAMPAIGN = Path("search_spaces/campaigns/photographs.yaml")
EXTRACTORS = Path("search_spaces/extractors_photographs.yaml")
NORMALIZERS = (
    "post_hoc.evaluation.normalizer=[{name: max}, {name: pas, percentile: 90}, {name: ivr, lower_percentile: 0.25},"
    " {name: ivr, lower_percentile: 0.45}]"
)
METRICS = ("max_box_acc_v2", "max_box_acc", "top1/loc")
OWN_MAPS = ("f_cam",)
"""Methods whose maps are not made by an extractor."""
STRIP: tuple[tuple[str, str, Values], ...] = (
    ("CAM", "cam", {}),
    ("negative weights clipped", "cam", {"evaluation.extractor": {"name": "cam", "clip_negative_weights": True}}),
    ("BagCAMs", "cam", {"evaluation.extractor": {"name": "bag_cams", "block": "mbconv10"}}),
    ("CropCAM", "crop_cam", {}),
)
SIDE, PHOTOGRAPHS = 192, 4


def main() -> None:
    """Go on with the campaign, then sweep, then write everything down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="has images/ and metadata/")
    parser.add_argument("--run", type=Path, default=Path("runs/results"), metavar="DIR", help="runs/results by default")
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="changes of the campaign")
    options = parser.parse_args()
    with exit_codes():
        make(options.data, options.run, options.words)


def make(place: Path, run: Path, words: Sequence[str] = ()) -> None:
    """The whole table of one folder of photographs.

    Args:
        place: has images/ and metadata/.
        run: the folder of the campaign, which may be begun.
        words: `KEY=VALUE`, changes of the campaign.
    """
    data = [f"data.images={place / 'images'}", f"data.metadata={place / 'metadata'}"]
    folder = orchestrator.protocol(CAMPAIGN, *data, *words, run=run)
    seeds = seeds_of(folder)
    if "cam" not in seeds:
        raise InputError(
            f"{folder}: no tested run of cam, with which all others are compared; leave cam in the campaign"
        )
    methods = orchestrator.compare_runs(*(run for runs in seeds.values() for run in runs), metrics=METRICS)
    tables = {"methods": methods}
    for method in dict.fromkeys(["cam", best_method(seeds)]):
        for name, words in (("extractors", {"file": EXTRACTORS}), ("normalizers", {"overrides": [NORMALIZERS]})):
            tables[f"{name}-{method}"] = orchestrator.sweep_runs(*seeds[method], metrics=METRICS, split="test", **words)
    for name, rows in tables.items():
        write_text(folder / f"{name}.csv", FORMATS["csv"](rows))
    write_text(folder / "results.md", report(folder, tables))
    save_jpeg(folder / "strip.jpg", strip(seeds))
    console.print(f"results: {folder / 'results.md'}\npictures: {folder / 'strip.jpg'}")


def seeds_of(folder: Path) -> dict[str, list[Path]]:
    """Method -> its tested runs, one for each seed, in the order of the campaign; methods without any are left out."""
    cells = sorted(folder.glob("*/seeds/*/test.json"))
    found: dict[str, list[Path]] = {}
    for path in cells:
        found.setdefault(path.parents[2].name.partition("-")[0], []).append(path.parent)
    return {name: found[name] for name in sorted(found, key=lambda name: name != "cam")}


def best_method(seeds: dict[str, list[Path]]) -> str:
    """The method with the highest mean on train_fullsup of those whose maps an extractor makes."""
    rows = {
        name: orchestrator.compare_runs(*runs, metrics=["max_box_acc_v2"], split="train_fullsup")[0]
        for name, runs in seeds.items()
        if name not in OWN_MAPS
    }
    return max(rows, key=lambda name: rows[name].cells["max_box_acc_v2"].value)


def report(folder: Path, tables: dict[str, Sequence[Row]]) -> str:
    """All tables as Markdown, with the commit that made them."""
    code = git() or {}
    parts = [f"# Results in {folder.name}", f"Commit {code.get('commit', 'unknown')}."]
    for name, rows in tables.items():
        parts += [f"## {name}", FORMATS["markdown"](rows)]
    return "\n\n".join(parts) + "\n"


def strip(seeds: dict[str, list[Path]]) -> np.ndarray:
    """Photographs of test, one below the other, each with its truth and through every view of `STRIP`: (H, W, 3) uint8
    RGB. They are evenly spaced over the split, not chosen by what is seen on them."""
    views = [_view(label, seeds[method][0], values) for label, method, values in STRIP if method in seeds]
    whole = open_exported(seeds["cam"][0], "test").images
    uncached = views[0].config.data.model_copy(update={"cache": "off"})
    images = ImageStore(whole.split.only(places(len(whole))), whole.size, uncached)
    looks = [look_at(view, images) for view in views]
    photos = [np.asarray(photo) for photo in images.read(range(len(images)))]
    rows = [_row(photo, [seen[place] for seen in looks]) for place, photo in enumerate(photos)]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def _view(label: str, run: Path, values: Values) -> View:
    """A run with a post-hoc setting, and the score threshold that train_fullsup chooses for it."""
    winner = open_exported(run, "train_fullsup")
    config = with_setting(winner.config, values)
    method = winner.method(config)
    return View(label, method, config, evaluate(method, winner.images, config.evaluation))


def _row(photo: np.ndarray, looks: Sequence[Look]) -> list[np.ndarray]:
    """The photograph with what is true, then the maps over it with what is predicted."""
    small, truth = shrunk(photo, SIDE), shrunk_region(looks[0].truth, len(photo), SIDE)
    maps = [
        map_overlay(small, shrunk(look.score_map, SIDE) / 255, shrunk_region(look.region, len(photo), SIDE), truth)
        for look in looks
    ]
    return [photo_with_boxes(small, truth), *maps]


def places(images: int) -> list[int]:
    """Evenly spaced places in a split."""
    return ((np.arange(PHOTOGRAPHS) + 0.5) * images / PHOTOGRAPHS).astype(int).tolist()


if __name__ == "__main__":
    main()
