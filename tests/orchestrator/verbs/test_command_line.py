"""The words of the command line: every help ends with examples, nothing that is given is ignored."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from orchestrator.verbs import asked
from tests.support.command_line import parsed, verbs
from tests.support.tiny import Launch


@pytest.mark.parametrize("verb", verbs())
def test_every_help_ends_with_examples_that_parse(verb: str, launch: Launch) -> None:
    code, out, _ = launch(*verb.split(), "--help")
    _, _, end = out.rstrip().rpartition("\n\n")
    title, *examples = [line.strip() for line in end.splitlines()]
    assert code == 0 and title in ("Example:", "Examples:") and examples
    for line in examples:
        words = shlex.split(line)
        assert words[:2] == ["python", "launch.py"] and " ".join(words[2:]).startswith(verb), line
        context = parsed(words[2:])
        if verb == "submit":
            parsed(context.params["words"])
        for word in words:
            assert not re.match(r"(search_spaces|clusters)/", word) or Path(word).is_file(), word


RUN = "give one run folder"
BASELINE = "use --baseline center_gaussian --metadata DIR"
MAPS = "use --maps DIR --experiment FILE"
IMPORT = "use --import LAYOUT CHECKPOINT"
SETTINGS = "post-hoc settings are chosen on train_fullsup"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", RUN),
        ("--split train", "--split train: use train_fullsup or test"),
        ("--baseline center_gaussian", BASELINE),
        ("--baseline uniform --metadata m", BASELINE),
        ("runs/a --baseline center_gaussian --metadata m", BASELINE),
        ("--baseline center_gaussian --metadata m --split test", BASELINE),
        ("--maps m", MAPS),
        ("--maps m --experiment f.yaml --save-maps o", MAPS),
        ("--maps m --experiment f.yaml --run r", MAPS),
        ("--import wsolevaluation c.pth", IMPORT),
        ("--import wsolevaluation --experiment f.yaml", IMPORT),
        ("--import wsolevaluation c.pth --experiment f.yaml --split test", IMPORT),
        ("runs/a --experiment f.yaml --split test", SETTINGS),
        ("runs/a post_hoc.x=[1] --test-again why", SETTINGS),
        ("runs/a --run runs/b", "use RUN [--split test] [--test-again REASON] [--save-maps DIR]"),
        ("runs/a --image-size 300", "use RUN [--split test] [--test-again REASON] [--save-maps DIR]"),
        ("runs/a --test-again why", "--test-again: is for the test split; add --split test"),
    ],
)
def test_evaluate_ignores_nothing_that_is_given(
    words: str, message: str, launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = launch("evaluate", *words.split())
    assert code == 2 and message in err and len(err.splitlines()) == 1 and not out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "called", "arguments"),
    [
        ("--baseline center_gaussian --metadata m --image-size 300", "evaluate_baseline", (Path("m"), 300)),
        (
            "data.x=s3://a//b --maps m --experiment f.yaml --split test",
            "evaluate_maps",
            (Path("m"), Path("f.yaml"), ["data.x=s3://a//b"], "test"),
        ),
        (
            "c.pth k=v --import l --experiment f.yaml --run r",
            "evaluate_import",
            ("l", Path("c.pth"), Path("f.yaml"), ["k=v"], Path("r")),
        ),
        ("runs/a post_hoc.x=[1]", "evaluate_settings", (Path("runs/a"), None, ["post_hoc.x=[1]"])),
        ("runs/a --experiment f.yaml", "evaluate_settings", (Path("runs/a"), Path("f.yaml"), [])),
        ("runs/a", "evaluate", (Path("runs/a"), "train_fullsup", None, None)),
        (
            "runs/a --split test --test-again why --save-maps o",
            "evaluate",
            (Path("runs/a"), "test", "why", Path("o")),
        ),
    ],
)
def test_evaluate_does_what_is_asked(
    words: str, called: str, arguments: tuple[object, ...], launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(asked, called, lambda *given: calls.append(given))
    assert launch("evaluate", *words.split())[0] == 0 and calls == [arguments]


def test_resume_takes_its_folder_first_or_by_name(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr("orchestrator.verbs.resume.resume", lambda *given: calls.append(given))
    long = f"resources.storage=s3://bucket/{'x' * 300}"
    assert launch("resume", "runs/a", "study.trials=5")[0] == 0
    assert launch("resume", "--run", "runs/a", long)[0] == 0
    assert launch("resume")[0] == 2
    assert calls == [(Path("runs/a"), ["study.trials=5"], None, None), (Path("runs/a"), [long], None, None)]


def test_an_override_may_be_longer_than_a_name(space_file: Path, launch: Launch) -> None:
    code, out, err = launch("validate", str(space_file), f"data={{name: folder, images: {'x' * 300}, metadata: m}}")
    assert code == 0 and "tiny.yaml: ok" in out, err
