"""The numbered changes of a live page: whole, resumable, shared by a thousand readers."""

import asyncio
import json
import random
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest

from sweeper.errors import DatabaseLost, NothingStored
from sweeper.store.glance import Pulse
from sweeper.watch import feed as feeds
from sweeper.watch import pages
from sweeper.watch.board import Cursor, PageBoard, cursor
from sweeper.watch.feed import Pace, PageFeed
from sweeper.watch.grid import Grid, ranges
from sweeper.watch.source import PageState
from sweeper.watch.stream import EventStream

PLAN = {"rows": [["reported", 6, ""]], "ids": [[1, 6]], "awaited": 0, "reasons": {}}


@dataclass
class Spoken:
    """A source whose sweep is what the test says."""

    name: str = "spoken"
    codes: str = "......"
    text: str = "nothing yet"
    error: Exception | None = None
    looks: int = 0
    drawings: int = 0
    report_: str = field(default="", repr=False)

    def look(self) -> PageState:
        self.looks += 1
        if self.error is not None:
            raise self.error
        regions = {"banner": "", "progress": self.text}
        ended = self.codes.count("c")
        return PageState(Pulse(1000.0, 990.0), True, "?", regions, Grid(PLAN, self.codes), (ended,))

    def draw(self) -> pages.Drawn:
        self.drawings += 1
        return pages.Drawn(f"drawn {self.codes}", "", "", (), False)

    def run(self, run_id: int) -> None:
        return None

    def report(self) -> str:
        return self.report_


@pytest.fixture
def quick(monkeypatch):
    """PageSource as fast as the machine allows, and never rests."""
    monkeypatch.setattr(feeds, "LOOK_S", 0.001)
    monkeypatch.setattr(feeds, "DRAW_S", 0.0)
    monkeypatch.setattr(feeds, "LOOK_REST", 0)
    monkeypatch.setattr(feeds, "DRAW_REST", 0)


class Reader:
    """A page's script: what it knows after each event."""

    def __init__(self, known=None):
        self.known, self.regions, self.codes, self.events = known, {}, "", 0

    def take(self, event: bytes) -> None:
        if event.startswith(b":"):
            return
        head, body = event.decode().strip().split("\n")
        found = json.loads(body.removeprefix("data: "))
        self.known, self.events = cursor(head.removeprefix("id: ")), self.events + 1
        self.apply(found)

    def apply(self, found) -> None:
        self.regions |= found["regions"]
        self.codes = found.get("codes", self.codes)
        for at, square in found.get("squares", {}).items():
            self.codes = self.codes[: int(at)] + square[0] + self.codes[int(at) + 1 :]

    async def until(self, events, true) -> None:
        while not true():
            self.take(await anext(events))


def test_a_reader_may_go_on_from_any_number():
    """Whoever knows any earlier state and takes what came after it knows the state of now."""
    random_ = random.Random(5)
    board, codes = PageBoard("b"), ["."] * 40
    states = {}
    for number in range(60):
        codes[random_.randrange(40)] = random_.choice(".rcpA")
        plan = PLAN | {"awaited": number // 25}
        board.show({"progress": f"at {number // 3}"}, Grid(plan, "".join(codes)))
        states[board.number] = ("".join(codes), board.regions)
    for known, (old_codes, old_regions) in states.items():
        reader = Reader()
        reader.codes, reader.regions = old_codes, dict(old_regions)
        reader.apply(board.since(Cursor("b", known)))
        assert (reader.codes, reader.regions) == states[board.number]
    assert board.since(board.cursor) == {"regions": {}}


@pytest.mark.parametrize("known", [None, Cursor("another", 3), Cursor("b", 99)])
def test_an_unknown_number_gets_everything(known):
    """A reader of a server that was started again gets the whole state."""
    board = PageBoard("b")
    board.show({"progress": "half"}, Grid(PLAN, "ccc..."))
    found = board.since(known)
    assert found["regions"] == {"progress": "half"}
    assert found["codes"] == "ccc..."


def test_what_is_as_before_is_no_change():
    """A look that finds nothing new gives no number, so nobody is woken."""
    board = PageBoard("b")
    assert board.show({"progress": "half"}, Grid(PLAN, "ccc..."))
    assert not board.show({"progress": "half"}, Grid(PLAN, "ccc..."))
    assert board.show({"progress": "half"}, Grid(PLAN, "ccc.r.", {4: 3}))
    assert board.since(Cursor("b", 1)) == {"regions": {}, "squares": {4: "r3"}}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ab-12", Cursor("ab", 12)),
        ("", None),
        (None, None),
        ("12", None),
        ("ab-", None),
        ("ab--1", Cursor("ab-", 1)),
        ("ab-1e3", None),
        ("ab-" + "9" * 40, None),
        ("ab-٣", None),
    ],
)
def test_a_cursor_is_read_or_ignored(text, found):
    """The header comes from a stranger."""
    assert cursor(text) == found


