"""How long a study was worked on."""

from __future__ import annotations

import time

import optuna

BETWEEN_NOTES = 60.0
"""Seconds after which the time is written down again."""


class StudyClock:
    """The seconds that a study was open, over all of its sessions; its journal keeps them.

    Args:
        study: just opened.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study, self._opened = study, time.monotonic()
        self._before = self._kept = float(study.user_attrs.get("seconds", 0.0))

    def seconds(self) -> float:
        """All of them until now."""
        return self._before + time.monotonic() - self._opened

    def keep(self) -> None:
        """Write them into the journal when a minute has passed."""
        if self.seconds() - self._kept > BETWEEN_NOTES:
            self._kept = self.seconds()
            self._study.set_user_attr("seconds", round(self._kept, 1))
