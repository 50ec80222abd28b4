"""The service's processes are told to end at any instant."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from patience import HANG

from sweeper.service.serving import told_to_end


@pytest.fixture
def handlers() -> Iterator[None]:
    """The signals' handlers as they were, afterwards."""
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_a_signal_while_the_event_is_being_waited_for_does_not_hang() -> None:
    """The main thread holds the event's lock for moments of each wait."""
    stop = told_to_end()
    lock: Any = vars(stop)["_cond"]
    with lock:
        os.kill(os.getpid(), signal.SIGTERM)
        assert not stop.is_set()
    assert stop.wait(HANG)
