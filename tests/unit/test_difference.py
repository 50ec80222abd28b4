"""What `sweeper diff` prints: every key that differs, and no other."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sweeper.report.difference import ABSENT, Change, Side, changes, shown

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
TREES = st.recursive(
    st.dictionaries(st.sampled_from("abc"), SCALARS, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner | SCALARS, max_size=3),
    max_leaves=6,
)


def side(tree: dict[str, Any], **facts: Any) -> Side:
    return Side("spec", "x", tree, facts)


def test_only_what_differs_is_told() -> None:
    """Keys of blocks are dotted; a list is one value; a key that one side lacks is absent there."""
    left = {"a": 1, "b": {"c": [1, 2], "d": None}, "e": {}}
    right = {"a": 1.0, "b": {"c": [1, 3], "d": None}, "f": {"g": True}}
    assert changes(side(left), side(right)) == [
        Change("b.c", [1, 2], [1, 3]),
        Change("f.g", ABSENT, True),
    ]
    assert changes(side(left), side(right))[1].as_json() == {"key": "f.g", "right": True}


def test_facts_count_where_both_sides_know_them() -> None:
    """A spec file has no fingerprint, so the fingerprint is no difference."""
    assert changes(side({}, mark="x"), side({})) == []
    assert changes(side({}, mark="x"), side({}, mark="y")) == [Change("mark", "x", "y")]


def test_yes_is_not_one() -> None:
    """Python holds True and 1 equal; a spec does not."""
    assert changes(side({"a": True}), side({"a": 1})) == [Change("a", True, 1)]


@given(TREES, TREES)
def test_sides_swap(one: dict[str, Any], two: dict[str, Any]) -> None:
    """Nothing differs from itself; swapping the sides swaps each change."""
    assert changes(side(one), side(one)) == []
    there = {(c.key, shown(c.left), shown(c.right)) for c in changes(side(one), side(two))}
    back = {(c.key, shown(c.right), shown(c.left)) for c in changes(side(two), side(one))}
    assert there == back
