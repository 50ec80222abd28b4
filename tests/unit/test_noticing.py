"""What is noticed about sweeps that run: the first failure of a kind, and no progress."""

from __future__ import annotations

from typing import Any

from sweeper.service.limits import Allowance
from sweeper.service.noticing import Patience, Watchman
from sweeper.store.outbox import BUDGET, FAILURE, QUIET
from sweeper.store.service_records import Owner, Submission, Usage, WantedState
from sweeper.store.service_watch import SweepWork

ONE = Submission(
    id=7, name="a", owner="ann", spec_text="", key="k", wanted=WantedState.RUNNING, generation=1,
    created_at=0.0, updated_at=0.0,
)  # fmt: skip


def seen(watchman: Watchman, now: float, **work: Any) -> list[tuple[str, str, str]]:
    found = watchman.notices([ONE], {"a": SweepWork(name="a", **work)}, now=now)
    return [(one.what, one.why, one.key) for one in found]


def test_the_first_failure_of_each_kind_is_noticed() -> None:
    """The key is the kind's, so later failures of that kind are the same notice."""
    watchman = Watchman()
    failures = {"crashed": "exit\ncode 7", "diverged": ""}
    assert seen(watchman, 0.0, failures=failures) == [
        (FAILURE, "crashed: exit code 7", "failure:7:crashed"),
        (FAILURE, "diverged", "failure:7:diverged"),
    ]


def test_no_progress_is_noticed_and_then_ends_the_driver() -> None:
    """Counted from the last round that was recorded; each standstill is one notice."""
    watchman = Watchman(patience=Patience.of_hours(1.0))
    quiet = "it runs, and has recorded nothing for 60 min"
    assert seen(watchman, 0.0) == []
    assert seen(watchman, 3599.0) == []
    assert seen(watchman, 3600.0) == [(QUIET, quiet, "quiet:7:0")]
    assert seen(watchman, 7000.0, rounds=3) == []
    assert seen(watchman, 10600.0, rounds=3) == [(QUIET, quiet, "quiet:7:3")]
    assert watchman.stalled(21399.0) == {}
    assert watchman.stalled(21400.0) == {"a": "no progress for 4.0 h"}


def test_a_sweep_that_has_ended_is_forgotten() -> None:
    """When it runs again its time begins anew."""
    watchman = Watchman()
    seen(watchman, 0.0)
    assert watchman.notices([], {}, now=10.0) == []
    assert seen(watchman, 4000.0) == []
    assert watchman.stalled(1e9) == {"a": "no progress for 277776.7 h"}


def test_a_budget_that_is_nearly_spent_is_noticed() -> None:
    """Again only for another limit."""
    found: list[tuple[str, str, str]] = []
    for most in (20.0, 40.0, 18.0):
        used = Usage(owner="ann", total=17 * 3600.0)
        allowance = Allowance(owner="ann", limits=Owner(owner="ann", most_hours=most), used=used)
        listed = Watchman().notices([ONE], {}, now=0.0, allowances={"ann": allowance})
        found += [(one.what, one.why, one.key) for one in listed]
    assert found == [
        (BUDGET, "ann has used 17.0 of 20 hours", "budget:7:hours:20"),
        (BUDGET, "ann has used 17.0 of 18 hours", "budget:7:hours:18"),
    ]
