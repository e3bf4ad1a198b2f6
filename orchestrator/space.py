"""The search space: distributions over dotted paths of the training configuration, as one define-by-run function."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from wsol.config import Strict
from wsol.plugins import did_you_mean

if TYPE_CHECKING:
    import optuna

Scalar = bool | int | float | str | None


class Distribution(Strict):
    """How one value is drawn: from a range, or from a list of choices.

    Attributes:
        low: smallest value of a range.
        high: largest value of a range, included.
        log: draw the logarithm uniformly.
        step: draw multiples of this, from `low` on.
        choices: draw one of these instead of a range.
        when: dotted path -> value or list of values: searched only where the configuration has one of them there.
    """

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    step: int | float | None = Field(default=None, gt=0)
    choices: list[Scalar] | None = Field(default=None, min_length=1)
    when: dict[str, Scalar | list[Scalar]] = {}

    @model_validator(mode="after")
    def _range_or_choices(self) -> Distribution:
        if self.choices is not None:
            if (self.low, self.high, self.step, self.log) != (None, None, None, False):
                raise ValueError("give either choices or a range with low and high, not both")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give low and high, or choices")
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("a log range needs low > 0 and takes no step")
        return self

    def ends(self) -> list[Scalar]:
        """The values at which a range could leave what the configuration allows: both ends, or every choice."""
        return list(self.choices) if self.choices is not None else [self.low, self.high]

    def contains(self, value: Any) -> bool:
        """Whether the distribution can draw a value (steps aside)."""
        if self.choices is not None:
            return value in self.choices
        assert self.low is not None and self.high is not None
        return isinstance(value, (int, float)) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Parameter:
    """One searched value: its dotted path, how it is drawn, and whether the configuration holds an integer there."""

    path: str
    distribution: Distribution
    integer: bool

    def suggest(self, trial: optuna.Trial) -> Scalar:
        """Draw a value through Optuna."""
        d = self.distribution
        if d.choices is not None:
            choice: Scalar = trial.suggest_categorical(self.path, d.choices)
            return choice
        assert d.low is not None and d.high is not None
        if self.integer:
            return trial.suggest_int(self.path, int(d.low), int(d.high), step=int(d.step or 1), log=d.log)
        value = trial.suggest_float(self.path, float(d.low), float(d.high), step=d.step, log=d.log)
        return _without_noise(value, d.low, d.step)


@dataclass(frozen=True, slots=True)
class Space:
    """All searched parameters, in the order of the file."""

    parameters: tuple[Parameter, ...]

    def suggest(self, trial: optuna.Trial, base: dict[str, Any]) -> dict[str, Scalar]:
        """Draw every parameter whose condition holds, given the values drawn before it and the configuration `base`."""
        drawn: dict[str, Scalar] = {}
        for parameter in self.parameters:
            if all(_matches(drawn.get(path, get(base, path)), wanted) for path, wanted in parameter.distribution.when.items()):
                drawn[parameter.path] = parameter.suggest(trial)
        return drawn

    def point(self, base: dict[str, Any]) -> dict[str, Scalar]:
        """The searched values as they stand in the configuration `base`: the published point."""
        return {parameter.path: get(base, parameter.path) for parameter in self.parameters}


def get(values: Any, path: str) -> Any:
    """The value at a dotted path; list positions are numbers.

    Raises:
        KeyError: there is none; the message says where the path breaks off and what is there.
    """
    for key in path.split("."):
        values = values[_step(values, key, path)]
    return values


def replaced(values: Any, path: str, value: Any) -> Any:
    """A copy of nested dicts and lists with another value at a dotted path (see `get`)."""
    key, _, rest = path.partition(".")
    place = _step(values, key, path)
    copy = list(values) if isinstance(values, list) else dict(values)
    copy[place] = replaced(values[place], rest, value) if rest else value
    return copy


def _step(values: Any, key: str, path: str) -> Any:
    if isinstance(values, list):
        if key.isdigit() and int(key) < len(values):
            return int(key)
        raise KeyError(f"no item {key!r} in {path!r}: the list has {len(values)}, counted from 0")
    if not isinstance(values, dict):
        raise KeyError(f"nothing below {type(values).__name__} {values!r} in {path!r}")
    if key not in values:
        raise KeyError(f"no key {key!r} in {path!r}{did_you_mean(key, list(values))}; there are {', '.join(values)}")
    return key


def _matches(value: Any, wanted: Any) -> bool:
    return value in wanted if isinstance(wanted, list) else value == wanted


def _without_noise(value: float, low: float, step: float | None) -> float:
    """0.7 instead of 0.7000000000000001: as many decimals as the step and the lower end have."""
    if step is None:
        return value
    decimals = max(-int(Decimal(str(number)).as_tuple().exponent) for number in (step, low))
    return round(value, max(decimals, 0))
