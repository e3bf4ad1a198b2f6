"""Reads a search-space file, applies overrides and checks it. Every mistake is reported with file, line and path."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.console import console
from orchestrator.experiment.branches import never_drawn
from orchestrator.experiment.checks import later_problems, problems
from orchestrator.experiment.foreign import missing_for
from orchestrator.experiment.messages import at, describe
from orchestrator.experiment.model import Experiment, Point
from orchestrator.experiment.overrides import apply_overrides, plugin_kind
from orchestrator.experiment.post_hoc import chosen_twice
from orchestrator.experiment.space import Distribution
from orchestrator.experiment.variants import chosen_variants, variant_choices, variant_names, with_variants
from orchestrator.experiment.yaml_nodes import KeyPath
from orchestrator.experiment.yaml_reader import Document, parse_yaml, read_yaml
from wsol import plugins
from wsol.errors import InputError


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checked experiment.

    Attributes:
        experiment: the experiment of the file, after overrides.
        source: the file.
        name: the name of the file, with those of the chosen variants.
        notes: remarks for the user, one line each.
    """

    experiment: Experiment
    source: str
    name: str
    notes: list[str] = field(default_factory=list)


def load_experiment(path: Path, overrides: list[str] | None = None, *, ignores_search: bool = False) -> Loaded:
    """Read a file, apply overrides, and check the result.

    Args:
        path: a YAML file.
        overrides: `variant=NAME`, one of the file's variants, or several with commas between them, and `KEY=VALUE`; a
            key that does not begin with a section (`trial`, `search`, `points`, `post_hoc`, `study`, `resources`) is
            meant in `trial`; a key that is a section, as in `points=[]`, replaces it as a whole. An override of a
            searched value fixes it: it is no longer searched. A different plugin, as in `method=cam`, starts from its
            own defaults.
        ignores_search: nothing will be searched, so searched settings of a plugin that was replaced are left out
            instead of refused.

    Raises:
        InputError: everything that is wrong, one line each.
    """
    chosen, others = chosen_variants(overrides or [])
    document = with_variants(file := read_yaml(path), chosen)
    notes = apply_overrides(document, others, ignores_search=ignores_search)
    experiment = _check_file(document)
    if not ignores_search:
        notes += [f"search.{path} is never drawn: its condition does not hold" for path in never_drawn(experiment)]
        notes += [
            f"search.{path} is chosen by post_hoc too: what is drawn trains and is one of the values that are scored"
            for path in chosen_twice(experiment.search, experiment.post_hoc)
        ]
    in_order = [name for name in variant_names(file) if name in chosen]
    return Loaded(experiment, str(path), "-".join([path.stem, *in_order]), notes)


def load_variants(path: Path, overrides: list[str] | None = None) -> tuple[Experiment, dict[str, Experiment]]:
    """Read and check a file as it is, with each of its variants, and with two of them, as in `vgg16,released`, if one
    has changes that apply together with the other. Returns the experiments by name of the variant. Overrides are those
    of `load_experiment`, without `variant`.

    Raises:
        InputError: everything that is wrong, one line each.
    """
    document = read_yaml(path)
    found: dict[str, Experiment] = {}
    wrong: list[str] = []
    for chosen in ([], *variant_choices(document)):
        try:
            own = with_variants(document, chosen)
            if overrides:
                own = deepcopy(own)  # variants share what they do not change
                apply_overrides(own, overrides, ignores_search=False)
            found[",".join(chosen)] = _check_file(own)
        except InputError as error:
            wrong += str(error).splitlines()
    if wrong:
        raise InputError("\n".join(dict.fromkeys(wrong)))
    return found.pop(""), found


def parse_experiment(text: str, source: str) -> Experiment:
    """Check a text, such as the copy of the experiment in a run folder; `source` is its name in messages.

    Raises:
        InputError: everything that is wrong, one line each.
    """
    return _check(parse_yaml(text, source))


def _check_file(document: Document) -> Experiment:
    """Check a file that a user wrote; a recorded run is checked less strictly, see `later_problems`."""
    experiment = _check(document)
    if found := later_problems(document, experiment):
        raise InputError("\n".join(found))
    return experiment


def _check(document: Document) -> Experiment:
    try:
        experiment = Experiment.model_validate(document.values)
    except ValidationError as error:
        wrong = [_explain(document, e) for e in error.errors(include_url=False)]
        if any(e["type"] == "plugin" for e in error.errors(include_url=False)):
            wrong += filter(None, [missing_for(document.file)])
        raise InputError("\n".join(wrong)) from None
    if found := problems(document, experiment):
        raise InputError("\n".join(found))
    return experiment


def _explain(document: Document, error: ErrorDetails) -> str:
    path: KeyPath = tuple(error["loc"])
    return at(document, path, describe(error, lambda: _allowed_keys(document.values, path[:-1])))


def _allowed_keys(values: Any, path: KeyPath) -> list[str]:
    """The keys of the model at a path, found by walking down the annotations; plugins are known by their name."""
    model: type[BaseModel] = Experiment
    if path[:1] == ("points",):
        return list(Point.model_fields)
    for key in path:
        values = values[key]
        kind = plugin_kind(str(key))
        if kind and isinstance(values, dict):
            model = plugins.load(kind, values["name"]).Config
        elif section := _section(model, key):
            model = section
        elif model is Experiment or not isinstance(values, (dict, list)):
            model = Distribution
    return list(model.model_fields)


def _section(model: type[BaseModel], key: str | int) -> type[BaseModel] | None:
    """The model of the section under a key, which may be left out; None if there is none."""
    annotation = model.model_fields[key].annotation if isinstance(key, str) and key in model.model_fields else None
    kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
    return next((kind for kind in kinds if issubclass(kind, BaseModel)), None)


def load_and_print_notes(path: Path, overrides: list[str], *, ignores_search: bool = False) -> Loaded:
    """Call `load_experiment` and print its notes."""
    loaded = load_experiment(path, overrides, ignores_search=ignores_search)
    for note in loaded.notes:
        console.print(f"note: {note}")
    return loaded
