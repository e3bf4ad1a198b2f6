"""Numbers of a configuration: what a machine's numbers cannot hold is refused at the field, not where it is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from wsol.schema import Strict


def number_fields(model: type[Strict]) -> Iterator[Any]:
    """Model, name and kind (`int`, `float`) of its fields that take numbers, as parameters of a test."""
    place = f"{model.__module__.rpartition('.')[2]}.{model.__name__}"
    for name, field in model.model_fields.items():
        for kind in (int, float):
            if kind in _kinds(field.annotation):
                yield pytest.param(model, name, kind, id=f"{place}.{name}")


def _kinds(annotation: object) -> set[object]:
    return {annotation}.union(*(_kinds(part) for part in get_args(annotation)))


def beyond(kind: type) -> tuple[float, ...]:
    """Numbers of a kind that no tensor holds."""
    return (2**63, 10**30, -(10**400)) if kind is int else (1e39, -1e308, 1e-60, 10**400)


def refuses(model: type[Strict], name: str, value: float, others: Mapping[str, Any]) -> None:
    """Fails where a field takes a number, alone or in a list; `others` are the fields that the model needs besides."""
    for given in (value, [value]):
        with pytest.raises(ValidationError) as caught:
            model.model_validate({**others, name: given})
        places = [error["loc"][0] for error in caught.value.errors()]
        if name not in places:
            pytest.fail(f"{model.__module__}: {name} takes {given!r}")
