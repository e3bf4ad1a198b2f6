"""The search space: distributions over dotted paths of the training configuration, drawn by one define-by-run
function."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from orchestrator.experiment.paths import Values, value_at_path
from orchestrator.experiment.scalars import Scalar
from wsol.errors import InputError
from wsol.schema import Strict

if TYPE_CHECKING:
    import optuna


Number = int | float


LARGEST_GRID = 100_000


class Distribution(Strict):
    """How one value is drawn: from a range, from a list of choices, or not at all.

    Attributes:
        low: smallest value of a range: a number, or the dotted path of another value that is the lower bound.
        high: largest value of a range, included: a number, or the dotted path of another value that is the upper bound.
        log: draw the logarithm uniformly.
        step: draw multiples of this, from `low` on.
        choices: draw one of these instead of a range.
        fixed: always use this value.
        when: dotted path -> value or list of values: searched only where the configuration has one of them there.
    """

    low: int | float | str | None = None
    high: int | float | str | None = None
    log: bool = False
    step: int | float | None = Field(default=None, gt=0)
    choices: list[Scalar] | None = Field(default=None, min_length=1)
    fixed: Scalar = None
    when: dict[str, Scalar | Annotated[list[Scalar], Field(min_length=1)]] = {}

    @model_validator(mode="after")
    def _one_kind(self) -> Distribution:
        if self.options is not None:
            if (self.low, self.high, self.step, self.log) != (None, None, None, False) or None not in (
                self.choices,
                self.fixed,
            ):
                raise ValueError("give a range with low and high, or choices, or fixed, not several of them")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give low and high, or choices, or fixed")
        for name, end in (("low", self.low), ("high", self.high)):
            if isinstance(end, str) and "." not in end:
                raise ValueError(f"{name} should be a number or the dotted path of another value, got {end!r}")
        if not self.bounds and self.low >= self.high:  # type: ignore[operator]
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        if self.log and (self.step is not None or (not isinstance(self.low, str) and self.low <= 0)):
            raise ValueError("a log range needs low > 0 and takes no step")
        return self

    @property
    def options(self) -> list[Scalar] | None:
        """The list of values that can be drawn; None for a range."""
        return self.choices if self.fixed is None else [self.fixed]

    @property
    def bounds(self) -> dict[str, str]:
        """`low` and `high` where they are paths of other values."""
        return {name: end for name, end in (("low", self.low), ("high", self.high)) if isinstance(end, str)}

    def ends(self) -> list[Scalar]:
        """The values that must be checked against what the configuration allows: the ends of a range that are numbers,
        or every choice."""
        return (
            list(self.options)
            if self.options is not None
            else [end for end in (self.low, self.high) if not isinstance(end, str)]
        )

    def within(self, values: dict[str, Scalar]) -> Distribution:
        """The same distribution with numbers for `low` and `high`, taken from `values` by path."""
        return (
            self.model_copy(update={name: values[path] for name, path in self.bounds.items()}) if self.bounds else self
        )

    def contains(self, value: Any) -> bool:
        """Whether a distribution whose bounds are numbers can draw a value; steps are ignored."""
        if self.options is not None:
            return value in self.options
        assert isinstance(self.low, Number) and isinstance(self.high, Number)
        return isinstance(value, Number) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Parameter:
    """One searched value: its dotted path, how it is drawn, and whether the configuration holds an integer there."""

    path: str
    distribution: Distribution
    integer: bool

    def suggest(self, trial: optuna.Trial, known: dict[str, Scalar] | None = None) -> Scalar:
        """Draw a value through Optuna; `known` holds, by path, the values that bounds name."""
        d = self.distribution.within(known or {})
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="Fixed parameter"
            )  # of a point between two steps; it is used as it is
            if d.options is not None:
                choice: Scalar = trial.suggest_categorical(self.path, d.options)
                return choice
            low, high = self._range(d)
            if self.integer:
                return trial.suggest_int(self.path, int(low), int(high), step=int(d.step or 1), log=d.log)
            value = trial.suggest_float(self.path, float(low), float(high), step=d.step, log=d.log)
        return without_noise(value, low, d.step)

    def grid(self, known: dict[str, Scalar]) -> Iterator[Scalar]:
        """Every value that can be drawn, one after the other; `known` as in `suggest`.

        Raises:
            InputError: the range has no steps.
        """
        d = self.distribution.within(known)
        if d.options is not None:
            return iter(d.options)
        step = d.step or (1 if self.integer and not d.log else None)
        if step is None:
            raise InputError(f"search.{self.path}: a grid needs choices or a step, this is a continuous range")
        low, high = self._range(d)
        return (without_noise(low + index * step, low, step) for index in range(round((high - low) / step) + 1))

    def _range(self, d: Distribution) -> tuple[Number, Number]:
        """Both ends of the range: for integers, whole numbers inside it; with steps, an upper end that a step
        reaches."""
        assert isinstance(d.low, Number) and isinstance(d.high, Number)
        low, high = (math.ceil(d.low), math.floor(d.high)) if self.integer else (d.low, d.high)
        return low, (
            without_noise(low + math.floor((high - low) / d.step + 1e-9) * d.step, low, d.step) if d.step else high
        )


@dataclass(frozen=True, slots=True)
class Space:
    """All searched parameters, in the order of the file."""

    parameters: tuple[Parameter, ...]

    def suggest(self, trial: optuna.Trial, base: Values) -> dict[str, Scalar]:
        """Draw every parameter whose condition holds, given the values drawn before it and the configuration `base`."""
        drawn: dict[str, Scalar] = {}
        for parameter in self.parameters:
            if self.is_drawn(parameter, drawn, base):
                drawn[parameter.path] = parameter.suggest(trial, _known(parameter.distribution, drawn, base))
        return drawn

    def point(self, base: Values) -> dict[str, Scalar]:
        """The searched values in the configuration `base`, if their conditions hold there."""
        point: dict[str, Scalar] = {}
        for parameter in self.parameters:
            if self.is_drawn(parameter, point, base):
                point[parameter.path] = value_at_path(base, parameter.path)
        return point

    def is_drawn(self, parameter: Parameter, drawn: dict[str, Scalar], base: Values) -> bool:
        """Whether the condition of a parameter holds, given what was drawn before it and the configuration around it. A
        searched value that was not drawn fulfils no condition: nobody chose the value that stands there."""
        searched = {other.path for other in self.parameters}
        return all(
            (path in drawn or path not in searched) and _matches(known_value(path, drawn, base), wanted)
            for path, wanted in parameter.distribution.when.items()
        )

    def grid(self, base: Values) -> Iterator[dict[str, Scalar]]:
        """Every combination of values, with conditions and bounds; the last parameter changes fastest.

        Raises:
            InputError: a range has no steps, or there are more than `LARGEST_GRID` combinations.
        """
        points: list[dict[str, Scalar]] = [{}]
        for parameter in self.parameters:
            points = list(itertools.islice(self._extended(points, parameter, base), LARGEST_GRID + 1))
            if len(points) > LARGEST_GRID:
                raise InputError(
                    f"study.sampler: a grid of more than {LARGEST_GRID:,} points; use fewer or wider steps, or another"
                    " sampler"
                )
        return iter(points)

    def _extended(
        self, points: list[dict[str, Scalar]], parameter: Parameter, base: Values
    ) -> Iterator[dict[str, Scalar]]:
        for point in points:
            if self.is_drawn(parameter, point, base):
                known = _known(parameter.distribution, point, base)
                yield from ({**point, parameter.path: value} for value in parameter.grid(known))
            else:
                yield point


def known_value(path: str, drawn: dict[str, Scalar], base: Values) -> Any:
    """The drawn value at a path, else the value in the configuration; None if neither exists."""
    try:
        return drawn[path] if path in drawn else value_at_path(base, path)
    except KeyError:
        return None


def _known(distribution: Distribution, drawn: dict[str, Scalar], base: Values) -> dict[str, Scalar]:
    """The values that the bounds of a distribution name, by path."""
    return {path: known_value(path, drawn, base) for path in distribution.bounds.values()}


def _matches(value: Any, wanted: Any) -> bool:
    return value in wanted if isinstance(wanted, list) else value == wanted


def without_noise(value: Number, low: Number, step: Number | None) -> Number:
    """0.7 instead of 0.7000000000000001: round to as many decimals as the step and the lower end have. A value between
    two steps, as a point may have, is kept."""
    if step is None or isinstance(value, int):
        return value
    decimals = max(-int(Decimal(str(number)).as_tuple().exponent) for number in (step, low))
    rounded = round(value, max(decimals, 0))
    return rounded if math.isclose(rounded, value, rel_tol=1e-9, abs_tol=1e-12) else value
