"""The claims about the service: `python benchmarks/service.py`, on one processor.

The queue: a thousand sweeps of four owners that arrive at 16 workers, under Sweeper's rules and
under a retry ladder (15 s, doubling to 10 minutes), on a virtual clock.

The cost: ten thousand queued sweeps in SQLite; processor time, so that other programs do not count.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import mean, median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from queueing import Arrival, Course, arrivals, by_class, ladder, ours, until_start
from sqlalchemy import insert, update

from sweeper.service import pages
from sweeper.service.access import Access
from sweeper.service.board import Board
from sweeper.service.deciding import Site, decide
from sweeper.service.desk import Desk
from sweeper.service.drivers import ServiceFolder
from sweeper.service.fair import QueueEntry, Supply
from sweeper.service.metrics import MetricsPage
from sweeper.store import Store
from sweeper.store.leading import Leading
from sweeper.store.lease import here
from sweeper.store.service_records import Needs, NewSubmission, Role, State, SubmissionStanding
from sweeper.store.service_tables import LeaderTable, SubmissionTable
from sweeper.store.wishes import Wishes

SEEDS, LOADS, FUTURES = (1, 2, 3), (0.7, 0.9, 1.0), 15
QUEUED, OWNERS, ROOM = 10_000, 7, Supply(8.0)
SPEC = Path(__file__).parents[1] / "search_spaces" / "batch_size.yaml"


def main() -> None:
    """Prints what was measured."""
    with tempfile.TemporaryDirectory() as folder:
        costs(f"sqlite:///{folder}/s.db")
    waits()


def costs(url: str) -> None:
    """Prints the processor time of what happens often, beside ten thousand queued sweeps."""
    with Store.open(url, create=True) as store:
        wishes, leading = Wishes(store.database), Leading(store.database)
        rows = [_row(number, wishes.now()) for number in range(QUEUED)]
        store.database.write(lambda connection: connection.execute(insert(SubmissionTable), rows))
        path = store.database.address.path
        assert path is not None
        size = path.stat().st_size / QUEUED
        print(f"{QUEUED} queued sweeps: {size / 1000:.1f} kB each, stored")
        lead = leading.take(here())
        for _ in range(40):  # until every owner's first sweeps have a standing
            _look(leading, lead)
        print(f"a look of the supervisor: {_cost(lambda n: _look(leading, lead)):.0f} ms")
        print(f"a submission, without the check of its spec: {_cost(_submitter(wishes)):.1f} ms")

        def listed(_: int) -> None:
            board = Board(wishes.listing(), wishes.usage(), now=wishes.now(), room=ROOM)
            json.dumps(board.rows(most=1000))

        print(f"the list: {_cost(listed):.0f} ms")
        _pages(store, rows)
        print(f"the metrics: {_cost(lambda n: MetricsPage(store.database).text()):.0f} ms")


def _pages(store: Store, rows: list[dict[str, object]]) -> None:
    """Prints what the pages cost: the queue, a sweep that waits, and one that has finished."""
    with tempfile.TemporaryDirectory() as folder:
        checker: Any = None  # nothing is submitted here
        desk = Desk(store, checker=checker, folder=ServiceFolder(Path(folder)))
        who = Access(owner="o1", role=Role.ADMIN, token="")
        name, leading = str(rows[QUEUED // 2]["name"]), Leading(store.database)

        def queue(_: int) -> None:
            pages.queue(desk.queue({"most": str(pages.ROWS)}), who, me=desk.me(who), skip=0)

        def actions(_: int) -> None:
            pages.overview(desk.show(name), who, desk.links(who, name)["links"])

        print(f"the page /queue: {_cost(queue):.0f} ms")
        print(f"the page /s/NAME/actions, of a sweep that waits: {_cost(actions):.0f} ms")
        one = Wishes(store.database).submission(name)
        assert one is not None
        done = SubmissionStanding(
            submission_id=one.id, generation=1, state=State.COMPLETE, settled=True
        )
        store.database.write(lambda c: c.execute(update(LeaderTable).values(held=False)))
        leading.record(leading.take(here()), standings=[done])
        print(f"the page /s/NAME/actions, of one that has finished: {_cost(actions):.0f} ms")


def _row(number: int, now: float) -> dict[str, object]:
    needs = asdict(Needs(workers=4, runs=10, seconds=600.0))
    text = SPEC.read_text("utf-8")
    return {
        "name": f"s{number:05}", "owner": f"o{number % OWNERS}", "spec_text": text,
        "overrides": [], "needs": needs, "priority": "normal", "after": "", "window": [],
        "key": str(number), "wanted": "running", "generation": 1,
        "created_at": now - QUEUED + number, "updated_at": now,
    }  # fmt: skip


def _look(leading: Leading, lead: object) -> None:
    found = decide(leading.scene(), Site(room=ROOM, epoch=lead.epoch))
    if not found.empty:
        leading.record(lead, standings=found.standings, grants=found.grants, events=found.events)


def _submitter(wishes: Wishes) -> Callable[[int], None]:
    text = SPEC.read_text("utf-8")

    def submit(number: int) -> None:
        new = NewSubmission(name=f"x{number}", owner="ann", spec_text=text, key=f"x{number}")
        wishes.submit(new, who="ann")

    return submit


def _cost(work: Callable[[int], None]) -> float:
    """Milliseconds of processor time, the median of ten."""
    found = []
    for number in range(10):
        began = time.process_time()
        work(number)
        found.append(1000 * (time.process_time() - began))
    return median(found)


def waits() -> None:
    """Prints how long sweeps wait, and how well that is foreseen."""
    print("| load | queue | mean wait, s | median | 95 % | longest | by class | inversions |")
    print("|---|---|---|---|---|---|---|---|")
    for load in LOADS:
        for name, play in (
            ("Sweeper", lambda listed: ours(listed, foresee=False)),
            ("ladder", ladder),
        ):
            rows = []
            for seed in SEEDS:
                listed = arrivals(seed, load=load)
                course = play(listed)
                rows.append([*_numbers(course), *by_class(course, listed, mean).values()])
            average, median, late, longest, inversions, *classes = map(
                mean, zip(*rows, strict=True)
            )
            told = ", ".join(f"{one:.0f}" for one in classes)
            print(
                f"| {load} | {name} | {average:.0f} | {median:.0f} | {late:.0f} | {longest:.0f} | "
                f"{told} | {inversions:.0f} |"
            )
    for load in LOADS[:2]:
        errors = []
        for seed in SEEDS:
            listed = arrivals(seed, load=load)
            course = ours(listed)
            errors.append([
                course.error(one.entry.name for one in listed if one.entry.priority == priority)
                for priority in ("normal", "low")
            ])  # fmt: skip
        normal, low = map(mean, zip(*errors, strict=True))
        print(f"expected start at load {load}: wrong by {normal:.0%} (normal), {low:.0%} (low)")
        futures(load)


def futures(load: float) -> None:
    """Prints how wrong the median of some simulated futures is, which know how sweeps come."""
    wrong = mean(_wrong(arrivals(seed, load=load), load) for seed in SEEDS)
    print(f"the median of {FUTURES} futures at load {load}: wrong by {wrong:.0%} (low)")


def _wrong(listed: list[Arrival], load: float) -> float:
    guesses: dict[str, float] = {}

    def seen(one: Arrival, entries: list[QueueEntry], usage: dict[str, float]) -> None:
        if one.entry.priority == "low":
            guesses[one.entry.name] = median(
                until_start(one.entry.name, entries, usage, one.at, load=load, seed=number)
                for number in range(FUTURES)
            )

    course = ours(listed, seen=seen)
    course.foreseen.update(guesses)
    return course.error(guesses)


def _numbers(course: Course) -> list[float]:
    longest = max(course.waited.values())
    return [course.mean(), course.quantile(0.5), course.quantile(0.95), longest, course.inversions]


if __name__ == "__main__":
    main()
