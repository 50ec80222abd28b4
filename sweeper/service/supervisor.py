"""The supervisor: compares wishes and facts every two seconds, and starts what should run.

It holds the lead (`store.leading`), decides (`deciding`), stores the decision in one transaction,
and starts drivers (`drivers`). It may be killed at any instant: a start is stored before its
process exists, and a second driver of a sweep finds the first one's lease and exits with 5.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from sweeper.errors import HeldError, LeaseLost, SweeperError
from sweeper.service.deciding import (
    INTERRUPTED,
    NO_PROGRESS,
    SETTLING,
    NextSteps,
    Site,
    allowance,
    decide,
    is_live,
)
from sweeper.service.drivers import DriverProcesses
from sweeper.service.fair import FairPolicy, Supply
from sweeper.service.noticing import Watchman
from sweeper.store import lease as leases
from sweeper.store.leading import Leading, Scene
from sweeper.store.service_records import Leadership, Notice, Submission
from sweeper.store.service_watch import work_of

LOG = logging.getLogger(__name__)
LOOK_SECONDS = 2.0
DRAIN_SECONDS, DRAIN_LOOK_SECONDS = 600.0, 1.0
MOST_CHARGED_S = 60.0  # for the time between two looks, so that a stopped machine charges nobody


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What the supervisor may hand out, and by which rules.

    Attributes:
        price: of an hour of a GPU, or of a worker without one.
    """

    room: Supply
    price: float = 0.0
    policy: FairPolicy = field(default_factory=FairPolicy)


