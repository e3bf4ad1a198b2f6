"""`validate`: checks search-space and campaign files without running anything."""

from __future__ import annotations

from pathlib import Path

from orchestrator.campaign.load import is_campaign, load_campaign
from orchestrator.campaign.model import campaign_in_words
from orchestrator.console import console, errors
from orchestrator.experiment.load import load_variants
from orchestrator.preflight.place import default_folder
from wsol.errors import InputError, counted


def validate(files: list[Path], overrides: list[str]) -> bool:
    """Check files with all of their variants, and print for each what it holds, or everything that is wrong.

    Args:
        files: search-space files and campaign files.
        overrides: `KEY=VALUE`, changed in every file.

    Returns:
        True if all files are right.
    """
    right = True
    for file in files:
        try:
            console.print(f"{file}: ok, {_in_words(file, overrides)}")
        except InputError as error:
            right = False
            errors.print(str(error))
    return right


def _in_words(file: Path, overrides: list[str]) -> str:
    """A line that says what a file holds.

    Raises:
        InputError: everything that is wrong with it, one line each.
    """
    if is_campaign(file):
        return campaign_in_words(load_campaign(file, overrides, default_folder(file.stem)))
    own, variants = load_variants(file, overrides)
    more = f", variants {' '.join(variants)}" if variants else ""
    again = f", then {own.study.confirm.in_words()}" if own.study.confirm else ""
    what = f"{own.trial.method.name} on {own.trial.data.name}, {counted(len(own.search), 'searched value')}"
    return f"{what}{again}{more}"
