"""`status`: the progress of a run or a campaign, from any terminal."""

from __future__ import annotations

from pathlib import Path

from orchestrator.campaign.status import campaign_lines, read_campaign_status
from orchestrator.console import console, print_whole
from orchestrator.report.status import read_status, status_lines
from orchestrator.runs.folder import is_campaign_folder


def print_status(folder: Path) -> None:
    """Print what runs, when it will end, what waits and why, and what failed.

    Args:
        folder: the folder of a run or of a campaign.

    Raises:
        InputError: the folder holds neither.
    """
    is_campaign = is_campaign_folder(folder)
    lines = campaign_lines(folder, read_campaign_status(folder)) if is_campaign else status_lines(read_status(folder))
    for line in lines:
        print_whole(console, line)
