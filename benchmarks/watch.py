#!/usr/bin/env python3
"""The cost of the live page of 10,000 runs: looks, bytes, 1,000 readers, a sweep beside it.

    python benchmarks/watch.py
    python benchmarks/watch.py --turns 6     # the slow-down, by alternating turns

The sweep is planted: 1,000 cells with 10 replicates each, in packs of 8, half of them done.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import planted
from playing import Play
from sqlalchemy import bindparam, select

from sweeper.dashboard import listen
from sweeper.store import Store
from sweeper.store.tables import SweepTable
from sweeper.watch import pages
from sweeper.watch.feed import PageFeed
from sweeper.watch.source import WatchedDatabase, WatchedSweep

LEVELS = {
    planted.BATCH: [2**at for at in range(1, 11)],
    planted.RATIO: [1.0, 0.05],
    "train.width": [1, 2, 3, 4, 5],
    "train.weight_decay": [at / 10_000 for at in range(1, 11)],
}
READERS = 1000
TURN_S = 20.0  # of each half of the slow-down's turns


def large(folder: Path) -> tuple[str, Play]:
    """A sweep of 10,000 runs, half done, whose next rounds the caller plays."""
    url = f"sqlite:///{folder}/large.db"
    store = Store.open(url, create=True)
    play = Play(store, planted.plan(levels=LEVELS, replicates=10, epochs=2), size=8, workers=8)
    while len(play.queue) > 625:
        play.step()
    return url, play


def timed(work: Callable[[], object]) -> float:
    """The processor time of `work` in milliseconds."""
    began = time.process_time()
    work()
    return 1000 * (time.process_time() - began)


def looks(url: str, play: Play) -> None:
    """A look after each round, and what it sends."""
    with closing(WatchedDatabase(url)) as source:
        sweep = WatchedSweep(source, play.sweep.name)
        first = timed(sweep.look)
        feed = PageFeed(sweep)
        feed.board.show(*shown(sweep))
        feed.board.show({"foot": ""})
        whole = len(feed._event(None))
        page = len(feed.page(root=""))
        costs, sizes = [], []
        for _ in range(20):
            play.step()
            costs.append(timed(sweep.look))
            known = feed.board.cursor
            feed.board.show(*shown(sweep))
            sizes.append(len(feed._event(known)))
            feed._encoded.clear()
        idle = statistics.median(timed(sweep.look) for _ in range(20))
        print(f"first look        {first:8.1f} ms")
        print(f"look with change  {statistics.median(costs):8.1f} ms (at most {max(costs):.1f})")
        print(f"look, no change   {idle:8.1f} ms")
        print(f"whole state       {whole / 1000:8.1f} kB")
        print(f"page              {page / 1000:8.1f} kB")
        print(f"change            {statistics.median(sizes) / 1000:8.1f} kB")
        drawing = timed(lambda: print(f"figures           {packed(sweep, feed):8.1f} kB, gzip"))
        print(f"drawing           {drawing / 1000:8.1f} s of a processor")


def shown(sweep: WatchedSweep) -> tuple:
    state = sweep.look()
    return state.regions, state.grid


def packed(sweep: WatchedSweep, feed: PageFeed) -> float:
    feed.drawn = sweep.draw()
    feed.board.redrawn()
    return len(feed.figures()) / 1000


def readers(url: str, play: Play) -> None:
    """What a change costs with a thousand readers."""

    async def watch() -> float:
        source = WatchedDatabase(url)
        feed = PageFeed(WatchedSweep(source, play.sweep.name))
        await feed.ready()
        if feed._drawing is not None:
            await feed._drawing
        streams = [feed.changes(feed.board.cursor) for _ in range(READERS)]
        waiting = [asyncio.ensure_future(anext(stream)) for stream in streams]
        await asyncio.sleep(0.1)
        play.step()
        began = time.process_time()
        await asyncio.gather(*waiting)
        spent = 1000 * (time.process_time() - began)
        for stream in streams:
            await stream.aclose()
        feed.close()
        source.close()
        return spent

    print(f"{READERS} readers     {asyncio.run(watch()):8.1f} ms a change, looks included")


def beside(url: str, play: Play, turns: int) -> None:
    """How much a sweep's training loses: two busy processes, with and without a page beside."""
    changes = []
    for turn in range(turns):
        rates = [
            busy(url, play, watched=watched) for watched in ((False, True), (True, False))[turn % 2]
        ]
        plain, watched = rates if turn % 2 == 0 else reversed(rates)
        changes.append(100 * (1 - watched / plain))
        print(f"turn {turn + 1}: {changes[-1]:+.2f} % slower beside a page")
    spread = statistics.stdev(changes) / len(changes) ** 0.5 if len(changes) > 1 else float("nan")
    print(f"slow-down         {statistics.mean(changes):+8.2f} % (standard error {spread:.2f})")


