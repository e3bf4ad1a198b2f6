"""Finds the image files that annotations name; most annotations name them without their folders, or with the folders of
another machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from wsol.data.archives import folders
from wsol.data.rows import OUTSIDE
from wsol.errors import InputError
from wsol.files import is_dir, is_file

ENDINGS = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".jp2", ".ppm", ".pgm", ".avif")
)
"""Endings of image files, in lower case."""


def absolute(path: Path) -> Path:
    """The path from the root of the file system, without `..`; links stay."""
    return Path(os.path.normpath(path.absolute()))


def files_below(root: Path, endings: Collection[str]) -> Iterator[Path]:
    """The files in a folder and below it with one of some endings, which are given in lower case. Links are followed;
    hidden files and folders, such as the `._a.jpg` of macOS beside `a.jpg`, are left out."""
    for folder in folders(root):
        for path in folder.iterdir():
            if path.suffix.lower() in endings and not any(map(_is_hidden, path.relative_to(root).parts)):
                yield path


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def image_files(root: Path) -> list[str]:
    """The image files in a folder and below it, relative to it, with `/`, sorted; see `files_below`."""
    return sorted(path.relative_to(root).as_posix() for path in files_below(root, ENDINGS))


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
        whose path the name ends with, unless the next folder of the name is there, without it. None if there is none,
        or several."""
        name = _plain(name)
        if not OUTSIDE.search(name) and is_file(self.root / name):
            return name
        return self._matching(name, self._by_name.get(name.rpartition("/")[2], []), str)

    def find_stem(self, stem: str) -> str | None:
        """Like `find`, by a name without its ending."""
        stem = _plain(stem)
        found = self._by_stem.get(stem.rpartition("/")[2], [])
        exact = [path for path in found if _without_ending(path) == stem]
        return exact[0] if len(exact) == 1 else self._matching(stem, found, _without_ending)

    def _matching(self, name: str, paths: list[str], named: Callable[[str], str]) -> str | None:
        longer = [path for path in paths if _ends_with(named(path), name)]
        shorter = [path for path in paths if _ends_with(name, named(path))]
        best = longer or [path for path in shorter if len(path) == max(map(len, shorter))]
        if len(best) != 1 or (not longer and self._has_next_folder(name, named(best[0]))):
            return None
        return best[0]

    def _has_next_folder(self, name: str, end: str) -> bool:
        """Whether the folder before the end of a name is one of the root's own, in which the file should have been."""
        folder = name.removesuffix(end).rstrip("/").rpartition("/")[2]
        return folder not in ("", ".", "..") and is_dir(self.root / folder)


def _plain(name: str) -> str:
    """The name with `/` instead of the backslashes of Windows."""
    return name.replace("\\", "/").removeprefix("./")


def _without_ending(path: str) -> str:
    return path.rpartition(".")[0]


def _ends_with(path: str, end: str) -> bool:
    return f"/{path}".endswith(f"/{end}")


def has_whole_name(path: str, name: str) -> bool:
    """Whether a path ends with a name, the name's folders included; the name may lack its ending."""
    return _ends_with(path, _plain(name)) or _ends_with(_without_ending(path), _plain(name))
