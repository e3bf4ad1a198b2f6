"""Decides which evaluation the arguments of `evaluate` ask for."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from orchestrator.preflight.place import named_place
from orchestrator.runs.result import STOCK
from orchestrator.verbs.evaluate import (
    evaluate,
    evaluate_baseline,
    evaluate_import,
    evaluate_maps,
    evaluate_settings,
    require_scored_split,
)
from wsol.errors import InputError

BASELINE = "center_gaussian"


@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments of the command line; see `python launch.py evaluate --help`."""

    words: tuple[str, ...] = ()
    split: str = "train_fullsup"
    test_again: str | None = None
    save_maps: Path | None = None
    maps: Path | None = None
    layout: str | None = None
    experiment: Path | None = None
    into: Path | None = None
    baseline: str | None = None
    metadata: Path | None = None
    image_size: int = 224


def evaluate_as_asked(asked: Asked) -> None:
    """Decide by what is given, and evaluate.

        --baseline                              the centre Gaussian on metadata alone
        --maps                                  maps from elsewhere
        --import                                a released checkpoint
        RUN with post-hoc settings or a file    the winner of a run under many settings
        RUN                                     the winner of a run

    Raises:
        InputError: an argument is missing, or one is given that has no meaning there; or what the evaluation raises.
    """
    require_scored_split(asked.split)
    if asked.baseline is not None:
        _baseline(asked)
    elif asked.maps is not None:
        _maps(asked)
    elif asked.layout is not None:
        _import(asked)
    elif not asked.words:
        raise InputError("give one run folder; or see --maps, --import and --baseline in `evaluate --help`")
    elif asked.experiment is not None or len(asked.words) > 1:
        _settings(asked)
    else:
        _run(asked)


def _baseline(asked: Asked) -> None:
    usage = f"use --baseline {BASELINE} --metadata DIR [--image-size N], without a run"
    _require_only(asked, {"baseline", "metadata", "image_size"}, usage)
    if asked.baseline != BASELINE or asked.metadata is None:
        raise InputError(usage)
    evaluate_baseline(asked.metadata, asked.image_size)


def _maps(asked: Asked) -> None:
    usage = "use --maps DIR --experiment FILE [KEY=VALUE]... [--split test]"
    _require_only(asked, {"maps", "experiment", "words", "split"}, usage)
    if asked.maps is None or asked.experiment is None:
        raise InputError(usage)
    evaluate_maps(asked.maps, asked.experiment, list(asked.words), asked.split)


def _import(asked: Asked) -> None:
    usage = "use --import LAYOUT CHECKPOINT, or --import imagenet, and --experiment FILE [KEY=VALUE]... [--run DIR]"
    _require_only(asked, {"layout", "words", "experiment", "into"}, usage)
    if asked.layout is None or asked.experiment is None:
        raise InputError(usage)
    words = list(asked.words)
    if asked.layout == STOCK:
        checkpoint = None
    elif words:
        checkpoint = Path(words.pop(0))
    else:
        raise InputError(usage)
    evaluate_import(asked.layout, checkpoint, asked.experiment, words, asked.into)


def _settings(asked: Asked) -> None:
    usage = "post-hoc settings are chosen on train_fullsup: RUN [--experiment FILE] [post_hoc.PATH=[...]]"
    _require_only(asked, {"words", "experiment"}, usage)
    run, *overrides = asked.words
    evaluate_settings(named_place(run), asked.experiment, overrides)


def _run(asked: Asked) -> None:
    usage = "use RUN [--split test] [--test-again REASON] [--save-maps DIR]"
    _require_only(asked, {"words", "split", "test_again", "save_maps"}, usage)
    evaluate(named_place(asked.words[0]), asked.split, asked.test_again, asked.save_maps)


def _require_only(asked: Asked, allowed: set[str], usage: str) -> None:
    """Refuse arguments that would be ignored."""
    if {one.name for one in fields(Asked) if getattr(asked, one.name) != one.default} - allowed:
        raise InputError(usage)