BUSY = """
import sys, time
import numpy as np
a, count, until = np.ones((64, 64), "float32"), 0, time.monotonic() + float(sys.argv[1])
while time.monotonic() < until:
    for _ in range(200):
        a = np.tanh(a @ a / 64)
    count += 1
print(count)
"""


def busy(url: str, play: Play, *, watched: bool) -> float:
    """The rounds of two busy processes for `TURN_S`, while a sweep's rows change each second."""
    page = watching(url, play.sweep.name) if watched else None
    cores = [
        subprocess.Popen(
            [sys.executable, "-c", BUSY, str(TURN_S)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(os.cpu_count() or 1)
    ]
    while any(core.poll() is None for core in cores):
        play.step()
        time.sleep(1.0)
    if page is not None:
        for process in page:
            process.kill()
            process.wait()
    return float(sum(int(core.communicate()[0]) for core in cores))


READ = """
import sys, urllib.request
urllib.request.urlopen(sys.argv[1]).read()
stream = urllib.request.urlopen(sys.argv[1] + "/stream")
print("open", flush=True)
while stream.readline():
    pass
"""


def watching(url: str, name: str) -> list[subprocess.Popen[str]]:
    """`sweeper watch`, and one reader that has the page open."""
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    code = "from sweeper.cli import main; main()"
    words = ["watch", name, "--port", str(port), "--storage", url]
    server = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    address = server.stdout.readline().strip()
    reader = subprocess.Popen(
        [sys.executable, "-c", READ, address], stdout=subprocess.PIPE, text=True
    )
    assert reader.stdout is not None
    reader.stdout.readline()
    time.sleep(15)  # the first figures are drawn
    return [reader, server]


def sweeps(folder: Path, count: int = 10_000) -> None:
    """The list of 10,000 sweeps."""
    url = f"sqlite:///{folder}/many.db"
    one = planted.plan(levels={planted.BATCH: [2, 8]}, replicates=1, epochs=1)
    with Store.open(url, create=True) as store:
        first = store.create_sweep(one.sweep)
        multiply(store, first.id, count)
    with closing(WatchedDatabase(url)) as source:
        source.listing.page()
        spent = statistics.median(timed(lambda: listed(source)) for _ in range(5))
        print(f"list of {count} {spent:9.1f} ms")


def listed(source: WatchedDatabase) -> str:
    entries, total = source.listing.page()
    return pages.listed(entries, total=total, skip=0, root="", around=pages.Around.NOTHING)


def multiply(store: Store, first: int, count: int) -> None:
    """Copies of a sweep's row under other names."""
    table = SweepTable.__table__
    columns = [one for one in table.columns if one.name != "id"]
    name = bindparam("new")
    values = [name if one.name == "name" else one for one in columns]
    copy = table.insert().from_select(columns, select(*values).where(table.c.id == first))
    rows = [{"new": f"sweep-{at}"} for at in range(count - 1)]
    store.database.write(lambda connection: connection.execute(copy, rows))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--turns", type=int, default=0, help="of the slow-down; 0 leaves it out")
    turns = options.parse_args().turns
    with tempfile.TemporaryDirectory() as folder:
        url, play = large(Path(folder))
        looks(url, play)
        readers(url, play)
        sweeps(Path(folder))
        if turns:
            beside(url, play, turns)


if __name__ == "__main__":
    main()
