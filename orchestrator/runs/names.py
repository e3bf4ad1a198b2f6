"""The names of all files of a run folder, relative to it. Nobody else in `orchestrator/` spells one.

The checkpoints in a trial's folder are `wsol.checkpoint`'s.
"""

from __future__ import annotations

EXPERIMENT = "experiment.yaml"
"""What was asked for, complete."""

HEADER = "study.json"
"""With what it began and how far it is; it makes the folder a run."""

JOURNAL = "study.journal"
"""The trials, as Optuna writes them."""

LOCK = "study.lock"
"""Held by the process that works on the run."""

OWNER = "study.owner"
"""Which process that is, in words."""

PACKAGES = "packages.txt"
"""What was installed."""

CHANGES = "code.diff"
"""What was changed since the commit."""

TRIALS = "trials"
"""A folder for each trial."""

TRIALS_TABLE = "trials.csv"
"""The trials as a table."""

TESTS = "test.json"
"""Every evaluation on the test split that ever was."""

TEST_LOCK = "test.lock"
"""Held by the process that looks at the test split."""

TEST_WRITE_LOCK = "test.json.lock"
"""Held for the moment of a change of `TESTS`."""

MAPS_ORIGIN = ".wsol.json"
"""In a folder of saved maps: of which run, split and checkpoint they are."""

REPORT = "report.html"
"""All of it to look at."""

WINNER = "best"
"""The exported winner and what was measured of it."""

WINNER_CONFIG = f"{WINNER}/config.yaml"
"""What was trained, with the post-hoc settings that were chosen."""

WINNER_WEIGHTS = f"{WINNER}/weights.pt"
"""State of the method."""

WINNER_RESULT = f"{WINNER}/result.json"
"""What was measured."""

WINNER_EXPERIMENT = "best.yaml"
"""The winner as a file for `train`."""

POST_HOC = f"{WINNER}/post_hoc.json"
"""Metrics of the winner under every post-hoc setting that was asked for."""

EXAMPLES = f"{WINNER}/examples.json"
"""Which pictures there are; they lie in a folder of that name."""

IMAGES_TABLE = f"{WINNER}/images.csv"
"""What the winner reaches on every image."""

TRIAL_CONFIG = "config.yaml"
"""In a trial's folder: what it trains."""

ERROR = "error.txt"
"""In a trial's folder: the traceback of a trial that died."""

HUNG = "hung.txt"
"""In a trial's folder: where its process stood when it was ended because it hung."""

HUNG_OF_ANY = "hung*.txt"
"""The same of all processes that train a trial together."""

CAMPAIGN = "campaign.json"
"""Makes a folder a campaign, whose run folders lie in it."""

LEADERBOARD = "leaderboard.html"
"""In a campaign's folder: all its runs side by side."""

LEADERBOARD_TEXT = "leaderboard.md"
"""The same in Markdown."""

SEEDS = "seeds"
"""In the run folder of a campaign's cell: its best trials, trained again with several seeds, a run folder each."""

HEADERS_OF_SEEDS = f"{SEEDS}/*/{HEADER}"
"""The headers of those."""


def hung_file(rank: int) -> str:
    """`HUNG` of one of the processes that train a trial together."""
    return HUNG if rank == 0 else f"hung-{rank}.txt"
