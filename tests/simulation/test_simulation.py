"""Case 52: the engine on a virtual clock, under faults that are drawn from a seed.

The undisturbed sweep is the formula of `training`: what a seed's sweep has at its end is compared
with it, to the bit.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import HANG
from sqlalchemy import Connection, func, select, update

from sweeper.engine.conductor import Conductor
from sweeper.engine.messages import PackProgress
from sweeper.states import UNCOUNTED
from sweeper.store import lease as leases
from sweeper.store import mirror, reads
from sweeper.store.recording import Ledger
from sweeper.store.tables import CellTable, LeaseTable, clock
from tests.simulation import running
from tests.simulation.__main__ import main
from tests.simulation.running import Stage
from tests.simulation.world import Faults

ROOT = Path(__file__).parents[2]
SEEDS = int(os.environ.get("SIMULATED_SEEDS", "80"))  # 300 in CI
PARTS = 4  # that share the processors
SOAKED = 30_000
FOUND_WITHIN = 200


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with running.stage() as stage:
        yield stage


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_no_promise_is_broken_under_faults(stage: Stage, part: int) -> None:
    """Nothing lost, nothing twice, legal moves, owners, equal numbers, and an end."""
    for seed in range(part, SEEDS, PARTS):
        stage.simulate(seed)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(30))
def test_no_promise_is_broken_under_many_more_faults(stage: Stage, part: int) -> None:
    """30,000 seeds in all."""
    for seed in range(SEEDS + part, SOAKED, 30):
        stage.simulate(seed)


def test_a_sweep_that_nothing_disturbs_has_no_second_try(stage: Stage) -> None:
    """One launch, one attempt a run: what is simulated is a sweep as it should be."""
    result = stage.simulate(1, Faults(until=0))
    assert result.launches == 1
    assert result.attempts == 6


def test_a_seed_says_the_same_in_another_process(stage: Stage) -> None:
    """What failed once fails again: no order of a set, no clock and no identifier has a say."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed", "3"],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "3"},
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert stage.simulate(3).digest in ran.stdout


def test_seeds_can_be_run_from_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A seed that failed is looked at alone, with all that happened."""
    monkeypatch.setattr(sys, "argv", ["simulation", "--first", "10", "--seeds", "2"])
    assert main() == 0
    assert "2 seeds" in capsys.readouterr().out


# --- faults that are planted in the engine: a simulation that finds none proves nothing


def no_fence(connection: Connection, lease: Any) -> None:
    """Beats, whoever has the lease."""
    connection.execute(update(LeaseTable).values(beat_at=clock()))


def mirror_too_soon(connection: Connection, sweep_id: int, *, limit: int) -> list[Any]:
    """Takes a cell for finished while its last result is on its way."""
    query = select(CellTable.__table__).where(
        CellTable.sweep_id == sweep_id, ~CellTable.mirrored, CellTable.open_runs <= 1
    )
    return [reads.cell(row) for row in connection.execute(query.limit(limit))]


def going_back(
    self: Ledger, run: Any, report: Any, *, late: bool, reach: Any = Ledger._reach
) -> None:
    """Item A13: lets a round that comes late cut off the later ones of its own attempt."""
    reach(self, run, report, late=False)


def taking_in_again(
    self: Conductor, running: Any, message: Any, take: Any = Conductor._round
) -> None:
    """Passes such a round on to the ledger, which has the last word."""
    running.reached = PackProgress()
    take(self, running, message)


def charged_twice(
    self: Ledger, run: Any, attempt: Any, end: Any, to_end: Any = Ledger._end
) -> None:
    """Counts a failure twice towards a run's last try."""
    run.counted += end.ending not in UNCOUNTED
    to_end(self, run, attempt, end)


def without_direction(table: Any) -> Any:
    """Lets a beat from the future count as long as one from the past."""
    return func.abs(leases.age(table)) > leases.EXPIRY


@pytest.mark.parametrize(
    ("planted", "faults"),  # what goes wrong often enough that few seeds have to be tried
    [
        ([(leases, "touch", no_fence)], Faults(until=100, rival_every=10, stop_every=20)),
        ([(mirror, "_finished", mirror_too_soon)], Faults(until=100, statement_kill=0.01)),
        (
            [(Ledger, "_reach", going_back), (Conductor, "_round", taking_in_again)],
            Faults(until=100, stopped_worker=0.05, late=0.3, late_seconds=20, doubled=0.3),
        ),
        ([(Ledger, "_end", charged_twice)], Faults(until=100, crash=0.1, failure=0.1)),
    ],
    ids=["no fence", "mirror before the commit", "a round cut by a late one", "charged twice"],
)
def test_a_fault_planted_in_the_engine_is_found(
    stage: Stage,
    planted: list[tuple[Any, str, Any]],
    faults: Faults,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Within 200 seeds at the most, by a seed that is well without it."""
    seed = finds(stage, planted, range(FOUND_WITHIN), monkeypatch, faults)
    stage.simulate(seed, faults)


@pytest.mark.soak
def test_a_beat_from_the_future_that_counts_for_40_seconds_is_found(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seldom: a driver must die as the clock is set back, and the next ones start elsewhere.

    `tests/contract/test_lease.py::test_40_a_clock_set_back_a_little_does_not_hold_a_dead_drivers_sweep`
    has the rule.
    """
    planted = [(leases, "expired", without_direction)]
    stage.simulate(finds(stage, planted, range(8673, 8673 + SOAKED), monkeypatch))


def finds(
    stage: Stage,
    planted: list[tuple[Any, str, Any]],
    seeds: range,
    monkeypatch: pytest.MonkeyPatch,
    faults: Faults | None = None,
) -> int:
    """The first of the seeds that breaks a promise while this is planted."""
    with monkeypatch.context() as patched:
        for where, name, what in planted:
            patched.setattr(where, name, what)
        found = running.first_broken(stage, seeds, faults)
    assert found is not None
    print(f"found by seed {found[0]}: {found[1]}")
    return found[0]
