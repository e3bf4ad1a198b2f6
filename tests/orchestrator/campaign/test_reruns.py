"""The best trials of a search, trained again with several seeds."""

from __future__ import annotations

from typing import Any

from orchestrator.campaign.reruns import winning_trial


def test_the_winner_has_the_highest_mean_and_all_seeds() -> None:
    class Trained:
        def __init__(self, trial: int, value: float | None) -> None:
            self.trial, self.value = trial, value

        def best(self) -> Any:
            return None if self.value is None else type("Best", (), {"values": [self.value]})

    def chosen(*values: tuple[int, float | None]) -> int | None:
        pairs: Any = [(one, one) for one in (Trained(*value) for value in values)]
        return winning_trial(pairs)

    assert chosen((3, 60.0), (3, 50.0), (7, 54.0), (7, 57.0)) == 7
    assert chosen((3, 60.0), (3, None), (7, 54.0), (7, 50.0)) == 7
    assert chosen((3, None), (3, None)) is None and chosen() is None
