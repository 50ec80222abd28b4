"""Decides how often a sweep's runs are evaluated: once, and equally for all of its cells.

So curves, pruners and intermediate values of different cells meet at equal shares of the budget.
The number is stored in every cell's configuration and in the sweep's row.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from sweeper.design import designs
from sweeper.engine import data_facts
from sweeper.engine.cells import CellMaker
from sweeper.errors import NothingStored
from sweeper.spec import ADAPTIVE, Spec
from sweeper.store.records import Sweep
from sweeper.store.store import Store
from trainers.config import Config
from trainers.data_config import PLACES

CELLS = 200  # for the estimate of the work
NEUTRAL = PLACES | {"evaluations"}


def decided(spec: Spec, maker: CellMaker, *, before: Mapping[str, Any] | None) -> Spec:
    """The spec with its number of evaluations: as stated, as stored with the sweep, or chosen.

    Args:
        before: the spec of this name in the database, as JSON; None if there is none.

    Raises:
        SpecError: the data cannot be read, or the number is too small for the pruner.
    """
    if spec.train.evaluations is not None:
        return spec
    kept, first = _kept(spec, before or {}), spec.pruner.min_evaluations
    if kept is not None and spec.pruner.method != "none" and first >= kept:
        reason = f"the runs of this sweep are evaluated {kept} times; decide before the last"
        raise spec.problem("pruner.min_evaluations", first, reason)
    return spec.evaluated(kept or _chosen(spec, maker))


def stored(storage: str, name: str) -> Sweep | None:
    """The sweep of that name; None if there is no such database or sweep.

    Raises:
        StoreError: the database cannot be used.
    """
    try:
        with Store.open(storage, create=False) as store:
            return store.sweep(name)
    except NothingStored:
        return None


def _kept(spec: Spec, before: Mapping[str, Any]) -> int | None:
    """The number of an earlier launch, if data, training and budget are unchanged."""
    now = spec.model_dump(mode="json")
    same = all(_plain(before.get(key)) == _plain(now[key]) for key in ("data", "train", "budget"))
    return before["train"]["evaluations"] if same else None


def _plain(block: Any) -> dict[str, Any]:
    return {key: value for key, value in dict(block or {}).items() if key not in NEUTRAL}


def _chosen(spec: Spec, maker: CellMaker) -> int:
    """Chosen by the work of the first cells; for an adaptive search, by what its cells share."""
    base = spec.config_for({})
    configs: list[Config] = [base]
    if spec.search.method not in ADAPTIVE:
        configs = [one.config for one in islice(designs(spec), CELLS)]
    pruned = spec.pruner.method != "none"
    least = spec.pruner.min_evaluations + 1 if pruned else 1
    return data_facts.evaluations(configs, maker.facts_of(configs[0]), least=least)
