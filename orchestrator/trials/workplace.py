"""Where a trial or a measurement works on its node: in the run folder if the node sees it, else in a scratch folder
that is copied to a store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from orchestrator.cluster.remote import folder_not_seen, working_directory
from orchestrator.runs import names
from orchestrator.runs.scratch import scratch
from orchestrator.runs.store import Mirror, is_of_worker
from orchestrator.trials.wire import Assignment
from wsol.checkpoint import MANIFEST


@dataclass(frozen=True, slots=True)
class Workplace:
    """The folder of a trial on this node, and its copy.

    Attributes:
        folder: the folder of its files, with what is known of it already.
        mirror: the copy that outlives the node; None where all nodes see the folder.
    """

    folder: Path
    mirror: Mirror | None

    def save(self, *, first: bool) -> None:
        """Copy the files of a trial's first worker, or only the last messages of another one, to the copy that outlives
        the node."""
        if self.mirror is not None and first:
            self.mirror.push_all()
        elif self.mirror is not None:
            self.mirror.push(lambda name: name == names.ERROR)


@contextmanager
def open_workplace(assignment: Assignment) -> Iterator[Workplace]:
    """Prepare the folder of a trial on this node.

    Args:
        assignment: the trial.

    Raises:
        InputError: this node does not see a folder that it should; the message names node and path.
    """
    folder, stores = assignment.folder, assignment.stores
    with working_directory(assignment.directory, required=not stores):
        if not stores:
            if not (folder.parent.parent / names.HEADER).exists():
                raise folder_not_seen(folder.parent.parent)
            yield Workplace(folder, None)
            return
        with scratch() as here:
            mirror = Mirror(stores[0], here)
            mirror.pull(is_of_worker)
            for failed in stores[1:]:  # what a trial that is tried again had reached
                if not (here / MANIFEST).exists():
                    Mirror(failed, here).pull(is_of_worker)
            _drop_results_of_another(here, assignment.config)
            yield Workplace(here, mirror)


def _drop_results_of_another(folder: Path, config: str) -> None:
    """Drop results that belong to another configuration; they can be there if the store's copy of the journal is older
    than they are."""
    trained = folder / names.TRIAL_CONFIG
    if trained.exists() and yaml.safe_load(trained.read_text()) != json.loads(config):
        for path in folder.iterdir():
            path.unlink()
