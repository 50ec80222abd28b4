"""A thousand arrivals on a virtual clock, beside the retry ladder that others call a queue."""

from __future__ import annotations

from statistics import mean

import pytest
from queueing import Arrival, arrivals, by_class, ladder, ours

from sweeper.service.fair import HOUR, FairPolicy, QueueEntry, Supply
from sweeper.store.service_records import Priority


@pytest.fixture(scope="module")
def listed() -> list[Arrival]:
    return arrivals(1)


def test_no_start_passes_over_a_sweep_that_goes_before_it(listed: list[Arrival]) -> None:
    """Zero inversions, high before normal before low; the ladder has hundreds."""
    course, peer = ours(listed, foresee=False), ladder(listed)
    assert len(course.ended) == len(peer.ended) == len(listed)
    assert course.inversions == 0
    assert peer.inversions > 100
    waited = by_class(course, listed, mean)
    assert waited["high"] < waited["normal"] < waited["low"]
    assert waited["high"] < by_class(peer, listed, mean)["high"] / 5
    assert course.mean() < peer.mean()


def test_expected_starts_are_right_within_a_quarter() -> None:
    """At submission, in the median, where the estimates of the work are themselves wrong by 20 %.

    Sweeps of the lowest class depend on who comes after them, which nobody can foresee on a full
    cluster: there even the median of many simulated futures is wrong by 40 %.
    """
    calm = arrivals(1, load=0.7)
    low = [one.entry.name for one in calm if one.entry.priority is Priority.LOW]
    assert ours(calm).error(low) < 0.35
    listed = arrivals(1, number=500)
    course = ours(listed)
    names = [one.entry.name for one in listed if one.entry.priority is not Priority.LOW]
    assert sum(course.waited[name] > 60 for name in names) >= 20
    assert course.error(names) < 0.25


def test_nothing_starves_under_a_stream_that_never_ends() -> None:
    """More high work than the cluster can do, for ever; one low sweep of the same owner.

    The bound: two classes of a day each, and what had come before it by then.
    """
    day = FairPolicy().ageing_s
    stream = [
        Arrival(
            at,
            QueueEntry(
                name=f"h{at:.0f}", owner="ann", priority=Priority.HIGH, since=at,
                worker=Supply(1.0), most=16, seconds=20 * HOUR,
            ),
        )
        for at in range(0, int(3 * day), int(HOUR))
    ]  # fmt: skip
    low = QueueEntry(
        name="low", owner="ann", priority=Priority.LOW, since=0.5, worker=Supply(1.0), most=1,
        seconds=HOUR,
    )  # fmt: skip
    course = ours(sorted([*stream, Arrival(0.5, low)], key=lambda one: one.at), foresee=False)
    assert 1.9 * day < course.waited["low"] < 2 * day + 2 * HOUR
