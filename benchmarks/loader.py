"""How fast images come: from the cache of decoded squares against decoding and resizing at every use, as the published
loaders do.

    python -m benchmarks.loader [--images 200] [--side 256]

JPEG files of 500 x 375 pixels, as full of detail as photos. Both read the same images in the same shuffled order, in
one thread, up to the array that the augmentation takes; the cached ones are copied out of the file's pages, which are
in memory after the first round, as in any later epoch.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from benchmarks.photo import photo
from benchmarks.row import Row, tell
from wsol.data import metadata
from wsol.data.dataset import Split
from wsol.data.images import ImageStore
from wsol.data.metadata import Metadata
from wsol.schema import DatasetConfig

SIZE = (500, 375)
ROUNDS = 3


def main() -> None:
    """Print images per second of both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--side", type=int, default=256)
    options = parser.parse_args()
    with TemporaryDirectory() as place:
        split = make_split(Path(place), options.images)
        settings = DatasetConfig(
            name="photos", root=place, resize_size=options.side, image_size=options.side, workers=1
        )
        stores = {
            mode: ImageStore(split, options.side, settings.model_copy(update={"cache": mode})) for mode in ("on", "off")
        }
        seconds = {mode: min(read_all(store) for _ in range(ROUNDS)) for mode, store in stores.items()}
    rates = {mode: options.images / spent for mode, spent in seconds.items()}
    ratio = rates["on"] / rates["off"]
    print(f"cached {rates['on']:.0f} images/s, decoded {rates['off']:.0f} images/s: {ratio:.1f} times")
    tell(
        Row("reading an image", f"{rates['on']:.0f} images/s", f"decode and resize: {rates['off']:.0f}", ratio, ">= 5")
    )


def make_split(root: Path, count: int) -> Split:
    """A split of new JPEG files."""
    rng = np.random.default_rng(0)
    ids = tuple(f"{number}.jpg" for number in range(count))
    for name in ids:
        cv2.imwrite(str(root / name), cv2.resize(photo(rng), SIZE, interpolation=cv2.INTER_CUBIC))
    known = Metadata(root, ids, np.zeros(count, np.int64), np.array([SIZE] * count), None, None)
    metadata.write(root / "metadata", known)
    return Split("train_weaksup", known, root, root, "photos-train")


def read_all(store: ImageStore) -> float:
    """Seconds to have every image once as an array of its own."""
    order = np.random.default_rng(1).permutation(len(store))
    begun = time.perf_counter()
    for position in order:
        np.array(store.read([int(position)])[0])
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
