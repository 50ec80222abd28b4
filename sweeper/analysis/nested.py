"""Factors that depend on each other (`when:`) as one factor, whose levels are their combinations.

SGD, SAM and SAM-A are radius 0, radius 0.2 and radius 0.2 with asymmetry 1: no grid of radius and
asymmetry, but three methods, each of which meets the same levels of all other factors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from sweeper.analysis.factors import is_condition, name_of, show
from sweeper.spec import COMPARE, METHOD
from sweeper.spec import factors as f

WITH = " with "  # no comma: sentences list levels by commas
WRITTEN: TypeAdapter[dict[str, f.Factor]] = TypeAdapter(dict[str, f.Factor])


@dataclass(frozen=True)
class NestedFactors:
    """Factors that apply only at some levels of each other, as one factor.

    Attributes:
        path: of the one factor.
        parts: the paths of its factors.
        names: the levels of `parts` (None where a part does not apply) -> the level's name.
    """

    path: str
    parts: tuple[str, ...]
    names: Mapping[tuple[Any, ...], str]

    def level(self, factors: Mapping[str, Any]) -> str | None:
        """The name of a cell's level; None for a cell of an earlier spec."""
        return self.names.get(tuple(factors.get(part) for part in self.parts))


@dataclass(frozen=True)
class AskedFactors:
    """The factors that a sweep asks about, factors that depend on each other as one.

    Attributes:
        factors: path -> the factor as the spec has it; of nested factors the names of the levels.
        reference: path -> the baseline that the spec names.
    """

    factors: Mapping[str, Any]
    reference: Mapping[str, Any]
    nested: tuple[NestedFactors, ...] = ()
    compared: tuple[Mapping[str, Any], ...] = ()  # the named cells of `compare`

    def levels(self, factors: Mapping[str, Any]) -> dict[str, Any]:
        """A cell's levels, with the levels of nested factors beside their parts."""
        found = {one.path: one.level(factors) for one in self.nested}
        return {**factors, **{path: level for path, level in found.items() if level is not None}}

    def keys(self, path: str) -> frozenset[str]:
        """The keys of the configuration that the levels of a factor set."""
        if path == COMPARE and self.compared:
            return frozenset(key for one in self.compared for key in one) - {"name"}
        parts = (one.parts for one in self.nested if one.path == path)
        return frozenset(next(parts, (path,)))


def question(spec: Mapping[str, Any]) -> AskedFactors:
    """The factors of a stored spec.

    Only a factorial has every combination. A condition among nested factors stays on its own,
    since it is no choice.
    """
    written = dict(spec.get("scientific", {}))
    reference, compared = dict(spec.get("reference") or {}), tuple(spec.get("compare") or ())
    dependent = any(isinstance(one, Mapping) and one.get("when") for one in written.values())
    if not dependent or spec["search"]["method"] != "factorial":
        return AskedFactors(written, reference, compared=compared)
    found = tuple(nested(WRITTEN.validate_python(written)))
    at = {part: one for one in found for part in one.parts}
    factors = {
        at[path].path if path in at else path: [*at[path].names.values()] if path in at else one
        for path, one in written.items()
    }
    named = {path: level for path, level in reference.items() if path not in at}
    joined = {one.path: _baseline(one, reference) for one in found}
    named |= {path: level for path, level in joined.items() if level is not None}
    return AskedFactors(factors, named, found, compared)


def nested(factors: f.Factors) -> Iterator[NestedFactors]:
    """Each set of factors that depend on each other, without those that hold a condition."""
    groups = [parts for parts in _groups(factors) if not any(map(is_condition, parts))]
    alone = len(groups) == 1 and not {COMPARE, METHOD} & factors.keys()
    for parts in groups:
        path = METHOD if alone else f"{METHOD} ({name_of(parts[0])})"
        yield NestedFactors(path, parts, _names(factors, parts))


def _groups(factors: f.Factors) -> list[tuple[str, ...]]:
    """The sets of factors that `when` joins, in the spec's order."""
    joined: list[set[str]] = []
    for name in factors:
        if not f.condition(factors[name]):
            continue
        one = {name, *f.ancestors(factors, name)}
        touched = [other for other in joined if other & one]
        joined = [other for other in joined if not other & one]
        joined.append(one.union(*touched))
    groups = [tuple(name for name in factors if name in one) for one in joined]
    return sorted(groups, key=lambda parts: [*factors].index(parts[0]))


def _names(factors: f.Factors, parts: Sequence[str]) -> dict[tuple[Any, ...], str]:
    """A name for each combination; every digit of its numbers where fewer would not tell."""
    cells = list(f.assignments(factors, parts))
    short = [_name(cell, show) for cell in cells]
    names = short if len(set(short)) == len(cells) else [_name(cell, repr) for cell in cells]
    keys = [tuple(cell.get(part) for part in parts) for cell in cells]
    return dict(zip(keys, names, strict=True))


def _name(cell: Mapping[str, Any], write: Callable[[Any], str]) -> str:
    return WITH.join(f"{name_of(path)} {write(level)}" for path, level in cell.items())


def _baseline(one: NestedFactors, reference: Mapping[str, Any]) -> str | None:
    """The first level that has all baselines that the spec names of the parts, if it names any."""
    asked = {at: reference[part] for at, part in enumerate(one.parts) if part in reference}
    fits = (
        name
        for levels, name in one.names.items()
        if asked and all(levels[at] == level for at, level in asked.items())
    )
    return next(fits, None)
