"""Where everything that a verb says is printed."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from orchestrator.formats import printable


class PlainConsole(Console):
    """Prints names and reasons as they are, whoever wrote them: brackets are no markup, colons no emoji, and control
    codes are shown. Colours are given as styles."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        """What every text becomes before it is measured and printed."""
        return super().render_str(printable(text), **settings)


console = PlainConsole(soft_wrap=True)
errors = PlainConsole(soft_wrap=True, stderr=True)
