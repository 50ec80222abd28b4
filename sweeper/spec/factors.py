"""The factors of a spec: a list of levels or a range, and the condition under which it applies.

Everything here is counted before it is built: a range of 10^9 levels costs nothing until used.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from graphlib import TopologicalSorter
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Strict, Tag

from trainers.blocks import Block

MAX_CELLS = 100_000

Level: TypeAlias = str | int | float | bool | None
Number: TypeAlias = int | float


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else [value]  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]


LevelList: TypeAlias = Annotated[tuple[Level, ...], Strict(False), Field(max_length=1000)]
When: TypeAlias = Annotated[
    dict[str, Annotated[LevelList, BeforeValidator(_listed)]],
    Field(
        default_factory=dict,
        description="Applies only where another scientific factor has this level, or one of these: "
        "`{train.ssl.weight: [0.1, 1.0]}`. Elsewhere the value in `data` or `train` applies.",
    ),
]


class Levels(Block):
    """A list of levels with a condition."""

    levels: LevelList = Field(description="The levels.")
    when: When


class Range(Block):
    """A range of numbers; whole numbers if the field takes only these."""

    low: Number = Field(description="The lowest level.")
    high: Number = Field(description="The highest level.")
    log: bool = Field(default=False, description="Evenly spread over the logarithm.")
    step: Number | None = Field(
        default=None, description="Distance between neighbouring levels; not with `log`."
    )
    levels: Annotated[int, Field(ge=2, le=1000)] | None = Field(
        default=None, description="Number of levels, ends included, instead of `step`."
    )
    when: When


class NamedCell(Block):
    """A cell to compare: a name, and values by dotted path; all else is as in `data` and `train`.

    `{name: SAM-A, train.sam.radius: 0.2, train.sam.asymmetry: 1}`
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Level]  # pyright: ignore[reportIncompatibleVariableOverride]

    name: Annotated[str, Field(min_length=1, max_length=60)] = Field(
        description="The name of the cell, as the report shows it."
    )

    @property
    def levels(self) -> dict[str, Level]:
        """The values by dotted path."""
        return dict(self.__pydantic_extra__)


class NuisanceRange(Block):
    """A range that is tuned again for every scientific cell, on separate replicates."""

    low: Number = Field(description="The lowest level.")
    high: Number = Field(description="The highest level.")
    log: bool = Field(default=False, description="Evenly spread over the logarithm.")
    trials: Annotated[int, Field(ge=2, le=1000)] = Field(
        description="Candidates for every scientific cell; with several nuisance factors the "
        "largest number applies."
    )


def _kind(value: Any) -> str:
    if not isinstance(value, Mapping | Levels | Range):
        return "<list>"
    if isinstance(value, Levels) or (
        isinstance(value, Mapping) and "levels" in value and "low" not in value
    ):
        return "<levels>"
    return "<range>"


Factor: TypeAlias = Annotated[
    Annotated[LevelList, Tag("<list>")]
    | Annotated[Levels, Tag("<levels>")]
    | Annotated[Range, Tag("<range>")],
    Discriminator(_kind),
]
Nuisance: TypeAlias = Annotated[
    Annotated[LevelList, Tag("<list>")] | Annotated[NuisanceRange, Tag("<range>")],
    Discriminator(lambda value: "<range>" if isinstance(value, Mapping | Block) else "<list>"),
]
AnyFactor: TypeAlias = tuple[Level, ...] | Levels | Range | NuisanceRange
Factors: TypeAlias = Mapping[str, tuple[Level, ...] | Levels | Range]


def condition(factor: AnyFactor) -> Mapping[str, tuple[Level, ...]]:
    """The required levels of other factors; empty without a condition."""
    return factor.when if isinstance(factor, Levels | Range) else {}


def size(factor: AnyFactor) -> int | None:
    """The number of levels; None for a range without a grid."""
    if isinstance(factor, tuple):
        return len(factor)
    if isinstance(factor, Levels):
        return len(factor.levels)
    if isinstance(factor, Range) and factor.step is not None:
        return math.floor((factor.high - factor.low) / factor.step + 1e-9) + 1
    levels = grid(factor)
    return None if levels is None else len(levels)


def grid(factor: AnyFactor) -> tuple[Level, ...] | None:
    """The levels in order; None for a range without a grid."""
    if isinstance(factor, tuple):
        return factor
    if isinstance(factor, Levels):
        return factor.levels
    if isinstance(factor, NuisanceRange):
        return spread(factor, factor.trials)
    if factor.step is not None:
        return tuple(_step(factor, i) for i in range(size(factor) or 0))
    return None if factor.levels is None else spread(factor, factor.levels)


def has(factor: AnyFactor, level: Level) -> bool:
    """Whether it is a level of the factor."""
    levels = grid(factor)
    if levels is not None:
        return level in levels
    assert isinstance(factor, Range | NuisanceRange)  # noqa: S101 (all else has a grid)
    if isinstance(level, bool) or not isinstance(level, int | float):
        return False
    return factor.low <= level <= factor.high and (isinstance(level, int) or not is_whole(factor))


