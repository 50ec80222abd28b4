"""What must be true of a simulated sweep's history: looked at from outside, by SQL of its own.

Triggers in the template write down, in the same transaction, each move of a run, each number and
each trial, with the driver that wrote it: what is rolled back is not there.
"""

from __future__ import annotations

import json
import math
import sqlite3
import struct
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from sweeper.states import RunState
from sweeper.store import Store
from tests.simulation import training
from tests.simulation.world import World

LEGAL = {
    ("pending", "running"),
    ("pending", "failed"),
    ("pending", "pruned"),
    ("running", "pending"),
    ("running", "complete"),
    ("running", "failed"),
    ("running", "pruned"),
    ("failed", "pending"),
}
UNCOUNTED = {"cancelled", "preempted", "node_lost", "superseded", "silent", "node_unfit"}
FINAL = {"diverged", "bad_config"}
BLAMES = {"error", "out_of_memory", "crashed"}
OWNERLESS = 60.0  # seconds that a run may be shown as running while nobody runs it

TABLE = """
CREATE TABLE sim_event (
    id INTEGER PRIMARY KEY, at REAL, what TEXT, run INTEGER, old TEXT, new TEXT,
    writer INTEGER, holder INTEGER
);
"""
HOLDER = "SELECT json_extract(holder, '$.pid') * held FROM sweeper_lease"
OPEN_RUNS = """(
    SELECT count(*) FROM sweeper_run r JOIN sweeper_cell c ON c.id = r.cell_id
    WHERE c.hash = json_extract(new.value_json, '$') AND r.state IN ('pending', 'running')
)"""


def _noted(what: str, moment: str, *, run: str, old: str = "NULL", new: str) -> str:
    """A trigger that writes down what has happened, who wrote it, and who had the lease."""
    return f"""
CREATE TRIGGER sim_{what} AFTER {moment} BEGIN
    INSERT INTO sim_event (at, what, run, old, new, writer, holder)
    VALUES (sim_now(), '{what}', {run}, {old}, {new}, sim_pid(), ({HOLDER}));
END;
"""  # noqa: S608


HISTORY = "".join(
    [
        TABLE,
        _noted(
            "move",
            "UPDATE OF state ON sweeper_run WHEN old.state <> new.state",
            run="new.id",
            old="old.state",
            new="new.state",
        ),
        _noted("number", "INSERT ON sweeper_observation", run="new.run_id", new="new.epoch"),
        _noted("attempt", "INSERT ON sweeper_attempt", run="new.run_id", new="new.id"),
        _noted(
            "end",
            "UPDATE OF ended_at ON sweeper_attempt "
            "WHEN old.ended_at IS NULL AND new.ended_at IS NOT NULL",
            run="new.run_id",
            old="new.id",
            new="new.ending",
        ),
        _noted(
            "trial",
            "INSERT ON trial_user_attributes WHEN new.key = 'sweeper:cell'",
            run=OPEN_RUNS,
            new="new.value_json",
        ),
    ]
)


class Broken(AssertionError):
    """A promise that was not kept."""


def ensure(holds: object, what: str) -> None:
    if not holds:
        raise Broken(what)


class Event(NamedTuple):
    at: float
    what: str
    run: int
    old: str | None
    new: str
    writer: int
    holder: int


class Alone(NamedTuple):
    """A run that the rows call running and nobody runs."""

    run: int
    attempt: int
    driver_lives: bool
    jumped: float  # of the database's clock


class Observer:
    """Looks now and then at what `status` would show: who is running must be run by somebody.

    A living driver has its time to notice that a worker is gone, and readers have theirs to notice
    that the driver is gone. So the time without an owner begins anew with the driver's death, and
    with a jump of the database's clock, by which the driver's last beat may have become younger.
    Seconds in which drivers cannot get on do not count while its driver lives.
    """

    def __init__(self, world: World, store: Store, plot: Any) -> None:
        self._world, self._store, self._plot = world, store, plot
        self._sweep = 1  # the only one
        self._path = store.database.address.path
        self._since: dict[Alone, float] = {}  # when first seen without an owner

    def watch(self) -> None:
        """Looks every ten seconds."""
        while True:
            self._world.sleep(10.0)
            self._look()

    def _look(self) -> None:
        alone = self._alone()
        if alone:
            shown = self._store.runs(self._sweep)
            running = {run.id for run in shown if run.state is RunState.RUNNING}
            alone = [one for one in alone if one.run in running]
        now, hampered = self._world.now, self._world.hampered
        moment = {one: now - hampered if one.driver_lives else now for one in alone}
        self._since = {one: self._since.get(one, moment[one]) for one in alone}
        for one, since in self._since.items():
            lasts = moment[one] - since
            ensure(
                lasts <= OWNERLESS, f"run {one.run} is running without an owner for {lasts:.0f} s"
            )

    def _alone(self) -> list[Alone]:
        query = """
            SELECT r.id, a.id, e.writer FROM sweeper_run r
            LEFT JOIN sweeper_attempt a ON a.run_id = r.id AND a.ended_at IS NULL
            LEFT JOIN sim_event e ON e.what = 'attempt' AND e.new = CAST(a.id AS TEXT)
            WHERE r.state = 'running'
        """
        assert self._path is not None
        living = {one.process.pid: one.pool for one in self._plot.drivers if not one.process.dead}
        with closing(sqlite3.connect(self._path)) as connection:
            rows = connection.execute(query).fetchall()
        owned = {run for run, *_ in rows for pool in living.values() if pool and pool.holds(run)}
        jumped = self._world.jumped
        return [
            Alone(run, one, pid in living, jumped) for run, one, pid in rows if run not in owned
        ]


