"""Blocks of keys: what every part of a configuration shares. Needs pydantic only, never torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.fields import FieldInfo


class ConfigError(ValueError):
    """A value that no run can use, found once the data are known.

    Attributes:
        key: the dotted path, such as `train.batch_size`.
        value: the value in the spec.
        reason: why it is unusable, and which value works.
    """

    def __init__(self, key: str, value: object, reason: str) -> None:
        super().__init__(f"{key}: {value!r} {reason}")
        self.key, self.value, self.reason = key, value, reason


class Block(BaseModel):
    """A block of a spec: unknown keys are errors, numbers are finite, nothing is coerced."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class Worded(Block):
    """A block that may be written as one word, the value of its first key."""

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        name, field = next(iter(cls.model_fields.items()))
        return {field.alias or name: value} if isinstance(value, str) else value


@dataclass(frozen=True)
class PerMember:
    """Marks a field in which the members of a pack may differ.

    Attributes:
        off: the value that switches the block off, so that it costs nothing. A run with it is not
            packed with a run of another value. None: no value does.
    """

    off: float | None = None


@dataclass(frozen=True)
class Added:
    """Marks a field, or a block, that is newer than stored sweeps.

    At its default it is no part of a configuration's identity, so their cells keep theirs.
    """


def mark(field: FieldInfo, kind: type[Any]) -> Any:
    """The field's mark of a kind, or None."""
    return next((one for one in field.metadata if isinstance(one, kind)), None)


def fields_of(block: Block, before: str = "") -> Iterator[tuple[str, FieldInfo, Any]]:
    """Every field that holds a value, blocks of catalogue entries included: path, field, value."""
    for name, field in type(block).model_fields.items():
        value = getattr(block, name)
        if isinstance(value, Block):
            yield from fields_of(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", field, value
    for name, inner in (block.model_extra or {}).items():
        yield from fields_of(inner, f"{before}{name}.")


def without_newer(block: Block, tree: dict[str, Any], *, every: bool = False) -> None:
    """Removes keys marked `Added` that have their defaults from a block's JSON tree, in place.

    Args:
        block: the block.
        tree: its `model_dump`.
        every: whether each key counts as added, as in the block of a catalogue entry.
    """
    for name, field in type(block).model_fields.items():
        value = getattr(block, name)
        if every or mark(field, Added):
            if value == field.default:
                del tree[name]
        elif isinstance(value, Block):
            without_newer(value, tree[field.serialization_alias or name])
    for name, inner in (block.model_extra or {}).items():
        without_newer(inner, tree[name], every=True)
        if not tree[name]:
            del tree[name]
