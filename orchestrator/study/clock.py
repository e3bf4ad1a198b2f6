"""Measures how long a study was worked on."""

from __future__ import annotations

import time

import optuna

BETWEEN_NOTES = 60.0
"""Seconds between two records of the time."""


class StudyClock:
    """The seconds that a study was open, over all sessions; kept in its journal.

    Args:
        study: the study, which was just opened.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study, self._opened = study, time.monotonic()
        self._before = self._kept = float(study.user_attrs.get("seconds", 0.0))

    def seconds(self) -> float:
        """The seconds until now, over all sessions."""
        return self._before + time.monotonic() - self._opened

    def keep(self) -> None:
        """Write the seconds into the journal if a minute has passed since the last time."""
        if self.seconds() - self._kept > BETWEEN_NOTES:
            self._kept = self.seconds()
            self._study.set_user_attr("seconds", round(self._kept, 1))