def check(path: Path, *, epochs: list[int], attempts: int, failed: set[tuple[int, str]]) -> int:
    """Everything that must be true of a finished sweep.

    Args:
        attempts: how often a run may fail.
        failed: how trainings have ended in truth.

    Returns:
        how many attempts it took.

    Raises:
        Broken: something is not.
    """
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row

        def rows(query: str) -> list[Any]:
            return connection.execute(query).fetchall()

        events = [
            Event(**{name: row[name] for name in Event._fields})
            for row in rows("SELECT * FROM sim_event ORDER BY id")
        ]
        _check_writers(events)
        _check_moves(events)
        _check_attempts_in_time(events)
        _check_last_tries(events, most=attempts)
        _check_blame(events, failed)
        _check_runs(rows, epochs=epochs, attempts=attempts)
        _check_mirror(rows, events)
        _check_sweep(rows)
        return len(rows("SELECT id FROM sweeper_attempt"))


def _check_writers(events: list[Event]) -> None:
    for one in events:
        ensure(
            one.writer == one.holder,
            f"{one.what} of run {one.run} at {one.at:.1f} s was written by process "
            f"{one.writer} while {one.holder} held the lease",
        )


def _check_moves(events: list[Event]) -> None:
    state: dict[int, str] = defaultdict(lambda: "pending")
    for one in events:
        if one.what == "move":
            ensure(one.old == state[one.run], f"run {one.run} was {state[one.run]}: {one}")
            ensure((one.old, one.new) in LEGAL, f"illegal move: {one}")
            state[one.run] = one.new


def _check_attempts_in_time(events: list[Event]) -> None:
    """A run has at most one open attempt, and none once it is complete."""
    open_now: dict[int, str] = {}
    for one in events:
        if one.what == "attempt":
            ensure(one.run not in open_now, f"a second open attempt: {one}")
            open_now[one.run] = one.new
        elif one.what == "end":
            ensure(open_now.pop(one.run, None) == one.old, f"an attempt ended twice: {one}")
    ensure(not open_now, f"attempts stay open: {open_now}")


def _check_last_tries(events: list[Event], *, most: int) -> None:
    """A run fails with its last try, and not before, unless it would end the same way again."""
    counted, last = Counter[int](), dict[int, str]()
    for one in events:
        if one.what == "end":
            last[one.run] = one.new
            counted[one.run] += one.new not in UNCOUNTED | {"complete", "pruned"}
        elif one.what == "move" and one.old == "failed":
            counted[one.run] = 0  # somebody has asked for it
        elif one.what == "move" and one.new in ("failed", "pending"):
            spent = counted[one.run] >= most or last[one.run] in FINAL
            tries = f"{counted[one.run]} of {most} tries"
            ensure(spent == (one.new == "failed"), f"run {one.run} is {one.new} after {tries}")


def _check_blame(events: list[Event], failed: set[tuple[int, str]]) -> None:
    """No attempt is charged with what has not happened to it."""
    for one in events:
        if one.what == "end" and one.new in BLAMES:
            ensure((int(one.old or 0), one.new) in failed, f"{one} is charged, and was well")


def _check_runs(rows: Any, *, epochs: list[int], attempts: int) -> None:
    configs = {row["id"]: json.loads(row["config"]) for row in rows("SELECT * FROM sweeper_cell")}
    tries, curves = defaultdict(list), defaultdict(dict)
    for row in rows("SELECT * FROM sweeper_attempt ORDER BY id"):
        tries[row["run_id"]].append(row)
    for row in rows("SELECT * FROM sweeper_observation"):
        curves[row["run_id"]][row["epoch"]] = row["numbers"]
    bits = {row["run_id"]: row["bits"] for row in rows("SELECT * FROM sweeper_prediction")}
    for run in rows("SELECT * FROM sweeper_run"):
        lr = configs[run["cell_id"]]["train"]["lr"]
        _check_attempts(run, tries[run["id"]], most=attempts)
        _check_numbers(run, lr, curves[run["id"]], epochs)
        expected = training.bits(lr, replicate=run["replicate"])
        if run["state"] == "complete":
            ensure(bits.get(run["id"]) == expected, f"run {run['id']} has other predictions")
        else:
            ensure(run["id"] not in bits, f"run {run['id']} has predictions and is not complete")


