"""Finds the finished cells of another sweep that a sampler may start from.

A cell counts if this sweep could have asked for it: its hash is that of this spec at its levels. So
its value is what this sweep would measure, with the same data, budget and trainer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeper import search
from sweeper.design import design
from sweeper.engine.cells import REPORT, CellMaker
from sweeper.errors import nearest
from sweeper.spec import Spec
from sweeper.spec import factors as f
from sweeper.spec.rules import budgets
from sweeper.store.mirror import Start
from sweeper.store.records import Cell, Sweep
from sweeper.store.store import Store

MISSING = object()


def start_of(spec: Spec, maker: CellMaker, store: Store) -> Start | None:
    """The cells of `start_from`; None without one.

    Raises:
        SpecError: there is no such sweep, or none of its finished cells fits this spec.
    """
    name = spec.start_from
    if name is None:
        return None
    other = store.sweep(name)
    if other is None:
        known = nearest(name, [one.name for one in store.sweeps() if one.name != spec.name])
        raise spec.problem("start_from", name, f"no such sweep in this database{known}")
    _check_objective(spec, other)
    finished = {run.cell_id for run in store.runs(other.id) if run.value is not None}
    cells = [
        cell
        for cell in store.cells(other.id)
        if cell.role == REPORT and not cell.hidden and cell.id in finished
    ]
    fitting = [(cell, point) for cell in cells if (point := _point(spec, maker, cell)) is not None]
    if not fitting:
        reason = f"none of its {len(cells)} finished cells fits this spec: {_why(spec, cells)}"
        raise spec.problem("start_from", name, reason)
    return Start(
        sweep=name,
        layout=other.layout,
        cells=tuple(fitting),
        distributions=search.distributions(spec),
    )


def _check_objective(spec: Spec, other: Sweep) -> None:
    objective, split = spec.objective, other.objective_split
    theirs = other.spec["objective"]["metric"], split
    if theirs != (objective.metric, objective.split):
        reason = f"has values of {theirs[0]} on {split}, and this sweep is about "
        reason += f"{objective.metric} on {objective.split}"
        raise spec.problem("start_from", spec.start_from, reason)


def _point(spec: Spec, maker: CellMaker, cell: Cell) -> dict[str, Any] | None:
    """The cell's place in this search space; None if the cell is not in it."""
    levels = {name: _level(cell, name) for name in spec.scientific}
    inside = {
        name: level
        for name, level in levels.items()
        if level is not MISSING and f.has(spec.scientific[name], level)
    }
    cellular = design(spec, inside)
    if not set(f.active(spec.scientific, {**levels, **inside})) <= set(inside):
        return None
    if maker.make_anyway(cellular, number=None)[0].hash != cell.hash:
        return None
    # The study has every factor in every trial, even where a condition leaves it out.
    spare = {name: f.pick(factor, 0.0) for name, factor in spec.scientific.items()}
    return {**spare, **inside}


def _level(cell: Cell, name: str) -> Any:
    if name in cell.factors:
        return cell.factors[name]
    if "trainer" in cell.config:
        return cell.config["train"].get(name, MISSING)
    node: Any = cell.config
    for part in name.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return MISSING
        node = node[part]
    return node


def _why(spec: Spec, cells: list[Cell]) -> str:
    """What to look at."""
    if not cells:
        return "none has a value"
    away = [
        name
        for name, factor in spec.scientific.items()
        if not any(f.has(factor, level) for one in cells if (level := _level(one, name)) != MISSING)
    ]
    if away:
        return f"their {', '.join(away)} is not in this search space"
    named = ", ".join(budgets(spec))
    return f"they differ in data, budget ({named}), trainer or another value of the configuration"
