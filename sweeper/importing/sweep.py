"""Runs that others made as a whole sweep: its spec, its cells and its numbers."""

from __future__ import annotations

import io
import math
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from ruamel.yaml import YAML

from sweeper import __version__
from sweeper.analysis.frames import load
from sweeper.analysis.view import view_of
from sweeper.design import cell_hash
from sweeper.errors import InputError, SpecError
from sweeper.importing.blocks import cell_key
from sweeper.importing.columns import Columns, direction, is_share
from sweeper.importing.rows import ForeignRun
from sweeper.importing.runs import Runs
from sweeper.importing.source import Source
from sweeper.spec import Spec, parse
from sweeper.spec.factors import Level
from sweeper.spec.own import IMPORTED
from sweeper.spec.samplers import SAMPLERS
from sweeper.states import RunState
from sweeper.store import lease as leases
from sweeper.store.finished import Finished, FinishedAttempt, FinishedPack, FinishedRun, add, taken
from sweeper.store.records import Key, NewCell, NewSweep, Sweep
from sweeper.store.store import Store
from sweeper.store.study import Study
from sweeper.topics.headline.note import note
from trainers.config import OBJECTIVES

MOST_LEVELS = 20  # of a number with more levels, a range
WIDE = 20.0  # a range from this high / low on is logarithmic
# How cells that form no grid were chosen.
DRAWN = tuple(name for name in SAMPLERS if name not in {"factorial", "tune"})


@dataclass(frozen=True)
class Wanted:
    """How the sweep is to be called and read.

    Attributes:
        name: empty: that of the source.
        direction: which way is better; empty: by the name of the metric.
        search: how the settings were chosen where they form no grid; empty: at random.
    """

    name: str
    question: str = ""
    direction: str = ""
    search: str = ""


def spec_of(source: Source, columns: Columns, runs: Runs, wanted: Wanted) -> Spec:
    """The spec that describes the runs.

    Raises:
        InputError: the runs are no sweep, such as with a level given to one run only.
    """
    cells = {cell_key(one.factors): one.factors for one in runs.runs}
    levels = {name: _levels([*cells.values()], name) for name in columns.factors}
    grid = math.prod(map(len, levels.values())) == len(cells)
    metric = runs.objective[1]
    way = wanted.direction or source.direction or OBJECTIVES.get(metric) or direction(metric)
    objective: dict[str, Any] = {"metric": metric, "direction": way}
    first = next(iter(columns.metrics))
    if metric not in OBJECTIVES and is_share(first, source.frame[columns.metrics[first]]):
        objective["unit"] = "share"
    tree: dict[str, Any] = {
        "name": wanted.name or source.sweep,
        "question": wanted.question,
        "trainer": IMPORTED,
        "fixed": {**runs.fixed, **({"epochs": runs.budget} if runs.budget else {})},
        "objective": objective,
        "scientific": {name: _factor(found, grid=grid) for name, found in levels.items()},
        "replicates": len({one.replicate for one in runs.runs}),
    }
    if not grid:
        tree["search"] = {
            "method": wanted.search or source.search or "random",
            "trials": len(cells),
        }
    tree["fixed"] = {key: one for key, one in tree["fixed"].items() if key not in levels}
    text = f"# Written by sweeper import from {source.name} ({source.kind}).\n{_yaml(tree)}"
    try:
        spec = parse(text, source.name)
    except SpecError as error:
        line = error.lines[0].removeprefix(f"{source.name}:").partition(": ")[2]
        raise InputError(f"{source.name}: {line}") from error
    return spec.model_copy(
        update={"objective": spec.objective.model_copy(update={"split": split_of(runs.layout)})}
    )


def split_of(layout: Sequence[Key]) -> Literal["val", "test"]:
    """The split of the objective: val, where anything was recorded on it."""
    return "val" if any(split == "val" for split, _, _ in layout) else "test"


def _levels(cells: Sequence[Mapping[str, Level]], name: str) -> list[Level]:
    """The distinct levels of a factor, numbers in their order; cells that lack it are left out."""
    has = [one[name] for one in cells if name in one]
    found = {cell_key({name: one}): one for one in has}
    if all(isinstance(one, int | float) and not isinstance(one, bool) for one in found.values()):
        return sorted(found.values(), key=lambda one: float(one or 0))
    return list(found.values())


