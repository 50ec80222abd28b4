"""Reads what the service wants of this launch, beside the heart-beat, and passes it on.

A launch needs no service: without a submission of its name nothing is ever wanted. An unreachable
database changes nothing here: the driver's own reads and writes decide what becomes of the launch.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from sweeper.engine.interrupts import Interrupts
from sweeper.errors import SweeperError
from sweeper.store.database import Database
from sweeper.store.lease import BEAT
from sweeper.store.orders import OrderBook
from sweeper.store.service_records import Orders

LOG = logging.getLogger(__name__)
LOOK_SECONDS = 2.0
LAST_SECONDS = 1.0  # for a look in progress when the launch ends


@dataclass
class Crew:
    """How many workers a launch may have; None: as many as there is room for."""

    limit: int | None = None

    def under(self, workers: int) -> bool:
        """Whether there may be fewer workers than these; one may always be."""
        return self.limit is not None and workers > max(1, self.limit)


class Obedience:
    """Looks for orders in a thread while entered.

    Args:
        database: of the launch; it gets a connection of its own here.
        name: the sweep's.
    """

    def __init__(self, database: Database, name: str, interrupts: Interrupts, crew: Crew) -> None:
        self._database, self._name = database, name
        self._interrupts, self._crew = interrupts, crew
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper-orders", daemon=True)

    def __enter__(self) -> Obedience:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=LAST_SECONDS)

    def _run(self) -> None:
        with closing(self._database.twin(patience=BEAT)) as database:
            database.give_up = self._over.is_set
            book = OrderBook(database, self._name)
            self.look(book.read)
            while not self._over.wait(LOOK_SECONDS):
                self.look(book.read)

    def look(self, read: Callable[[], Orders]) -> None:
        """Reads the orders once, and passes them on."""
        try:
            orders = read()
        except SweeperError as error:
            LOG.debug("no orders could be read: %s", error)
            return
        self._crew.limit = orders.workers
        if orders.stop:
            self._interrupts.request(orders.stop, preempted=orders.preempted)
