"""Finds the image files that annotations name; most annotations name them without their folders, or with the folders of
another machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wsol.data.archives import folders
from wsol.data.rows import OUTSIDE
from wsol.errors import InputError
from wsol.files import is_dir, is_file

ENDINGS = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".jp2", ".ppm", ".pgm", ".avif")
)
"""Endings of image files, in lower case."""


def image_files(root: Path) -> list[str]:
    """The image files in a folder and below it, relative to it, with `/`, sorted; links are followed."""
    return sorted(
        path.relative_to(root).as_posix()
        for folder in folders(root)
        for path in folder.iterdir()
        if path.suffix.lower() in ENDINGS
    )


class ImageFiles:
    """The image files below a folder.

    Args:
        root: the folder.

    Raises:
        InputError: there is no such folder, or it holds no image.
    """

    def __init__(self, root: Path) -> None:
        if not is_dir(root):
            raise InputError(f"{root}: no such folder; name the folder of the images with images=DIR")
        self.root = root
        self._by_name: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        for path in image_files(root):
            name = path.rpartition("/")[2]
            self._by_name.setdefault(name, []).append(path)
            self._by_stem.setdefault(_without_ending(name), []).append(path)
        if not self._by_name:
            raise InputError(f"{root}: holds no image; name the folder of the images with images=DIR")

    def find(self, name: str) -> str | None:
        """The file of a name: the file with this path; else the only one whose path ends with the name; else the one
        whose path the name ends with. None if there is none, or several."""
        name = _plain(name)
        if not OUTSIDE.search(name) and is_file(self.root / name):
            return name
        return _matching(name, self._by_name.get(name.rpartition("/")[2], []), str)

    def find_stem(self, stem: str) -> str | None:
        """Like `find`, by a name without its ending."""
        stem = _plain(stem)
        found = self._by_stem.get(stem.rpartition("/")[2], [])
        exact = [path for path in found if _without_ending(path) == stem]
        return exact[0] if len(exact) == 1 else _matching(stem, found, _without_ending)


def _plain(name: str) -> str:
    """The name with `/` instead of the backslashes of Windows."""
    return name.replace("\\", "/").removeprefix("./")


def _without_ending(path: str) -> str:
    return path.rpartition(".")[0]


def _matching(name: str, paths: list[str], named: Callable[[str], str]) -> str | None:
    longer = [path for path in paths if f"/{named(path)}".endswith(f"/{name}")]
    shorter = [path for path in paths if f"/{name}".endswith(f"/{named(path)}")]
    best = longer or [path for path in shorter if len(path) == max(map(len, shorter))]
    return best[0] if len(best) == 1 else None
