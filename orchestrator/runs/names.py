"""The names of all files of a run folder, relative to it. No other file in `orchestrator/` spells one of them.

The checkpoints in a trial's folder are `wsol.checkpoint`'s.
"""

from __future__ import annotations

EXPERIMENT = "experiment.yaml"
"""The complete experiment, after overrides."""

HEADER = "study.json"
"""The header: how the run began, and whether it has ended. This file makes the folder a run."""

JOURNAL = "study.journal"
"""The trials, as Optuna writes them."""

IMAGE_NUMBERS = "study.images"
"""How much each image added to the objective in every epoch, where the scheduler compares single images."""

LOCK = "study.lock"
"""The lock of the process that works on the run."""

OWNER = "study.owner"
"""Says in words which process holds that lock."""

PACKAGES = "packages.txt"
"""The installed packages."""

CHANGES = "code.diff"
"""The changes since the commit."""

TRIALS = "trials"
"""A folder for each trial."""

TRIALS_TABLE = "trials.csv"
"""The trials as a table."""

TESTS = "test.json"
"""Every evaluation on the test split that ever was."""

TEST_LOCK = "test.lock"
"""The lock of the process that evaluates the test split."""

TEST_WRITE_LOCK = "test.json.lock"
"""The lock that is held while `TESTS` is changed."""

MAPS_ORIGIN = ".wsol.json"
"""In a folder of saved maps: the run, split and checkpoint that they are from."""

REPORT = "report.html"
"""The page that shows all of it."""

WINNER = "best"
"""The folder of the exported winner and its measurements."""

WINNER_CONFIG = f"{WINNER}/config.yaml"
"""The configuration of the winner, with the chosen post-hoc settings."""

WINNER_WEIGHTS = f"{WINNER}/weights.pt"
"""The state dict of the method."""

WINNER_RESULT = f"{WINNER}/result.json"
"""The measurements of the winner."""

WINNER_EXPERIMENT = "best.yaml"
"""The winner as a file for `train`."""

POST_HOC = f"{WINNER}/post_hoc.json"
"""The winner's metrics under every post-hoc setting that was tried."""

EXAMPLES = f"{WINNER}/examples.json"
"""The list of example pictures; the pictures are in a folder of that name."""

IMAGES_TABLE = f"{WINNER}/images.csv"
"""The winner's scores on every image."""

TRIAL_CONFIG = "config.yaml"
"""In a trial's folder: what it trains."""

ERROR = "error.txt"
"""In a trial's folder: the traceback of a trial that died."""

HUNG = "hung.txt"
"""In a trial's folder: the stacks of its process when it was ended because it hung."""

HUNG_OF_ANY = "hung*.txt"
"""The same for each of the processes that train a trial together."""

CAMPAIGN = "campaign.json"
"""The file that makes a folder a campaign, which holds the run folders of its cells."""

LEADERBOARD = "leaderboard.html"
"""In a campaign's folder: the page with all its runs side by side."""

LEADERBOARD_TEXT = "leaderboard.md"
"""The same page in Markdown."""

SEEDS = "seeds"
"""In the run folder of a search: the folder of its best trials, trained again with several seeds, each in a run
folder."""

HEADERS_OF_SEEDS = f"{SEEDS}/*/{HEADER}"
"""The headers of those."""


def hung_file(rank: int) -> str:
    """`HUNG` of one of the processes that train a trial together."""
    return HUNG if rank == 0 else f"hung-{rank}.txt"
