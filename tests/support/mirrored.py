"""A finished sweep as Optuna's tools see it: planted, and mirrored by the study."""

from __future__ import annotations

import planted

from sweeper.store import Store
from sweeper.store.study import Study


def mirror(url: str, *, note: str = "") -> None:
    """Mirror the only sweep of a database, as a driver does."""
    with Store.open(url, create=False) as store:
        [sweep] = store.sweeps()
        lease = store.acquire(sweep.id, {"host": "h", "pid": 1})
        objective = sweep.spec["objective"]
        study = Study(
            url, sweep.name, objective=objective["metric"], direction=objective["direction"]
        )
        try:
            study.sync(store, lease, sweep)
            if note:
                study.set_note(note)
        finally:
            study.close()
            store.release(lease)


def finished(url: str, *, note: str = "") -> planted.Plan:
    """Make a database with one finished sweep of 8 cells x 3 replicates x 4 epochs."""
    plan = planted.plan(epochs=4, replicates=3)
    with Store.open(url, create=True) as store:
        planted.fill(store, plan)
    mirror(url, note=note)
    return plan
