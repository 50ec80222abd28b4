"""The queue as people see it: when a sweep that waits should start."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any

import pytest

from sweeper.service.board import Board
from sweeper.service.deciding import until_open_s
from sweeper.service.fair import Supply
from sweeper.store.service_records import Needs

HOUR = 3600


@pytest.mark.parametrize(
    ("window", "hour", "hours"),
    [
        ((), 12, 0),
        (("22:00", "06:00"), 12, 10),
        (("22:00", "06:00"), 23, 0),
        (("22:00", "06:00"), 5, 0),
        (("22:00", "06:00"), 6, 16),
        (("03:00", "04:30"), 2, 1),
        (("03:00", "04:30"), 3, 0),
        (("03:00", "04:30"), 5, 22),
    ],
)
def test_a_window_opens_at_its_next_start(window: tuple[str, ...], hour: int, hours: int) -> None:
    """Also over midnight; the end is outside."""
    assert until_open_s(window, float(hour * HOUR)) == hours * HOUR


def submitted(name: str, number: int, now: float, **more: Any) -> dict[str, Any]:
    """A row of `Wishes.listing`: an hour of one worker's work."""
    needs = Needs(runs=4, seconds=float(HOUR), workers=1)
    return {
        "name": name,
        "owner": "ann",
        "priority": "normal",
        "after": "",
        "window": "[]",
        "needs": json.dumps(asdict(needs)),
        "wanted": "running",
        "generation": 1,
        "created_at": now - 100 + number,
        "state": "queued",
        "reason": "",
        "settled": False,
        "workers": 0,
        "since": None,
        **more,
    }


def test_a_start_waits_for_hours_and_for_the_sweep_before() -> None:
    """With workers free; the places follow the starts."""
    now = time.mktime((2026, 12, 1, 12, 0, 0, 0, 0, -1))
    rows = [
        submitted("night", 1, now, window='["22:00", "06:00"]'),
        submitted("runs", 2, now, state="running", workers=1, since=now - HOUR / 2),
        submitted("next", 3, now, after="runs"),
        submitted("last", 4, now, after="next"),
        submitted("now", 5, now),
        submitted("free", 6, now, after="done"),
        submitted("done", 0, now, state="complete", settled=True),
    ]
    board = Board(rows, {}, now=now, room=Supply(16.0))
    found = {row["name"]: row for row in board.rows()}
    starts = {name: row["starts_in_s"] for name, row in found.items()}
    assert starts["now"] == starts["free"] == pytest.approx(0.0, abs=1.0)
    assert starts["next"] == pytest.approx(HOUR / 2, abs=1.0)
    assert starts["last"] == pytest.approx(1.5 * HOUR, abs=1.0)
    assert starts["night"] == pytest.approx(10 * HOUR, abs=1.0)
    places = [found[name]["position"] for name in ("next", "last", "night")]
    assert places == [3, 4, 5]
