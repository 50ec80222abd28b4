"""An owner's limits: what a submission meets, what is refused, what is left."""

from __future__ import annotations

from typing import Any

import pytest

from sweeper.errors import InputError
from sweeper.service.limits import Allowance, LimitReached, limit
from sweeper.store.service_records import Needs, Owner, Usage


def allowance(*, hours: float = 0.0, money: float = 0.0, **limits: Any) -> Allowance:
    used = Usage(owner="ann", total=3600 * hours, money=money)
    return Allowance(owner="ann", limits=Owner(owner="ann", **limits), used=used, price=2.5)


def needs(hours: float = 0.0, **changes: Any) -> Needs:
    return Needs(**{"runs": 8, "seconds": 3600 * hours, **changes})


REMARKS: list[tuple[Allowance, Needs, list[str]]] = [
    (allowance(), needs(1000.0, workers=99), []),
    (allowance(most_workers=4), needs(workers=8), ["workers: 4 at a time instead of 8, for ann"]),
    (allowance(most_workers=4), needs(workers=4), []),
    (allowance(most_sweeps=2), needs(), [
        "sweeps: 2 of ann at a time; this one waits for another"]),
    (allowance(most_hours=20), needs(20.0), []),
    (allowance(most_hours=20, hours=19, most_money=9), needs(), [
        "its hours are not known yet; it runs until 1.0 hours and 9.0 money are used"]),
]  # fmt: skip


@pytest.mark.parametrize(("one", "asked", "told"), REMARKS)
def test_a_submission_is_clamped_and_that_is_said(
    one: Allowance, asked: Needs, told: list[str]
) -> None:
    """In one line for each limit that it meets."""
    assert one.remarks(asked, running=2) == told


REFUSED: list[tuple[Allowance, Needs, str]] = [
    (allowance(most_hours=20, hours=20), needs(), "ann has used 20.0 of 20 hours; an admin"),
    (allowance(most_money=50, money=50.004), needs(), "ann has spent 50.00 of 50.00; an admin"),
    (allowance(most_hours=20, hours=15), needs(6.0), "about 6 hours needed, 5 left for ann; ask"),
    (allowance(most_hours=20, hours=15), needs(3.0, gpus=2.0), "about 6 hours needed, 5 left"),
    (allowance(most_money=50, money=45), needs(4.0), "about 10 money needed, 5 left for ann"),
]


@pytest.mark.parametrize(("one", "asked", "told"), REFUSED)
def test_what_takes_more_than_is_left_is_refused(one: Allowance, asked: Needs, told: str) -> None:
    """In one line, with what is left and what to do."""
    with pytest.raises(LimitReached, match=told) as error:
        one.remarks(asked, running=0)
    assert len(error.value.lines) == 1


def test_what_other_sweeps_will_use_is_not_left() -> None:
    """Else a hundred submissions would each be told that they fit."""
    one = allowance(most_hours=20, hours=10)
    assert one.remarks(needs(4.0), running=1, planned_s=6 * 3600.0) == []
    with pytest.raises(LimitReached, match="about 4 hours needed, 7 planned for others, 10 left"):
        one.remarks(needs(4.0), running=1, planned_s=7 * 3600.0)


def test_the_last_fifth_of_a_limit_is_worth_a_message() -> None:
    """Each limit has a name, so that it is said once for each value."""
    assert allowance(most_hours=20, hours=15.9).nearly() == []
    assert allowance(most_hours=20, hours=16).nearly() == [
        ("hours:20", "ann has used 16.0 of 20 hours")
    ]
    assert allowance(most_money=8, money=7).nearly() == [("money:8", "ann has spent 7.00 of 8.00")]


@pytest.mark.parametrize(
    ("name", "value"),
    [("most_hours", 0), ("most_hours", True), ("most_hours", "2"), ("most_sweeps", 1.5),
     ("most_workers", -1), ("weight", float("nan")), ("most_money", float("inf"))],
)  # fmt: skip
def test_a_limit_is_a_number_above_0(name: str, value: object) -> None:
    """Whole where it counts something."""
    with pytest.raises(InputError, match=f"{name}: .* number above 0"):
        limit(name, value)
    assert limit(name, None) is None
    assert limit(name, 2) == 2
