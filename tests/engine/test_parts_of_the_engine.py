"""The engine's pure parts: picks, estimates, reasons, the breaker."""

from __future__ import annotations

import math
import os
from pathlib import Path

import optuna
import pytest
from ray import exceptions

from sweeper.engine import checkpoint_paths, cluster, endings
from sweeper.engine.circuit_breaker import CircuitBreaker
from sweeper.engine.pruning import Pruning
from sweeper.engine.tuning import pick
from sweeper.engine.tuning import places as distances
from sweeper.eta import Eta, Seen
from sweeper.states import Ending
from trainers.config import ConfigError


@pytest.mark.parametrize(
    ("values", "maximize", "chosen"),
    [
        ([[0.1], [0.3], [0.2]], True, 1),
        ([[0.1], [0.3], [0.2]], False, 0),
        ([[], [0.3], []], False, 1),
        ([[], [], []], True, None),
        # 0.5 and 0.52 are within one standard error: the middle one is taken
        ([[0.52, 0.48, 0.56], [0.5, 0.5, 0.5], [0.1, 0.1, 0.1]], True, 1),
        ([[0.52, 0.52, 0.52], [0.5, 0.5, 0.5], [0.1, 0.1, 0.1]], True, 0),
    ],
)
def test_the_pick_is_the_best_candidate_or_the_middle_one_of_its_equals(
    values, maximize, chosen
) -> None:
    """Ties within a standard error of the best say nothing; the middle is the safer choice."""
    assert pick(values, places=[1.0, 0.0, 1.0], maximize=maximize) == chosen


def test_the_middle_is_judged_by_rank() -> None:
    """Candidates on a log scale are as far from the middle as their rank, not their size."""
    factors = [{"lr": lr} for lr in (1e-4, 1e-3, 1e-2, 1e-1, 1.0)]
    assert distances(factors, {"lr": None}) == pytest.approx([1.0, 0.25, 0.0, 0.25, 1.0])


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (exceptions.ActorDiedError(), Ending.CRASHED),
        (exceptions.WorkerCrashedError(), Ending.CRASHED),
        (exceptions.NodeDiedError("the node died"), Ending.NODE_LOST),
        (
            exceptions.OutOfMemoryError(
                "Task was killed due to the node running low on memory.\nMemory on the node"
            ),
            Ending.HOST_OUT_OF_MEMORY,
        ),
    ],
)
def test_what_ray_says_becomes_a_reason(error, ending) -> None:
    """The reason decides whether a retry counts; the text is kept for the user."""
    found, text = endings.of_ray(f"Failure # 1 (occurred at noon)\n{error}\n")
    assert found is ending
    assert text


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (ValueError("x"), Ending.ERROR),
        (MemoryError(), Ending.HOST_OUT_OF_MEMORY),
        (RuntimeError("CUDA out of memory. Tried to allocate"), Ending.OUT_OF_MEMORY),
        (ConfigError("train.depth", 9, "is none"), Ending.BAD_CONFIG),
    ],
)
def test_what_the_trainer_raises_becomes_a_reason(error, ending) -> None:
    """The class of an exception inside the worker decides the reason."""
    found, text = endings.of_exception(error)
    assert found is ending
    assert len(text) <= endings.LAST_CHARACTERS


def test_the_breaker_counts_cells_and_forgets_at_a_success() -> None:
    """One cell that is tried again and again is not many; a success ends the row."""
    breaker = CircuitBreaker(failures=3, attempts=3)
    for _ in range(5):
        breaker.failure(Ending.ERROR, [1])
    assert not breaker.tripped
    breaker.failure(Ending.ERROR, [2])
    breaker.success()
    breaker.failure(Ending.ERROR, [3, 4])
    assert not breaker.tripped
    breaker.failure(Ending.CRASHED, [5])
    assert not breaker.tripped, "another reason begins another row"
    breaker.failure(Ending.CRASHED, [6, 7])
    assert "3 cells in a row ended with crashed" in breaker.tripped


def test_the_breaker_ends_what_never_stops() -> None:
    """A node that is lost again and again counts against no run, and yet must end."""
    breaker = CircuitBreaker(failures=2, attempts=3)
    for _ in range(7):
        breaker.failure(Ending.NODE_LOST, [1])
    assert not breaker.tripped
    breaker.failure(Ending.NODE_LOST, [1])
    assert breaker.tripped


def test_the_time_left_follows_what_packs_have_taken() -> None:
    """Prices are corrected by the packs that have ended; before that they are good to a factor."""
    eta = Eta(lambda: 2)
    for _ in range(10):
        eta.queued(10.0)
    assert eta.left(0.0) == pytest.approx((50.0, 25.0, 100.0))
    for seconds in (18.0, 22.0, 20.0, 20.0):
        eta.queued(10.0, sign=-1)
        eta.round("t", Seen(price=10.0, share=1.0, seconds=seconds))
        eta.over("t", whole=True)
    left = eta.left(20.0)
    assert left is not None
    assert left[0] == pytest.approx((6 * 20 + 20) / 2)
    assert left[1] < left[0] < left[2] < 1.3 * left[0]


def test_the_time_left_of_packs_without_a_price_is_not_known_at_first() -> None:
    """No guess is better than a zero."""
    eta = Eta(lambda: 1)
    eta.queued(0.0)
    assert eta.left(0.0) is None
    eta.round("t", Seen(price=0.0, share=0.25, seconds=5.0))
    assert eta.left(0.0) == pytest.approx((20.0, 20.0 / 1.5, 30.0)), "a quarter took 5 s"
    assert eta.left(None) is None


