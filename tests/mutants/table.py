"""The table of mistakes: `table.yaml`, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.support.paths import ROOT

FILE = Path(__file__).with_name("table.yaml")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One small plausible mistake.

    Attributes:
        file: where it is made, relative to the repository.
        text: what stands there, exactly once.
        replacement: what is put in its place.
        tests: files, folders or tests that are to notice, relative to the repository.
    """

    file: str
    text: str
    replacement: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        """The file and the mistake on one line."""
        was, now = (" ".join(words.split()) for words in (self.text, self.replacement))
        return f"{self.file}: {was} -> {now or '(nothing)'}"

    def problem(self, root: Path = ROOT) -> str | None:
        """Why this row cannot be tried any more, because the code has changed; None where it can."""
        path = root / self.file
        count = path.read_text(encoding="utf-8").count(self.text) if path.is_file() else 0
        missing = [test for test in self.tests if not (root / test.partition("::")[0]).exists()]
        if count != 1:
            return f"{self.file}: {self.text!r} stands there {count} times, and should once"
        if self.text == self.replacement or missing or not self.tests:
            return f"{self.file}: {f'there is no {missing[0]}' if missing else 'changes nothing, or no test is named'}"
        return None


def read_table() -> list[Mutant]:
    """All rows of the file."""
    rows = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return [Mutant(row["file"], row["text"], row["replacement"], tuple(row["tests"])) for row in rows]
