"""What `predict` costs beside the network, and whether its memory grows: 1,000 photographs of mixed size and mode, from
files to tables and overlays, against the bare forward passes of as many images.

    python -m benchmarks.prediction [--images 1000] [--backbone efficientnet_lite0] [--image-size 224]

The photographs are rendered: JPEG of three sizes, grey, CMYK and turned by EXIF, PNG with palette and with alpha, TIFF
of 16 bits. Half of the bare passes are timed before, half after, all in memory that is there already. Memory is what
the process holds at image 100 and at the last one.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from benchmarks.photo import photo
from benchmarks.row import Row, tell
from orchestrator.preflight.photos import Photos, find_photos
from orchestrator.verbs.predict import predictions_of
from orchestrator.winner.exported import Model
from orchestrator.winner.predictions import new_predictions
from wsol import build
from wsol.config import TrainConfig
from wsol.evaluation import evaluation_mode
from wsol.prediction import BoxRule, predict_photos, read_photos

CLASSES, EARLY = 200, 100
RULE = BoxRule(0.2, "all")
SIZES = ((500, 375), (333, 500), (640, 480), (500, 375), (400, 300), (1024, 768))
EXIF_ORIENTATION, TURNED = 0x0112, 6
Saver = Callable[[Image.Image, Path], None]


def main() -> None:
    """Print images per second, and megabytes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--image-size", type=int, default=224)
    options = parser.parse_args()
    model = random_model(options.backbone, options.image_size)
    with tempfile.TemporaryDirectory() as place:
        render(Path(place) / "photos", options.images)
        compare(model, find_photos([Path(place) / "photos"], Path(place) / "out"), Path(place) / "out")


def random_model(backbone: str, side: int) -> Model:
    """CAM with random weights: what it sees is another question."""
    config = TrainConfig.model_validate(
        {
            "method": {"name": "cam"},
            "backbone": {"name": backbone, "weights": "none"},
            "data": {"name": "cub", "image_size": side, "resize_size": side},
        }
    )
    torch.manual_seed(0)
    method = build.method(config, CLASSES)
    return Model(config, build.trained_method(config, method.state_dict(), CLASSES), [str(k) for k in range(CLASSES)])


def compare(model: Model, photos: Photos, out: Path) -> None:
    """Time the three and weigh the first."""
    count, half = len(photos.names), len(photos.names) // 2
    bare = forward(model, half)
    seconds, early, late = predict(model, photos, out)
    bare += forward(model, count - half)
    plain = without_pictures(model, photos)
    print(f"{model.config.backbone.name}, {count} photographs, {torch.get_num_threads()} threads")
    for name, value in (("forward passes", bare), ("predict", seconds), ("without overlays", plain)):
        print(f"{name:<17} {count / value:7.1f} images/s   {bare / value:.3f} x")
    print(f"memory            {early:7.0f} MB at image {EARLY}, {late:.0f} MB at image {count}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    rates = f"{count / seconds:.1f} images/s", f"forward passes: {count / bare:.1f}"
    tell(Row(f"predict, {count} photographs", *rates, bare / seconds, ">= 0.8"))
    tell(
        Row(
            "memory of predict",
            f"{late:.0f} MB, image {count}",
            f"image {EARLY}: {early:.0f} MB",
            late / early,
            "<= 1.1",
        )
    )


def forward(model: Model, count: int) -> float:
    """Seconds of the network alone for so many images."""
    size, side = model.config.evaluation.batch_size, model.config.data.image_size
    device = next(model.method.parameters()).device
    images = torch.rand(size, 3, side, side, device=device).to(memory_format=torch.channels_last)
    with evaluation_mode(model.method), torch.no_grad():
        model.method.network(images)
        begun = time.perf_counter()
        for start in range(0, count, size):
            logits = model.method.network(images[: count - start]).logits
        logits.cpu()
    return time.perf_counter() - begun


def predict(model: Model, photos: Photos, out: Path) -> tuple[float, float, float]:
    """Seconds of all of it, and megabytes at an early image and at the last one."""
    held = {}
    begun = time.perf_counter()
    with new_predictions(out, model.class_names) as tables:
        for found in predictions_of(model, photos, RULE, out, maps=False):
            tables.add(found)
            if tables.images in (EARLY, len(photos.names)):
                held[tables.images] = megabytes_held()
    assert not tables.failed
    return time.perf_counter() - begun, held[EARLY], held[len(photos.names)]


def without_pictures(model: Model, photos: Photos) -> float:
    """Seconds of reading, the network and the boxes."""
    data, evaluation = model.config.data, model.config.evaluation
    begun = time.perf_counter()
    files = read_photos(
        photos.names, photos.folder, data.image_size, threads=data.workers, ahead=2 * evaluation.batch_size
    )
    for _ in predict_photos(model.method, files, evaluation, RULE, lambda evidence: evidence.prediction):
        pass
    return time.perf_counter() - begun


def megabytes_held() -> float:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def render(folder: Path, count: int) -> None:
    """So many files of all kinds and sizes."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    scenes = [photo(rng) for _ in range(20)]
    for number, size, (ending, save) in zip(range(count), cycle(SIZES), cycle(kinds()), strict=False):
        image = cv2.resize(scenes[number % len(scenes)], size, interpolation=cv2.INTER_CUBIC)
        save(Image.fromarray(np.roll(image, number, axis=1)), folder / f"{number:05}{ending}")


def kinds() -> Iterator[tuple[str, Saver]]:
    """Endings and ways to save: of 13 files 7 are plain JPEG; with 6 sizes, each kind comes in each size."""
    yield from islice(cycle([(".jpg", lambda image, path: image.save(path, quality=90))]), 7)
    yield ".jpg", lambda image, path: image.convert("L").save(path, quality=90)
    yield ".jpg", lambda image, path: image.convert("CMYK").save(path, quality=90)
    yield ".jpg", save_turned
    yield ".png", lambda image, path: image.convert("P", palette=Image.Palette.ADAPTIVE).save(path)
    yield ".png", lambda image, path: image.convert("RGBA").save(path)
    yield ".tif", lambda image, path: Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(path)


def save_turned(image: Image.Image, path: Path) -> None:
    """JPEG whose EXIF orientation turns it when it is displayed."""
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = TURNED
    image.save(path, quality=90, exif=exif)


if __name__ == "__main__":
    main()
