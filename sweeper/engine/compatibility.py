"""Checks what a later launch of a sweep must not change, to keep its numbers comparable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeper.spec import ADAPTIVE, Spec
from sweeper.spec.problems import NOTHING
from sweeper.store.records import Sweep

NEW_NAME = "give this spec another name"


def check(spec: Spec, sweep: Sweep, *, has_cells: bool) -> None:
    """Returns if the sweep in the database can continue under this spec.

    The recorded values are values of the objective, so it must stay. Under an adaptive search
    Optuna stores every parameter's range with every trial, and rejects trials of another range.

    Raises:
        SpecError: it cannot.
    """
    before, now = sweep.spec, spec.model_dump(mode="json")
    if not has_cells:
        return
    _check_objective(spec, before.get("objective", {}), now["objective"])
    if before.get("objectives", []) != now.get("objectives", []):
        was = ", ".join(one["metric"] for one in before.get("objectives", ())) or "one objective"
        reason = f"sweep '{spec.name}' in this database has a study of {was}; {NEW_NAME}"
        raise spec.problem("objectives", NOTHING, reason)
    _check_plan(spec, sweep, now["replicates"])
    _check_screening(spec, sweep, now)
    if spec.search.method in ADAPTIVE:
        _check_search(spec, before.get("search", {}).get("method"))
        for name, factor in now["scientific"].items():
            _check_factor(spec, name, before.get("scientific", {}).get(name), factor)


def _check_objective(spec: Spec, before: dict[str, Any], now: dict[str, Any]) -> None:
    for key in ("metric", "direction", "split"):
        if key in before and before[key] != now[key]:
            reason = f"sweep '{spec.name}' in this database has values of {before[key]}; {NEW_NAME}"
            raise spec.problem(f"objective.{key}", now[key], reason)


def _check_plan(spec: Spec, sweep: Sweep, plan: Any) -> None:
    """Past interim analyses have spent their share of the error; a first stage happens once."""
    for key in ("looks", "start"):
        for stage in sweep.stages:
            old = stage["plan"].get(key) if isinstance(stage["plan"], Mapping) else None
            new = plan.get(key) if isinstance(plan, Mapping) else None
            if old is not None and new is not None and old != new:
                reason = (
                    f"sweep '{spec.name}' in this database was judged under {key}: {old}, which "
                    f"cannot be planned again; {NEW_NAME}"
                )
                raise spec.problem(f"replicates.{key}", str(new), reason)


def _check_screening(spec: Spec, sweep: Sweep, now: Mapping[str, Any]) -> None:
    """Reported cells cannot be screened later, and cells cannot be screened twice.

    A later launch may ask for more fresh replicates of the remaining cells.
    """
    before, old = sweep.spec, sweep.spec.get("replicates")
    plans = _screening(old), _screening(now["replicates"])
    decided = any(stage["ended"] == "screened" for stage in sweep.stages)
    replanned = (plans[0] is None) != (plans[1] is None) or (decided and plans[0] != plans[1])
    keys = ["replicates"] if replanned else []
    if decided:
        keys += ["data", "train", "scientific", "compare", "nuisance", "search", "budget"]
    for key in keys:
        if key in before and before[key] != now.get(key):
            was = "decided which cells are left" if decided else f"was planned as {old}"
            reason = f"sweep '{spec.name}' in this database {was}; {NEW_NAME}"
            raise spec.problem(key, NOTHING, reason)


def _screening(plan: Any) -> dict[str, Any] | None:
    """The settings that decide which cells remain; None for a plan without screening."""
    if not (isinstance(plan, Mapping) and "screen" in plan):
        return None
    return {key: plan[key] for key in ("screen", "keep")}


def _check_search(spec: Spec, before: str | None) -> None:
    if before is not None and before not in ADAPTIVE:
        raise spec.problem(
            "search.method",
            spec.search.method,
            f"sweep '{spec.name}' in this database was planned as {before}, and Optuna cannot "
            f"learn from its trials; {NEW_NAME}",
        )


def _check_factor(spec: Spec, name: str, before: Any, now: Any) -> None:
    if before is not None and before != now:
        raise spec.problem(
            name,
            now,
            f"{spec.search.method} cannot go on with other levels than sweep '{spec.name}' in this "
            f"database has, {before}; {NEW_NAME}",
        )
