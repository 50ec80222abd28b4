"""Constraints on outcomes, such as `majority_accuracy: ">= 0.9"`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator

_BOUND = re.compile(r"\s*(>=|<=)\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*")


@dataclass(frozen=True)
class Constraint:
    """A bound on a metric's mean over the replicates, on the objective's split."""

    metric: str
    at_least: bool
    bound: float

    @property
    def text(self) -> str:
        return f"{self.metric} {'>=' if self.at_least else '<='} {self.bound:g}"

    def excess(self, value: float) -> float:
        """How far a value is beyond the bound, in the metric's unit; satisfied at 0 and below."""
        if not math.isfinite(value):
            return UNKNOWN
        return self.bound - value if self.at_least else value - self.bound


UNKNOWN = 1e9  # the excess of a value that is not finite: JSON has no infinity


def constraint(metric: str, text: str) -> Constraint:
    """Reads a bound, as in a spec.

    Raises:
        ValueError: it is none.
    """
    found = _BOUND.fullmatch(text)
    try:
        bound = float(found[2]) if found else math.nan
    except ValueError:
        bound = math.nan
    if found is None or math.isnan(bound):
        raise ValueError('must be ">= NUMBER" or "<= NUMBER", in quotes, such as ">= 0.9"')
    return Constraint(metric, found[1] == ">=", bound)


def _checked(text: object) -> object:
    constraint("", str(text))
    return text


Bound: TypeAlias = Annotated[str, BeforeValidator(_checked)]
