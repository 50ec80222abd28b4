"""What differs between two cells, or between two sweeps or spec files, key by key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from trainers.config import leaves

Kind = Literal["configuration", "spec"]


class Absent:
    """The value of a key that one side lacks."""

    def __repr__(self) -> str:
        return "(not there)"


ABSENT = Absent()


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        label: how it was found, in a few words.
        facts: what belongs to it beside its keys, such as the data's fingerprint; compared where
            both sides know it.
    """

    kind: Kind
    label: str
    tree: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Change:
    """A key whose values differ; ABSENT where a side lacks it."""

    key: str
    left: Any
    right: Any

    def as_json(self) -> dict[str, Any]:
        """A side that lacks the key is left out."""
        sides = {"left": self.left, "right": self.right}
        return {"key": self.key, **{k: v for k, v in sides.items() if v is not ABSENT}}


def changes(left: Side, right: Side) -> list[Change]:
    """All keys that differ: facts first, then the left side's keys, then those only the right has.

    A list is one value. 1 and 1.0 are the same.
    """
    known = [key for key in left.facts if key in right.facts]
    one = {key: left.facts[key] for key in known} | dict(leaves(left.tree))
    two = {key: right.facts[key] for key in known} | dict(leaves(right.tree))
    pairs = ((key, one.get(key, ABSENT), two.get(key, ABSENT)) for key in one | two)
    return [Change(key, a, b) for key, a, b in pairs if _differ(a, b)]


def _differ(a: Any, b: Any) -> bool:
    """True is not 1, though Python holds them equal."""
    return a != b or isinstance(a, bool) is not isinstance(b, bool)


def shown(value: Any) -> str:
    """A value as a spec would have it."""
    return repr(value) if value is ABSENT else json.dumps(value, ensure_ascii=False, default=str)
