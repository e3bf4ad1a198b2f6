"""How a mistake in a file is reported: place, dotted path, what is wrong, what is allowed; in one line, whatever its
keys and values contain."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from orchestrator.experiment.yaml_nodes import KeyPath, dotted
from orchestrator.experiment.yaml_reader import Document
from orchestrator.formats import one_line
from wsol import plugins


def at(document: Document, path: KeyPath, text: str) -> str:
    """`file:line: dotted.path: text`."""
    return f"{document.place(path)}: {dotted(path)}: {one_line(text)}"


def describe(error: ErrorDetails, allowed_keys: Callable[[], list[str]]) -> str:
    """What is wrong and what is allowed, in words, for one of pydantic's errors. The allowed keys are only looked up if
    a key is unknown."""
    if error["type"] == "missing":
        return "this key is missing"
    if error["type"] == "extra_forbidden":
        allowed = allowed_keys()
        return f"unknown key{plugins.did_you_mean(str(error['loc'][-1]), allowed)}; allowed are {', '.join(allowed)}"
    text: str = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if error["type"] in ("plugin", "value_error"):
        return text
    if error["type"] in ("model_type", "dict_type", "model_attributes_type"):
        text = "a mapping of keys to values"
    got = error.get("input")
    return f"should be {text}, got {got!r}" if not isinstance(got, (dict, list)) else f"should be {text}"


def reason(error: ValueError) -> str:
    """The first reason for which a configuration was refused, from pydantic's errors or any other error."""
    if isinstance(error, ValidationError):
        return describe(error.errors(include_url=False)[0], list)
    return str(error)
