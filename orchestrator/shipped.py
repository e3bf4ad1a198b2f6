"""The search-space and cluster files that come with the code, in a checkout or in the installed package."""

from __future__ import annotations

from pathlib import Path

from wsol.files import exists

FOLDERS = ("search_spaces", "clusters")
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
"""The folder that holds the code: the checkout, or the folder of installed packages."""


def shipped_root() -> Path:
    """The folder that holds `FOLDERS`."""
    return HERE if (HERE / FOLDERS[0]).is_dir() else HERE.parent


def shipped(path: Path) -> Path:
    """The path itself, or the shipped file where there is none: `search_spaces/synthetic.yaml` is found from any
    folder."""
    if exists(path) or path.parts[:1] not in {(folder,) for folder in FOLDERS}:
        return path
    return shipped_root() / path if exists(shipped_root() / path) else path
