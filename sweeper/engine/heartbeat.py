"""A thread that keeps the lease, whatever the driver's loop is doing."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sweeper.errors import DatabaseMoved, LeaseLost
from sweeper.store.lease import BEAT

LAST_SECONDS = 1.0  # for a beat that is under way when the launch ends


class Heartbeat:
    """Beats while entered. `check` raises once another driver has taken over, or the file is gone.

    Any other error of a beat is only said, from the thread that beats, since the driver's loop may
    wait for the same database: it may be back for the next beat, and whether the lease has held is
    decided by the next write, in the database.
    """

    def __init__(
        self,
        beat: Callable[[], None],
        *,
        say: Callable[[str], None] = lambda text: None,
        seconds: float = BEAT,
    ) -> None:
        self._beat, self._say, self._seconds = beat, say, seconds
        self._stop = threading.Event()
        self._lost: LeaseLost | DatabaseMoved | None = None
        self._said = ""  # why beats fail, as last said
        self._thread = threading.Thread(target=self._run, name="sweeper-heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=LAST_SECONDS)

    def check(self) -> None:
        """Returns while the lease is ours as far as is known.

        Raises:
            LeaseLost: another driver has it.
            DatabaseMoved: the database's file is gone.
        """
        if self._lost is not None:
            raise self._lost

    def _run(self) -> None:
        while not self._stop.wait(self._seconds) and self.step():
            pass

    def step(self) -> bool:
        """Beats once; whether to go on."""
        try:
            self._beat()
        except (LeaseLost, DatabaseMoved) as error:
            self._lost = error
            return False
        except Exception as error:  # noqa: BLE001  a driver of the database is foreign code
            self._tell(f"{type(error).__name__}: {error}")
        else:
            self._tell("")
        return True

    def _tell(self, trouble: str) -> None:
        """Says that beats fail, and why, and that they no longer do; each once."""
        if trouble == self._said or self._stop.is_set():
            return
        if trouble:
            self._say(f"the lease could not be renewed, trying again: {trouble}")
        else:
            self._say("the lease is renewed again")
        self._said = trouble
