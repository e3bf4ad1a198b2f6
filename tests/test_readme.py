"""Every command that the documents show: it parses, its files and its settings exist; those that cost little are
run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from orchestrator import cli
from orchestrator.experiment.load import load_experiment
from tests.support.command_line import parsed, verbs
from tests.support.documents import DOCUMENTS
from tests.support.paths import ROOT
from tests.support.tiny import Launch
from wsol import plugins
from wsol.plugins import FOLDERS

PAGE = ROOT / "docs" / "commands.md"
PLACEHOLDERS = {
    "FILE": "search_spaces/synthetic.yaml",
    "CAMPAIGN": "search_spaces/campaigns/demo.yaml",
    "mine.yaml": "search_spaces/synthetic.yaml",
    "small.yaml": "search_spaces/synthetic.yaml",
    "RUN": "runs/a",
    "DIR": "a",
    "N": "3",
    "T": "0.3",
    "REASON": "asked",
    "CHECKPOINT": "a.pth",
    "KEY=VALUE": "seed=1",
    "LAYOUT": "wsolevaluation",
    "<name>": "cub",
    "NAME": "cub",
    "ADDRESS": "auto",
    "...": "",
}
CHEAP = {"list", "validate", "describe"}


def commands(text: str) -> list[str]:
    """What follows `launch.py` in indented blocks and in backquotes; what is in brackets may be left out, so there are
    two commands then."""
    shown = re.findall(
        r"^ {4,}(?:python|torchrun .*) launch\.py (.*)$|`(?:python )?launch\.py ([^`\n]+)`", text, re.MULTILINE
    )
    found: set[str] = set()
    for command in (re.sub(r"(\s#|; ).*", "", block or inline) for block, inline in shown):
        found |= {
            re.sub(r"\[[^\]]+\](\.\.\.)?(?=\s|$)", "", command),
            re.sub(r"\[([^\]]+)\](?=\s|\.|$)", r"\1", command),
        }
    return sorted(
        {" ".join(command.split()) for command in found if " " in command.strip()}
    )  # a verb alone is only mentioned


def words_of(command: str) -> list[str]:
    """Words with every placeholder filled in."""
    words = (word.removesuffix("...") or "..." for word in shlex.split(command))
    return [word for word in (PLACEHOLDERS.get(word, word) for word in words) if word]


EVERY = sorted({command for document in DOCUMENTS for command in commands(document.read_text())})


def is_cheap(words: list[str]) -> bool:
    """Whether a command takes seconds; that of a campaign measures a step of every cell."""
    return words[0] in CHEAP or (words[0] == "search" and "--dry-run" in words)


CHEAP_ONES = sorted({tuple(words_of(command)) for command in EVERY if is_cheap(words_of(command))})


def test_commands_are_found() -> None:
    assert len(EVERY) > 30
    assert commands("    python launch.py train FILE [KEY=VALUE]... [--run DIR]    # only") == [
        "train FILE",
        "train FILE KEY=VALUE... --run DIR",
    ]
    verbs = {words_of(command)[0] for command in EVERY}
    assert verbs == set(typer.main.get_command(cli.app).commands), "every verb is shown, and no other"  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", EVERY)
def test_command_parses(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    words = words_of(command)
    context = parsed(words)
    if words[0] == "submit":
        parsed(context.params["words"])
    for word in words:
        path = word.partition("=")[2] or word
        if path.startswith(("search_spaces/", "clusters/", "wsol/", "docs/")):
            assert Path(path).exists(), path
    if words[0] in ("search", "train") and (file := Path(words[1])).suffix == ".yaml":
        load_experiment(file, list(context.params["overrides"] or []))


def test_a_wrong_command_does_not_parse() -> None:
    with pytest.raises(Exception, match="No such option"):
        parsed(["train", "a.yaml", "--dry-run"])
    with pytest.raises(Exception, match="No such command"):
        parsed(["data", "fetch", "cub"])


@pytest.mark.parametrize("words", CHEAP_ONES, ids=" ".join)
def test_cheap_command_runs(words: tuple[str, ...], launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code, out, err = launch(*words)
    assert code == 0 and out, err


@pytest.mark.parametrize("verb", sorted(typer.main.get_command(cli.app).commands))  # type: ignore[attr-defined]
def test_every_verb_explains_itself(verb: str, launch: Launch) -> None:
    code, out, _ = launch(verb, "--help")
    assert code == 0 and re.match(rf"Usage: .* {verb} \[OPTIONS\]", out)


def test_every_verb_has_a_section_and_a_line_in_the_table() -> None:
    text = PAGE.read_text()
    _, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    bodies = dict(section.split("\n", 1) for section in sections)
    assert list(bodies) == ["What all verbs share", *verbs()]
    assert re.findall(r"^\| `([^`]+)` \| .* \| \[([^]]+)\]\(#([a-z-]+)\) \|$", text, re.MULTILINE) == [
        (verb, verb, verb.replace(" ", "-")) for verb in verbs()
    ]
    for verb in verbs():
        assert re.search(rf"^    python launch\.py {verb} ", bodies[verb], re.MULTILINE), f"{verb}: no example"
        assert "exit code" in bodies[verb].lower() or "error:" in bodies[verb].lower(), f"{verb}: what goes wrong?"


def test_every_kind_is_explained() -> None:
    body = PAGE.read_text().partition("\n## list\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", body, re.MULTILINE) == list(FOLDERS.values())


@pytest.mark.parametrize("kind", FOLDERS.values())
def test_every_kind_is_listed_and_described(kind: str, launch: Launch) -> None:
    code, out, _ = launch("list", kind)
    assert code == 0
    assert all(len(line) <= 80 for line in out.splitlines())
    listed = [line.split()[0] for line in out.splitlines() if not line.startswith(" ")]
    assert sorted(listed) == plugins.names(next(name for name, folder in FOLDERS.items() if folder == kind))
    for name in listed:
        code, text, _ = launch("describe", kind, name)
        assert code == 0 and text.startswith(f"# `{name}`: ")


def test_what_cannot_be_described(launch: Launch) -> None:
    code, _, err = launch("describe", "methods", "tapp")
    assert code == 2 and "did you mean 'tap'?" in " ".join(err.split())
    code, _, err = launch("describe", "method", "tap")
    assert code == 2 and "did you mean 'methods'?" in " ".join(err.split())