def test_ranges_are_the_numbers():
    """Consecutive numbers are written as a start and a count."""
    numbers = [3, 4, 5, 9, 11, 12, 2]
    assert [n for start, count in ranges(numbers) for n in range(start, start + count)] == numbers
    assert len(list(ranges(range(10_000)))) == 1


def test_a_pace_rests_in_proportion_to_the_cost():
    """What took a second rests for `rest` seconds; what took nothing for the least time."""
    pace = Pace(least=2.0, rest=50)
    pace.took(began=100.0, seconds=0.001)
    assert pace.next_at == 102.0
    pace.took(began=100.0, seconds=0.4)
    assert pace.next_at == 120.0


def test_a_thousand_readers_share_each_look(quick):
    """Every reader hears of a change, and the database is read as often as for one."""

    async def watch():
        source = Spoken()
        feed = PageFeed(source)
        await feed.ready()
        readers = [Reader() for _ in range(1000)]
        streams = [feed.changes(None) for _ in readers]
        for reader, stream in zip(readers, streams, strict=True):
            await reader.until(stream, lambda reader=reader: reader.events)
        looks = source.looks
        source.codes = "cr...."
        waits = [
            reader.until(stream, lambda reader=reader: reader.codes == "cr....")
            for reader, stream in zip(readers, streams, strict=True)
        ]
        await asyncio.gather(*waits)
        assert source.looks - looks < 200  # by rounds, not by readers
        assert len(feed._encoded) < 10
        for stream in streams:
            await stream.aclose()
        assert feed.readers == 0
        await asyncio.sleep(0.01)
        looks = source.looks
        await asyncio.sleep(0.05)
        assert source.looks == looks  # nobody reads: nothing is read
        feed.close()

    asyncio.run(watch())


def test_a_slow_reader_gets_the_newest_state_in_one_event(quick):
    """What it missed is not kept for it, so memory does not grow with slow readers."""

    async def watch():
        source = Spoken()
        feed = PageFeed(source)
        await feed.ready()
        fast, slow = Reader(), Reader()
        async with aclosing(feed.changes(None)) as one, aclosing(feed.changes(None)) as other:
            slow.take(await anext(other))
            before = slow.events
            for at in range(6):
                source.codes = "c" * (at + 1) + "." * (5 - at)
                await fast.until(one, lambda: fast.codes == source.codes)
            slow.take(await anext(other))
            assert slow.codes == "cccccc"
            assert slow.events == before + 1
        feed.close()

    asyncio.run(watch())


def test_figures_are_drawn_when_a_run_has_ended_only(quick):
    """A round that ends no run draws nothing."""

    async def watch():
        source = Spoken(codes="rr....")
        feed = PageFeed(source)
        reader = Reader()
        async with aclosing(feed.changes(None)) as events:
            await reader.until(events, lambda: feed.board.figures and reader.events)
            first, drawn = feed.board.figures, source.drawings
            source.text = "a round has ended"
            await reader.until(events, lambda: reader.regions["progress"] == source.text)
            assert (feed.board.figures, source.drawings) == (first, drawn)
            source.codes = "cr...."
            await reader.until(events, lambda: feed.board.figures > first)
        assert json.loads(feeds.gzip.decompress(feed.figures()))["regions"]["answer"] == (
            "drawn cr...."
        )
        feed.close()

    asyncio.run(watch())


def test_a_database_that_is_away_is_said_and_found_again(quick):
    """Readers keep what they have, with a banner that names no path."""

    async def watch():
        source = Spoken()
        feed = PageFeed(source)
        reader = Reader()
        async with aclosing(feed.changes(None)) as events:
            await reader.until(events, lambda: "progress" in reader.regions)
            source.error = DatabaseLost("sqlite:////home/me/x.db: the database does not answer")
            await reader.until(events, lambda: "does not answer" in reader.regions["banner"])
            assert "/home/me" not in reader.regions["banner"]
            source.error, source.text = None, "again"
            await reader.until(events, lambda: reader.regions["progress"] == "again")
            assert reader.regions["banner"] == ""
        feed.close()

    asyncio.run(watch())


def test_a_sweep_that_is_not_there_is_no_feed():
    """The first look tells."""
    feed = PageFeed(Spoken(error=NothingStored("no sweep named 'x'")))
    with pytest.raises(NothingStored):
        asyncio.run(feed.ready())


async def many():
    while True:
        yield b"data: x\n\n"


async def never() -> dict:
    await asyncio.Event().wait()
    return {}


def test_a_reader_that_takes_nothing_is_let_go(monkeypatch):
    """A send that does not end, ends the stream; so does a reader that leaves."""
    monkeypatch.setattr("sweeper.watch.stream.STUCK_S", 0.01)

    async def stuck(message):
        if message["type"] == "http.response.body":
            await never()

    async def left() -> dict:
        return {"type": "http.disconnect"}

    async def taken(message):
        await asyncio.sleep(0)

    asyncio.run(EventStream(many())({}, never, stuck))
    asyncio.run(EventStream(many())({}, left, taken))
