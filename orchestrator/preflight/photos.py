"""Finds the image files that a user names, and those in the folders that the user names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsol.errors import InputError, listed
from wsol.files import is_dir, is_file


@dataclass(frozen=True, slots=True)
class Photos:
    """A set of image files.

    Attributes:
        folder: the nearest folder that contains all of them.
        names: paths relative to it, sorted: files of the same name in several folders stay apart.
        left_out: ending -> how many files in the folders have this ending, which is not that of an image.
    """

    folder: Path
    names: list[str]
    left_out: Counter[str]


def find_photos(places: Sequence[Path], out: Path) -> Photos:
    """Every named file, and all files with the ending of an image in the named folders and below; hidden files are
    ignored.

    Args:
        places: files and folders.
        out: the folder of the results, which must not lie in one of the folders.

    Raises:
        InputError: a place is not there or cannot be read, there is no image, or `out` is in one of the folders.
    """
    found, left_out, roots = set[Path](), Counter[str](), list[Path]()
    for place in places:
        if is_dir(place):
            _require_outside(out, place)
            roots.append(place.resolve())
            files = list(_files_below(roots[-1]))
            named = {file for file in files if _is_named_like_an_image(file)}
            left_out.update(file.suffix.lower() or "no ending" for file in files if file not in named)
            found |= named
        elif is_file(place):
            roots.append(place.parent.resolve())
            found.add(roots[-1] / place.name)
        else:
            raise InputError(f"{place}: no such image or folder")
    if not found:
        raise InputError(f"{listed(map(str, places))}: holds no image, only other files ({in_words(left_out)})")
    folder = Path(os.path.commonpath(roots))
    return Photos(folder, sorted(str(file.relative_to(folder)) for file in found), left_out)


def in_words(left_out: Counter[str]) -> str:
    """`.csv 2, .txt 1`; `none` where there is none."""
    ranked = sorted(left_out.items(), key=lambda entry: (-entry[1], entry[0]))
    return listed(f"{ending} {count}" for ending, count in ranked) or "none"


def _require_outside(out: Path, place: Path) -> None:
    if out.resolve().is_relative_to(place.resolve()):
        raise InputError(
            f"--out {out}: lies in {place}, so that its pictures would be read as images the next time; choose a folder"
            " outside of it"
        )


def _files_below(folder: Path) -> Iterator[Path]:
    """All files in a folder and below that are not hidden; links to folders are followed, each folder is read once."""
    seen = set[Path]()
    for place, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        if (real := Path(place).resolve()) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(place, name) for name in files if not name.startswith("."))
        yield from (path for path in paths if path.is_file() or path.is_symlink())


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from None


def _is_named_like_an_image(path: Path) -> bool:
    from PIL import Image

    Image.init()
    return Image.registered_extensions().get(path.suffix.lower()) in Image.OPEN
