"""Rewrites pydantic's errors: the key as in the file, the value, and what is valid."""

from __future__ import annotations

import math
import types
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sweeper.errors import nearest
from sweeper.spec.factors import Level, LevelList, Levels, NamedCell, NuisanceRange, Range
from sweeper.spec.models import Count, Looks, Screen, SpecFile, Target
from sweeper.spec.phrases import block, keys, near, phrase
from sweeper.spec.problems import NOTHING, Problem
from trainers.blocks import Worded

_FORMS: dict[str, Any] = {
    "<list>": LevelList, "<levels>": Levels, "<range>": Range,
    "<count>": Count, "<target>": Target, "<looks>": Looks,
    "<screen>": Screen,
}  # fmt: skip


@dataclass(frozen=True)
class _Place:
    """The target of a location: the file's keys, and the type that is expected there."""

    path: tuple[str | int, ...]
    annotation: Any
    metadata: tuple[Any, ...] = ()

    def enter(self, part: str | int) -> _Place:
        """Moves to a part of the place; pydantic's names of a union's members do not move."""
        if isinstance(part, str) and part.startswith("<"):
            nuisance = self.path[0] == "nuisance" and part == "<range>"
            return _Place(self.path, NuisanceRange if nuisance else _FORMS[part])
        inner = block(self.annotation)
        if inner and part in keys(inner):
            field = keys(inner)[str(part)]
            return _Place((*self.path, part), field.annotation, tuple(field.metadata))
        if inner is NamedCell:
            return _Place((*self.path, part), Level)
        if get_origin(self.annotation) is dict:
            return _Place((*self.path, part), get_args(self.annotation)[1])
        if isinstance(part, int):
            listed = get_args(self.annotation) if get_origin(self.annotation) is tuple else ()
            return _Place((*self.path, part), listed[0] if listed else Level)
        return self


def every(cause: ValidationError) -> list[Problem]:
    """Every problem once: a misspelt key explains the missing one."""
    errors = [error for error in cause.errors() if error["type"] != "default_factory_not_called"]
    unknown = [error["loc"] for error in errors if error["type"] == "extra_forbidden"]
    return [_problem(error) for error in errors if not _explained(error, unknown)]


def _explained(error: ErrorDetails, unknown: Sequence[tuple[str | int, ...]]) -> bool:
    """Returns whether a key is missing because a neighbouring key is misspelt."""
    *place, key = error["loc"] or ("",)
    beside = [str(word) for *block, word in unknown if block == place]
    return error["type"] == "missing" and bool(get_close_matches(str(key), beside, cutoff=0.6))


def _problem(error: ErrorDetails) -> Problem:
    if error["type"] == "extra_forbidden":
        return _unknown(error["loc"])
    if error["type"] == "missing":
        return Problem((*_walk(error["loc"][:-1]).path, error["loc"][-1]), "is missing")
    place = _walk(error["loc"])
    value: object = error["input"]
    value = NOTHING if isinstance(value, dict | list | tuple) else value
    raised = error.get("ctx", {}).get("error")
    if isinstance(raised, ValueError):
        return Problem(place.path, str(raised), value)
    if isinstance(value, float) and not math.isfinite(value):
        return Problem(place.path, "must be a finite number", value)
    return Problem(place.path, f"must be {_wanted(place)}{_close(place, value)}", value)


def _walk(location: Sequence[str | int]) -> _Place:
    place = _Place((), SpecFile)
    for part in location:
        place = place.enter(part)
    return place


def _unknown(location: Sequence[str | int]) -> Problem:
    place, word = _walk(location[:-1]), str(location[-1])
    inner = block(place.annotation)
    valid = keys(inner) if inner else ()
    return Problem((*place.path, word), f"no such key{near(word, valid)}")


def _wanted(place: _Place) -> str:
    inner = block(place.annotation)
    if inner and issubclass(inner, Worded):
        return "a word or a block of keys"
    if place.annotation is LevelList and len(place.path) == 2:
        return "a list of levels, or a range: {low: 0.01, high: 1.0}"
    return phrase(place.annotation, place.metadata)


def _close(place: _Place, value: object) -> str:
    is_union = get_origin(place.annotation) in (Union, types.UnionType)
    members = get_args(place.annotation) if is_union else [place.annotation]
    words = [w for m in members if get_origin(m) is Literal for w in get_args(m)]
    tail = nearest(str(value), map(str, words))
    return tail if "did you mean" in tail else ""
