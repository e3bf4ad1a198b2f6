"""Decides which epochs of a trial count, and which one gives the trial its value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna

    from wsol.checkpoint import Record


def keep_epoch(trial: optuna.Trial, record: Record) -> bool:
    """Write the objective of an epoch into the journal; returns False if it is there already, or is not a number."""
    value, epoch = record["objective_now"], int(record["epoch"])
    if not is_number(value) or epoch in trial.storage.get_trial(trial._trial_id).intermediate_values:
        return False
    trial.storage.set_trial_intermediate_value(trial._trial_id, epoch, value)  # trial.report refuses several objectives
    return True


def finite_epochs(history: Sequence[Record], objectives: Sequence[str]) -> list[Record]:
    """The epochs whose objectives are all numbers."""
    return [record for record in history if all(is_number(record.get(name)) for name in ("objective_now", *objectives))]


def is_number(value: Any) -> bool:
    """Whether a metric can be compared; a plugin may return anything."""
    return isinstance(value, int | float) and math.isfinite(value)