def _check_attempts(run: Any, tries: list[Any], *, most: int) -> None:
    who, endings = f"run {run['id']}", [one["ending"] for one in tries]
    numbers = [one["number"] for one in tries]
    ensure(numbers == list(range(1, len(tries) + 1)), f"{who} has attempts {numbers}")
    epochs = [one["lease_epoch"] for one in tries]
    ensure(epochs == sorted(epochs), f"{who} has attempts of epochs {epochs}")
    ensure(all(endings), f"{who} has an attempt without an ending")
    counted = [
        one
        for one in tries
        if one["number"] > run["forgiven"] and one["ending"] not in UNCOUNTED | {"complete"}
    ]
    if run["state"] == "complete":
        ensure(endings.count("complete") == 1 and endings[-1] == "complete", f"{who}: {endings}")
        ensure(len(counted) < most, f"{who} is complete after {len(counted)} failures")
    else:
        ensure(run["state"] == "failed", f"{who} is {run['state']}")
        final = endings[-1] in FINAL
        ensure(final or len(counted) == most, f"{who} failed after {len(counted)} of {most} tries")


def _check_numbers(run: Any, lr: float, curve: dict[int, bytes], epochs: list[int]) -> None:
    who, diverges = f"run {run['id']}", lr >= training.DIVERGES
    ensure(run["state"] == ("failed" if diverges else "complete"), f"{who} is {run['state']}")
    wanted = [epoch for epoch in epochs if not diverges or epoch <= 2]
    ensure(sorted(curve) == wanted, f"{who} has numbers of {sorted(curve)}, not of {wanted}")
    for epoch, packed in curve.items():
        expected = training.numbers(
            lr, replicate=run["replicate"], epoch=epoch, length=len(packed) // 4
        )
        ensure(packed == expected, f"{who} has other numbers at epoch {epoch}")
    if not diverges:
        value = training.value(lr, replicate=run["replicate"], epoch=epochs[-1])
        stored = struct.unpack("<f", struct.pack("<f", value))[0]
        ensure(run["value"] == stored, f"{who} is worth {run['value']}, not {stored}")
        ensure(run["epoch"] == epochs[-1], f"{who} is complete at epoch {run['epoch']}")


def _check_mirror(rows: Any, events: list[Event]) -> None:
    """One trial a cell, written only when its runs had been committed as ended."""
    for one in events:
        if one.what == "trial":
            ensure(one.run == 0, f"cell {one.new} was mirrored with {one.run} open runs")
    hashes = Counter(
        json.loads(row["value_json"])
        for row in rows("SELECT * FROM trial_user_attributes WHERE key = 'sweeper:cell'")
    )
    cells = rows("SELECT * FROM sweeper_cell")
    ensure(hashes == Counter(c["hash"] for c in cells), "the study has not one trial a cell")
    trials = {row["number"]: row for row in rows("SELECT * FROM trials")}
    ensure(len(trials) == len(cells), f"the study has {len(trials)} trials")
    worth = {row["trial_id"]: row["value"] for row in rows("SELECT * FROM trial_values")}
    for cell in cells:
        trial = trials[cell["optuna_number"]]
        runs = rows(f"SELECT * FROM sweeper_run WHERE cell_id = {cell['id']}")  # noqa: S608
        values = [run["value"] for run in runs if run["value"] is not None]
        ensure(cell["mirrored"] and cell["open_runs"] == 0, f"cell {cell['id']} is not mirrored")
        ensure(trial["state"] == ("COMPLETE" if values else "FAIL"), f"trial is {trial['state']}")
        if values:
            mean = math.fsum(values) / len(values)
            ensure(math.isclose(worth[trial["trial_id"]], mean), "a trial has another value")


def _check_sweep(rows: Any) -> None:
    [sweep] = rows("SELECT * FROM sweeper_sweep")
    [lease] = rows("SELECT * FROM sweeper_lease")
    ensure(sweep["state"] == "complete", f"the sweep is {sweep['state']}")
    ensure(not lease["held"], "the lease is still held")
    placed = Counter[int]()
    for pack in rows("SELECT * FROM sweeper_pack WHERE NOT dissolved"):
        placed.update(json.loads(pack["run_ids"]))
    runs = {row["id"] for row in rows("SELECT id FROM sweeper_run")}
    ensure(set(placed) <= runs, "a pack holds a run that is not there")
    twice = [run for run, count in placed.items() if count > 1]
    ensure(not twice, f"runs {twice} are in two packs")


def history(path: Path) -> Iterator[str]:
    """The committed events in words, for whoever reads a failure."""
    with closing(sqlite3.connect(path)) as connection:
        for row in connection.execute("SELECT * FROM sim_event ORDER BY id"):
            yield " ".join(map(str, row))
