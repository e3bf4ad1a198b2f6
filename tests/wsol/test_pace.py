"""How far long work is, on a terminal and elsewhere."""

from __future__ import annotations

import io
import sys

import pytest

from wsol import pace
from wsol.console import ERASE, say
from wsol.pace import Progress, paced


class Screen(io.StringIO):
    """A terminal that keeps what was written."""

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """In place of standard error. (No fixture: between that and the test pytest puts its own there.)"""
    shown = Screen()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr(pace, "SECONDS_BETWEEN_BARS", -1.0)
    monkeypatch.setenv("COLUMNS", "80")
    return shown


def test_a_terminal_has_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    assert list(paced("abcd", "decoding cub", 4)) == list("abcd")
    states = screen.getvalue().split(ERASE)
    assert states[-1] == "" and all(len(state) <= 80 and "\n" not in state for state in states)
    assert [state.count("━") for state in states[1:-1]] == [0, 6, 12, 18]
    assert "decoding cub: 2 of 4 images, 0s left" in states[3]


def test_a_bar_that_is_left_early_goes_away_too(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    with pytest.raises(KeyboardInterrupt), Progress("fetching", None, "MiB") as progress:
        progress.show(3)
        assert "fetching: 3 of ? MiB" in screen.getvalue()
        raise KeyboardInterrupt
    assert screen.getvalue().endswith(ERASE)


def test_a_line_takes_the_place_of_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    with Progress("decoding", 2, "images") as progress:
        progress.show(1)
        say("one is black")
    assert f"{ERASE}one is black\n" in screen.getvalue()


def test_elsewhere_there_are_lines_or_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "SECONDS_BETWEEN_LINES", -1.0)
    assert list(paced("ab", "decoding", 2)) == ["a", "b"]
    assert list(paced("ab", "scoring", 2, log=None)) == ["a", "b"]
    assert capsys.readouterr().err == "decoding: 0 of 2 images\ndecoding: 1 of 2 images, 0s left\n"
    monkeypatch.setattr(pace, "SECONDS_BETWEEN_LINES", 60.0)
    list(paced("ab", "decoding", 2))
    assert capsys.readouterr().err == ""