def _factor(levels: Sequence[Level], *, grid: bool) -> Any:
    """A list of levels, or the range that many numbers span."""
    numbers = [one for one in levels if isinstance(one, int | float) and not isinstance(one, bool)]
    if grid or len(levels) <= MOST_LEVELS or len(numbers) < len(levels):
        return list(levels)
    low, high = numbers[0], numbers[-1]
    if isinstance(low, float) or isinstance(high, float):
        low, high = float(low), float(high)
    return {"low": low, "high": high, "log": bool(low > 0 and high / low >= WIDE)}


def _yaml(tree: Mapping[str, Any]) -> str:
    writer, text = YAML(), io.StringIO()
    writer.default_flow_style = False
    writer.width = 96
    writer.dump(dict(tree), text)
    return text.getvalue()


def finished(source: Source, columns: Columns, runs: Runs, spec: Spec) -> Finished:
    """The sweep as it is stored."""
    at = runs.layout.index((split_of(runs.layout), *runs.objective[1:]))
    cells: dict[str, list[ForeignRun]] = {}
    for one in runs.runs:
        cells.setdefault(cell_key(one.factors), []).append(one)
    places = {key: place for place, key in enumerate(cells)}
    return Finished(
        sweep=_new(source, columns, runs, spec),
        cells=[_cell(mine, spec, source.digest) for mine in cells.values()],
        runs=[
            _run(one, cell=places[cell_key(one.factors)], pack=pack, objective=at)
            for pack, one in enumerate(runs.runs)
        ],
        packs=[
            FinishedPack(key=IMPORTED, runs=(at,), seconds=one.seconds)
            for at, one in enumerate(runs.runs)
        ],
    )


def _new(source: Source, columns: Columns, runs: Runs, spec: Spec) -> NewSweep:
    imported = {
        "id": uuid.uuid4().hex,
        "from": source.kind,
        "file": source.name,
        "sha256": source.digest,
        "columns": {key: one for key, one in asdict(columns).items() if one},
        "paired": runs.paired,
        "remarks": list(runs.remarks),
    }
    return NewSweep(
        name=spec.name,
        question=spec.question,
        spec_text=spec.text,
        spec=spec.model_dump(mode="json"),
        layout=runs.layout,
        facts={"fingerprint": source.digest, "kind": IMPORTED, "classes": [], "files": {}},
        provenance={"sweeper": __version__, "imported": imported},
    )


def _cell(mine: Sequence[ForeignRun], spec: Spec, digest: str) -> NewCell:
    config = spec.config_for(mine[0].factors)
    return NewCell(
        hash=cell_hash(config, spec.budget.unit, digest, IMPORTED),
        role="report",
        factors=mine[0].factors,
        config=config.model_dump(mode="json"),
        class_counts=(),
        replicates=tuple(sorted(one.replicate for one in mine)),
    )


def _run(one: ForeignRun, *, cell: int, pack: int, objective: int) -> FinishedRun:
    complete = one.state is RunState.COMPLETE
    numbers = one.numbers.astype("<f4")
    ended = FinishedAttempt(pack=pack, seconds=one.seconds, ending=one.ending)
    return FinishedRun(
        cell=cell,
        replicate=one.replicate,
        state=one.state,
        epoch=int(one.epochs[-1]) if len(one.epochs) else 0,
        value=float(np.float64(numbers[-1, objective])) if complete else None,
        ending=one.ending,
        seconds=one.seconds,
        attempts=(ended,),
        observations=tuple(
            (int(epoch), int(epoch), row.tobytes())
            for epoch, row in zip(one.epochs, numbers, strict=True)
        ),
    )


def check_name(store: Store, name: str) -> None:
    """Returns if no sweep has the name.

    Raises:
        StoreError: one has.
    """
    if store.sweep(name) is not None:
        raise taken(name)


def keep(store: Store, storage: str, new: Finished) -> Sweep:
    """Adds the sweep to the database, and its finished cells to the Optuna view.

    Raises:
        StoreError: there is a sweep of that name, or a study that is not ours.
    """
    sweep = add(store, new)
    objective = new.sweep.spec["objective"]
    study = Study(
        storage, sweep.name, objective=objective["metric"], direction=objective["direction"]
    )
    with closing(study):
        lease = store.acquire(sweep.id, leases.here())
        try:
            study.settle(store, lease, sweep)
            study.set_note(note(view_of(load(store, sweep.name))))
        finally:
            store.release(lease)
    return sweep
