"""Describes what a field accepts, in one phrase for error messages and the reference."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sweeper.errors import nearest
from sweeper.spec.factors import NamedCell
from trainers.blocks import Worded
from trainers.catalogue import KEYS, owner, parameters
from trainers.config import TrainConfig
from trainers.data_config import Token

_TYPES = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    type(None): "null",
}

_LISTS = {
    int: "a list of whole numbers",
    str: "a list of names",
    Token: "a list of words and numbers",
    NamedCell: "a list of named cells",
}


def phrase(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """Returns a phrase such as `a whole number, 1 to 4096, or null`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return phrase(inner, [*metadata, *more])
    if origin is Literal:
        words = list(map(str, get_args(annotation)))
        return words[0] if len(words) == 1 else f"one of {', '.join(words)}"
    if origin in (Union, types.UnionType):
        return _either(annotation, list(metadata))
    if origin in (dict, Mapping) or block(annotation):
        return "a block of keys"
    if origin is tuple:
        inner: Any = get_args(annotation)[0]
        if block(inner) and issubclass(inner, Worded):
            return "a list of words, or of blocks"
        if get_origin(inner) is dict:
            return "a list of blocks of keys"
        return _LISTS.get(inner, "a list of levels")
    return _TYPES.get(annotation, str(annotation)) + _bounds(metadata)


def block(annotation: Any) -> type[BaseModel] | None:
    """The model of a block of keys; None for other types."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def _either(annotation: Any, metadata: list[Any]) -> str:
    members = list(get_args(annotation))
    if {int, float} <= set(members):  # a whole number is a number
        members.remove(int)
    words = [phrase(member, metadata) for member in members]
    words = [word.removeprefix("one of ") if len(words) > 1 else word for word in words]
    *first, last = dict.fromkeys(words)
    if not first:
        return last
    comma = "," if any("," in word for word in first) else ""
    return f"{', '.join(first)}{comma} or {last}"


def _bounds(metadata: Iterable[Any]) -> str:
    parts = [
        part
        for item in metadata
        for part in (item.metadata if isinstance(item, FieldInfo) else [item])
    ]
    limits = {
        name: getattr(part, name)
        for part in parts
        for name in ("ge", "gt", "le", "lt", "max_length")
        if getattr(part, name, None) is not None
    }
    return f", {_interval(limits)}" if limits else ""


def _interval(limits: Mapping[str, Any]) -> str:
    if "max_length" in limits:
        return f"at most {limits['max_length']:,} characters"
    if {"ge", "le"} <= limits.keys():
        return f"{_number(limits['ge'])} to {_number(limits['le'])}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return " and ".join(f"{words[name]} {_number(limit)}" for name, limit in limits.items())


def _number(limit: float) -> str:
    return f"{limit:,}" if isinstance(limit, int) else f"{limit:g}"


def accepts(field: FieldInfo) -> str:
    """Returns the phrase of a model's field."""
    return phrase(field.annotation, field.metadata)


def keys(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """A model's fields, by their keys in a file; in `train` the catalogue's blocks follow."""
    own = {field.alias or name: field for name, field in model.model_fields.items()}
    if model is not TrainConfig:
        return own
    return own | {name: _block_field(name, inner) for name, inner in parameters().items()}


def _block_field(name: str, inner: type[BaseModel]) -> FieldInfo:
    key = KEYS[owner(name).kind]
    text = f"Parameters of `{key}: {name}`."
    return FieldInfo(annotation=inner, default=inner(), description=text)


def near(word: str, valid: Iterable[str]) -> str:
    """The end of a message: the nearest valid word, or all of them if they are few."""
    choices = sorted(valid)
    tail = nearest(word, choices)
    return tail if len(choices) <= 19 or "did you mean" in tail else "; see docs/spec.md"
