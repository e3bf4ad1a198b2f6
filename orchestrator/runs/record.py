"""Records in JSON. Their entries are the fields of a dataclass, whose field `more` holds the entries of other
versions."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from wsol.schema import first_problem

Record = TypeVar("Record")


def parse_record(kind: type[Record], text: str) -> Record:
    """The record in the text of a file, whichever version wrote it.

    Args:
        kind: a dataclass with a field `more`.
        text: JSON.

    Raises:
        ValueError: the text is not JSON, or an entry is missing or has a wrong type or value.
    """
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("no mapping")
    own = entries_of(kind)
    more = {name: value for name, value in content.items() if name not in own}
    known = {name: value for name, value in content.items() if name in own}
    try:
        record: Record = _adapter(kind).validate_python({**known, "more": more})  # type: ignore[arg-type]
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None
    return record


@cache  # making one takes longer than reading a hundred records
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def entries_of(kind: type[Any]) -> list[str]:
    """The names of the entries that a record of this version has, in order."""
    return [entry.name for entry in dataclasses.fields(kind) if entry.name != "more"]
