"""What was decided about a sweep's replicates is kept, in order, and decided once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import text
from store_samples import HOLDER, Plan

from sweeper.errors import LeaseLost
from sweeper.store import Store

FIRST = {"plan": {"looks": [5, 10]}, "replicates": 5, "ended": "", "alpha": 0.025}
SECOND = {**FIRST, "replicates": 10, "ended": "last_look"}


def stages(plan: Plan) -> list[dict[str, object]]:
    found = plan.store.sweep("digits")
    assert found is not None
    return found.stages


def test_decisions_come_back_in_their_order(plan: Plan) -> None:
    """Everything that a decision rests on, as it was written."""
    assert stages(plan) == []
    plan.store.add_stage(plan.lease, number=0, body=FIRST)
    plan.store.add_stage(plan.lease, number=1, body=SECOND)
    assert stages(plan) == [FIRST, SECOND]


def test_a_decision_is_never_taken_back(plan: Plan) -> None:
    """Written twice, as after an unknown commit, the first decision stays."""
    plan.store.add_stage(plan.lease, number=0, body=FIRST)
    plan.store.add_stage(plan.lease, number=0, body=SECOND)
    assert stages(plan) == [FIRST]


def test_a_driver_without_the_lease_decides_nothing(plan: Plan) -> None:
    """Another driver has the sweep by now."""
    plan.store.release(plan.lease)
    plan.store.acquire(plan.sweep.id, HOLDER)
    with pytest.raises(LeaseLost):
        plan.store.add_stage(plan.lease, number=0, body=FIRST)
    assert stages(plan) == []


def test_a_database_of_before_has_no_decisions(plan: Plan, opened: Callable[..., Store]) -> None:
    """Looked at as it is: its sweeps have none."""
    for change in (
        "DROP TABLE sweeper_stage",
        "UPDATE sweeper_alembic_version SET version_num = '0002'",
    ):
        plan.store.database.write(lambda c, change=change: c.execute(text(change)))
    found = opened(create=False).sweep("digits")
    assert found is not None
    assert found.stages == []