class Supervisor:
    """One of possibly several supervisors; only the leader does anything.

    Args:
        receivers: digests of the addresses that get a message about each event.
        say: shows the server's owner a sentence; `sweep` is what it is about.
    """

    def __init__(
        self,
        leading: Leading,
        drivers: DriverProcesses,
        terms: Offer,
        *,
        receivers: Collection[str] = (),
        watchman: Watchman | None = None,
        say: Callable[..., None] = lambda text, **fields: None,
    ) -> None:
        self._leading, self._drivers, self._terms, self._say = leading, drivers, terms, say
        self._lead: Leadership | None = None
        self._beat_at = self._charged_at = time.monotonic()
        self._said = ""
        self._receivers, self._watchman = receivers, watchman or Watchman()
        self._watched_at, self._noticed = float("-inf"), set[str]()

    @property
    def leads(self) -> bool:
        """Whether this one leads, as far as it knows."""
        return self._lead is not None

    def run(self, stop: threading.Event, *, drain: Callable[[], bool] = lambda: False) -> None:
        """Works until `stop` is set, then gives the lead back. Faults of the database pass.

        Args:
            drain: whether drivers of this machine finish their rounds and end then.
        """
        while not stop.is_set():
            began = time.monotonic()
            try:
                self.step()
                self._tell("")
            except HeldError as error:
                self._tell(str(error))
            except LeaseLost as error:
                self._lead = None
                self._tell(str(error))
            except SweeperError as error:
                self._tell(f"trying again: {error}")
            stop.wait(max(0.0, LOOK_SECONDS - (time.monotonic() - began)))
        if self._lead is None:
            return
        try:
            if drain():
                self._drain(self._lead)
            self._leading.release(self._lead)
        except SweeperError as error:
            LOG.warning("the lead was not given back: %s", error)

    def _drain(self, lead: Leadership) -> None:
        """Asks the drivers of this machine to finish their rounds, and waits for their ends."""
        asked, until = set[int](), time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < until:
            scene = self._leading.scene()
            self._reap(lead, scene)
            left = [
                driver
                for drivers in self._leading.scene().drivers.values()
                for driver in drivers
                if driver.ended_at is None
            ]
            if not left:
                return
            for driver in left:
                if driver.id not in asked:
                    asked.add(driver.id)
                    self._drivers.ask_to_end(driver)
            self._leading.beat(lead)
            time.sleep(DRAIN_LOOK_SECONDS)

    def step(self) -> NextSteps:
        """Looks once, and does what follows.

        Raises:
            HeldError: another supervisor leads.
            LeaseLost: another one has taken the lead over.
        """
        lead = self._leader()
        scene = self._leading.scene()
        if self._reap(lead, scene):
            scene = self._leading.scene()
        notices = self._notices(scene)
        now = time.localtime()
        site = Site(
            room=self._terms.room,
            epoch=lead.epoch,
            minute=60 * now.tm_hour + now.tm_min,
            policy=self._terms.policy,
            stalled=self._watchman.stalled(scene.now),
        )
        found = decide(scene, site)
        usage = self._used(scene)
        if not found.empty or usage or notices:
            self._leading.record(
                lead,
                standings=found.standings,
                grants=found.grants,
                withdrawn=found.withdrawn,
                usage=usage,
                half_life_s=self._terms.policy.half_life_s,
                price=self._terms.price,
                done=found.done,
                events=found.events,
                notices=notices,
                receivers=self._receivers,
            )
            self._noticed.update(one.key for one in notices)
        for one in found.starts:
            self._start(lead, one)
        return found

    def _leader(self) -> Leadership:
        now = time.monotonic()
        if self._lead is None:
            terms = {"room": list(self._terms.room), "price": self._terms.price}
            self._lead = self._leading.take({**leases.here(), **terms})
            self._beat_at = self._charged_at = now
            self._say(f"this supervisor leads, epoch {self._lead.epoch}")
        elif now - self._beat_at >= leases.BEAT:
            self._leading.beat(self._lead)
            self._beat_at = now
        return self._lead

    def _reap(self, lead: Leadership, scene: Scene) -> bool:
        """Stores the end of drivers that have ended; returns whether any has."""
        ended = False
        for one in scene.submissions:
            fact = scene.sweeps.get(one.name)
            for driver in scene.drivers.get(one.id, ()):
                if driver.ended_at is not None:
                    continue
                if self._drivers.ended(driver, fact, now=scene.now):
                    code = self._drivers.code(driver, fact)
                    said = fact.reason if fact and code in SETTLING else None
                    grant = scene.grants.get(one.name)
                    if code == INTERRUPTED and grant and grant.reason.startswith(NO_PROGRESS):
                        said = grant.reason
                    self._leading.end_driver(
                        lead,
                        driver.id,
                        code=code,
                        error=self._drivers.last_words(one, code) if said is None else said,
                        rounds=self._leading.rounds(one.name),
                    )
                    text = f"{one.name}: driver {driver.number} ended with {code}"
                    self._say(text, sweep=one.name)
                    ended = True
        return ended

    def _notices(self, scene: Scene) -> list[Notice]:
        """What is new about the sweeps that run; they are looked at every ten seconds."""
        if time.monotonic() - self._watched_at < leases.BEAT:
            return []
        self._watched_at = time.monotonic()
        live = [one for one in scene.submissions if is_live(scene, one)]
        work = work_of(self._leading.database, [one.name for one in live]) if live else {}
        owners = {one.owner: allowance(scene, one.owner) for one in live}
        found = self._watchman.notices(live, work, now=scene.now, allowances=owners)
        return [one for one in found if one.key not in self._noticed]

    def _used(self, scene: Scene) -> dict[str, float]:
        """Worker seconds since the last call, by owner, weighted by what workers cost."""
        now = time.monotonic()
        live = [one for one in scene.submissions if is_live(scene, one)]
        if live and now - self._charged_at < leases.BEAT:
            return {}  # a write every ten seconds is enough
        passed, self._charged_at = min(now - self._charged_at, MOST_CHARGED_S), now
        found: dict[str, float] = {}
        for one in live:
            grant = scene.grants.get(one.name)
            workers = grant.workers if grant else 1
            if workers:
                used = passed * workers * one.needs.cost
                found[one.owner] = found.get(one.owner, 0.0) + used
        return found

    def _start(self, lead: Leadership, one: Submission) -> None:
        rounds = self._leading.rounds(one.name)
        driver = self._leading.begin_driver(lead, one, rounds=rounds)
        try:
            text = self._leading.spec_text(one.id)
            holder = self._drivers.start(driver, replace(one, spec_text=text))
        except (OSError, ValueError) as error:  # ValueError: a word that no command line can take
            text = f"the driver cannot be started: {error}"
            self._leading.end_driver(lead, driver.id, code=1, error=text, rounds=rounds)
            self._say(f"{one.name}: {text}", sweep=one.name)
            return
        self._leading.name_driver(lead, driver.id, holder)
        text = f"{one.name}: driver {driver.number} starts, pid {holder['pid']}"
        self._say(text, sweep=one.name)

    def _tell(self, trouble: str) -> None:
        if trouble != self._said:
            self._said = trouble
            if trouble:
                self._say(trouble)
