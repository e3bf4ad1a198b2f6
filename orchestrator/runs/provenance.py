"""Records which code and packages made a run: the commit, the changes since then, and versions. All of it is kept in
the run folder."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.runs import names
from orchestrator.shipped import ROOT
from wsol.files import write_text
from wsol.packages import version_of

COMMIT = "WSOL_COMMIT"  # what `git()` returned where the job was submitted, and the changes


PACKAGES = ("torch", "torchvision", "ray", "optuna", "numpy", "opencv-python-headless", "opencv-python", "pydantic")


OF_A_JOB = 60_000  # characters; an environment variable has at most 128 KiB, and quoting takes some


CODE = (".py", ".pyi", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".sh", ".md", ".j2", ".c", ".cpp", ".cu", ".h")
"""Endings of the files whose content can change numbers."""


SECRETS = re.compile(r"secret|credential|passw|token|private|api_?key|(^|[._-])id_|env$", re.IGNORECASE)
"""Names of files that no run folder holds, whatever their ending."""


LARGEST = 200_000
"""Largest size in bytes of a new file that is copied with the changes: a plugin is smaller, data are larger."""


def write_provenance(folder: Path) -> None:
    """Write `packages.txt`, all installed packages, and `code.diff`, the changes since the commit, new files included;
    without changes there is no `code.diff`."""
    write_text(folder / names.PACKAGES, packages())
    if text := changes():
        write_text(folder / names.CHANGES, text)


def command() -> str:
    """The command that started this process."""
    return shlex.join(["python", Path(sys.argv[0]).name, *sys.argv[1:]])


def git() -> dict[str, str | bool] | None:
    """The commit of this code, and whether files were changed since; None outside a checkout. In a job, it comes from
    the environment."""
    if COMMIT in os.environ:
        recorded: dict[str, Any] = json.loads(os.environ[COMMIT])
        return recorded["git"]  # type: ignore[no-any-return]
    commit = _git("rev-parse", "HEAD") if _is_checkout() else None
    return None if commit is None else {"commit": commit, "dirty": bool(_git("status", "--porcelain"))}


def changes() -> str:
    """A patch from the commit to the present code, with new files that git does not ignore; empty outside a checkout.
    Files that are not code are only named, because they may hold secrets."""
    if COMMIT in os.environ:
        return str(json.loads(os.environ[COMMIT])["changes"])
    if not _is_checkout():
        return ""
    changed = (_git("diff", "--name-only", "HEAD") or "").splitlines()
    new = (_git("ls-files", "--others", "--exclude-standard") or "").splitlines()
    left_out = [path for path in (*changed, *new) if not is_code(path)]
    left_out += [path for path in new if is_code(path) and not _is_small(path)]
    tracked = [path for path in changed if is_code(path)]
    parts = [f"# changed or new, but no code, so not here: {', '.join(left_out)}" if left_out else None]
    parts += [_git("diff", "HEAD", "--", *tracked)] if tracked else []
    parts += [
        _git("diff", "--no-index", "--", os.devnull, path) for path in new if is_code(path) and path not in left_out
    ]
    return "".join(f"{part}\n" for part in parts if part)


def is_code(path: str) -> bool:
    """Whether a file of the checkout may be copied into run folders: code by its ending, and nothing whose name speaks
    of secrets."""
    place = PurePosixPath(path)
    is_hidden = any(part.startswith(".") for part in place.parts)
    return place.suffix in CODE and not is_hidden and not SECRETS.search(place.name)


def _is_small(path: str) -> bool:
    return (ROOT / path).stat().st_size <= LARGEST


def for_a_job() -> dict[str, str]:
    """Environment variables that tell a job, which has no checkout, its commit and changes; long changes are cut."""
    text = changes()
    cut = text if len(text) <= OF_A_JOB else f"{text[:OF_A_JOB]}\n... cut here: more than a job can be told\n"
    return {COMMIT: json.dumps({"git": git(), "changes": cut})}


@cache  # hundreds of files are read
def packages() -> str:
    """A line `name==version` for each installed package, sorted."""
    found = {
        f"{package.metadata['Name']}=={package.version}"
        for package in metadata.distributions()
        if package.metadata["Name"]
    }
    return "".join(f"{line}\n" for line in sorted(found, key=str.lower))


def versions(further: Sequence[str] = ()) -> dict[str, str]:
    """Versions of the packages that numbers depend on, of further ones, and of Python; those that are not installed are
    left out."""
    known = {package: version_of(package) for package in (*PACKAGES, *further)}
    return {
        "python": platform.python_version(),
        **{package: version for package, version in known.items() if version is not None},
    }


def _is_checkout() -> bool:
    """Whether the code is in its own checkout, not in an environment inside another project's checkout."""
    return _git("rev-parse", "--show-toplevel") == str(ROOT)


def _git(*words: str) -> str | None:
    """The output of git; None without git or a checkout. Exit code 1, a difference, does not count as a failure."""
    try:
        command = ["git", "-c", "color.ui=false", "-c", "core.quotepath=off", *words]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.rstrip("\n") if done.returncode == 0 or (words[0] == "diff" and done.returncode == 1) else None