def test_the_time_left_learns_from_each_round() -> None:
    """A pack may take hours; its first rounds say how far off the price is."""
    eta = Eta(lambda: 1)
    eta.queued(100.0)
    assert eta.left(0.0) == pytest.approx((100.0, 50.0, 200.0))
    eta.round("a", Seen(price=100.0, share=0.1, seconds=30.0))
    assert eta.left(0.0) == pytest.approx((300.0, 200.0, 450.0))
    eta.round("b", Seen(price=10.0, share=1.0, seconds=10.0))
    assert eta.left(0.0) == pytest.approx((200.0, 200 / 1.5, 300.0)), "by work, not by pack"
    eta.over("b", whole=False)
    assert eta.left(0.0) == pytest.approx((300.0, 200.0, 450.0)), "a pack that failed says nothing"


def test_a_pack_that_went_on_from_a_checkpoint_is_judged_by_what_it_trained() -> None:
    """Half a pack in half the time is as foretold."""
    eta = Eta(lambda: 1)
    eta.round("a", Seen(price=100.0, share=0.5, seconds=50.0))
    eta.over("a", whole=True)
    eta.queued(40.0)
    left = eta.left(0.0)
    assert left is not None
    assert left[0] == pytest.approx(40.0)


def test_the_time_left_counts_what_will_follow() -> None:
    """Runs that wait for tuning are not there yet, and take their time nevertheless."""
    eta = Eta(lambda: 2)
    eta.queued(10.0)
    assert eta.left(0.0, awaited=(30.0, 0)) == pytest.approx((20.0, 10.0, 40.0))
    assert eta.left(0.0, awaited=(0.0, 3)) is None, "without any price nobody knows"


def test_a_cell_is_judged_once_all_its_replicates_have_come_as_far() -> None:
    """A replicate that is ahead never stands for the cell."""
    pruning = Pruning(
        optuna.pruners.ThresholdPruner(lower=0.5, n_warmup_steps=0), direction="maximize"
    )
    see = {"group": "report", "of": [1, 2]}
    assert not pruning.see(7, replicate=1, evaluation=1, value=0.0, **see)
    assert not pruning.see(7, replicate=1, evaluation=2, value=0.0, **see)
    assert pruning.see(7, replicate=2, evaluation=1, value=0.9, **see), "the mean 0.45 is below 0.5"
    assert not pruning.see(7, replicate=2, evaluation=1, value=0.0, **see), "judged already"


def test_a_replicate_that_has_left_is_not_waited_for() -> None:
    """A member that diverged would keep its cell from ever being judged."""
    pruning = Pruning(
        optuna.pruners.ThresholdPruner(lower=0.5, n_warmup_steps=0), direction="maximize"
    )
    assert pruning.see(7, group="report", replicate=2, evaluation=1, value=0.1, of=[2])
    assert pruning.see(8, group="report", replicate=3, evaluation=1, value=math.nan, of=[3])


def test_checkpoints_lie_beside_the_sqlite_file_or_where_the_variable_says(tmp_path) -> None:
    """One place a database; a cluster names a shared one."""
    url = f"sqlite:///{tmp_path}/a.db"
    assert (
        Path(checkpoint_paths.of(url, environment={}).root)
        == tmp_path / "a.db.files" / "checkpoints"
    )
    for shared in (str(tmp_path / "shared"), f"file://{tmp_path}/shared"):
        named = {checkpoint_paths.VARIABLE: shared}
        found = checkpoint_paths.of("postgresql://h/d", environment=named)
        assert Path(found.root).parent == tmp_path / "shared"


@pytest.mark.parametrize("shared", [True, False])
def test_checkpoints_of_two_databases_never_meet(tmp_path, monkeypatch, shared) -> None:
    """Every database begins with sweep 1 and pack 1; a shared folder holds those of many."""
    monkeypatch.chdir(tmp_path)
    variables = {checkpoint_paths.VARIABLE: str(tmp_path / "shared")} if shared else {}
    urls = [
        "postgresql://me:first@h/a",
        "postgresql://me:first@h/b",
        "postgresql://me:first@other/a",
        f"sqlite:///{tmp_path}/a.db",
        f"sqlite:///{tmp_path}/b.db",
    ]
    folders = [checkpoint_paths.of(url, environment=variables).of_pack(1, pack=1) for url in urls]
    assert len(set(folders)) == len(urls)
    changed = checkpoint_paths.of("postgresql://me:second@h/a", environment=variables).of_pack(
        1, pack=1
    )
    assert changed == folders[0], "a new password is no new database"


def test_a_home_in_the_address_is_the_users(tmp_path, monkeypatch) -> None:
    """The store reads ~ as the home folder; checkpoints must not lie in a folder of that name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    found = checkpoint_paths.of("sqlite:///~/a.db", environment={})
    assert Path(found.root) == tmp_path / "a.db.files" / "checkpoints"


def test_removing_the_last_checkpoints_leaves_no_empty_folder_of_ours(tmp_path) -> None:
    """A folder of the user is never removed, whatever its name."""
    beside = checkpoint_paths.of(f"sqlite:///{tmp_path}/a.db", environment={})
    Path(beside.of_pack(1, pack=2)).mkdir(parents=True)
    beside.remove(1, pack=2)
    assert list(tmp_path.iterdir()) == []
    mine = tmp_path / "sweep-9" / "my.files"
    shared = checkpoint_paths.of(
        "postgresql://h/d", environment={checkpoint_paths.VARIABLE: str(mine)}
    )
    Path(shared.of_pack(1, pack=2)).mkdir(parents=True)
    shared.remove(1, pack=2)
    assert mine.is_dir()
    assert list(mine.iterdir()) == []


def test_a_processor_that_this_process_may_not_use_gets_no_worker() -> None:
    """On a shared machine others have it: workers would stand in each other's way."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mine)})
    try:
        assert cluster.cores() == 1
    finally:
        os.sched_setaffinity(0, mine)