def spread(factor: Range | NuisanceRange, number: int) -> tuple[Number, ...]:
    """`number` levels from low to high, evenly or on a log scale; whole numbers without repeats."""
    positions = (i / (number - 1) for i in range(number))
    return tuple(dict.fromkeys(at(factor, position) for position in positions))


def at(factor: Range | NuisanceRange, position: float) -> Number:
    """The number at `position`, from 0 (low) to 1 (high)."""
    low, high = factor.low, factor.high
    if factor.log:
        value = math.exp(math.log(low) + position * (math.log(high) - math.log(low)))
    else:
        value = low + position * (high - low)
    return min(max(_tidy(value, whole=is_whole(factor)), low), high)


def _step(factor: Range, number: int) -> Number:
    return _tidy(factor.low + number * (factor.step or 0), whole=is_whole(factor))


def pick(factor: AnyFactor, uniform: float) -> Level:
    """The level for a number from [0, 1); each level has an equal share."""
    if isinstance(factor, Range) and factor.step is not None:
        return _step(factor, int(uniform * (size(factor) or 0)))
    levels = grid(factor) if not isinstance(factor, NuisanceRange) else None
    if levels is not None:
        return levels[int(uniform * len(levels))]
    assert isinstance(factor, Range | NuisanceRange)  # noqa: S101 (all else has a grid)
    if is_whole(factor) and not factor.log:
        return min(int(factor.low + uniform * (factor.high - factor.low + 1)), int(factor.high))
    return at(factor, uniform)


def is_whole(factor: Range | NuisanceRange) -> bool:
    """Whether its levels are whole numbers; known after `spec.parse`, from the field."""
    return isinstance(factor.low, int) and isinstance(factor.high, int)


def _tidy(value: float, *, whole: bool) -> Number:
    # 0.1 + 2 * 0.1 is 0.30000000000000004; twelve digits restore the intended level.
    return round(value) if whole else float(f"{value:.12g}")


def order(factors: Factors) -> list[str]:
    """The names, parents before the factors that depend on them.

    Raises:
        graphlib.CycleError: conditions form a cycle.
    """
    parents = {name: condition(factor) for name, factor in factors.items()}
    return list(TopologicalSorter(parents).static_order())


def active(factors: Factors, values: Mapping[str, Level]) -> dict[str, Level]:
    """`values` without the factors whose condition is false, in the spec's order."""
    kept: dict[str, Level] = {}
    for name in order(factors):
        if name in values and _holds(condition(factors[name]), kept):
            kept[name] = values[name]
    return {name: kept[name] for name in factors if name in kept}


def _holds(when: Mapping[str, tuple[Level, ...]], values: Mapping[str, Level]) -> bool:
    return all(name in values and values[name] in levels for name, levels in when.items())


def assignments(factors: Factors, names: Collection[str]) -> Iterator[dict[str, Level]]:
    """Every combination of levels of the named factors; the last factor varies fastest.

    A factor whose condition is false is absent. The names must include every parent of a named
    factor, and all of them need a grid.
    """
    ordered = [name for name in order(factors) if name in names]

    def extend(values: dict[str, Level], position: int) -> Iterator[dict[str, Level]]:
        if position == len(ordered):
            yield {name: values[name] for name in factors if name in values}
            return
        name = ordered[position]
        if not _holds(condition(factors[name]), values):
            yield from extend(values, position + 1)
            return
        for level in grid(factors[name]) or ():
            yield from extend({**values, name: level}, position + 1)

    return extend({}, 0)


def ancestors(factors: Factors, name: str) -> set[str]:
    """The factors that decide whether this factor applies."""
    found: set[str] = set()
    todo = list(condition(factors[name]))
    while todo:
        parent = todo.pop()
        if parent not in found:
            found.add(parent)
            todo.extend(condition(factors[parent]))
    return found


def asked(factors: Factors, name: str) -> dict[str, set[Level]]:
    """The levels of its ancestors under which it applies; all conditions must hold."""
    needed: dict[str, set[Level]] = {}
    for factor in (name, *ancestors(factors, name)):
        for parent, levels in condition(factors[factor]).items():
            needed[parent] = needed.get(parent, set(levels)) & set(levels)
    return needed


def count(factors: Factors) -> int:
    """The number of combinations, without building them; over `MAX_CELLS` a lower bound.

    Only factors with dependents are enumerated; the others multiply.
    """
    deciding = {parent for factor in factors.values() for parent in condition(factor)}
    rest = [name for name in factors if name not in deciding]
    total = 0
    for values in assignments(factors, deciding):
        present = (name for name in rest if _holds(condition(factors[name]), values))
        total += math.prod(size(factors[name]) or 1 for name in present)
        if total > MAX_CELLS:
            break
    return total


def short(path: str, among: Iterable[str]) -> str:
    """The shortest end of a dotted path that is unique among the paths: batch_size, ssl.weight."""
    parts = path.split(".")
    others = [other.split(".") for other in among if other != path]
    for size in range(1, len(parts)):
        end = parts[-size:]
        vague = size == 1 and len(parts) > 2
        if not vague and all(other[-size:] != end for other in others):
            return ".".join(end)
    return path
