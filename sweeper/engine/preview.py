"""Plans a sweep and its cost; stores nothing, and starts nothing except a probe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sweeper import plan, search
from sweeper.design import candidates, designs, pack_key
from sweeper.engine import cluster, data_facts, plugins, probe, screening, sharing
from sweeper.engine.cells import REPORT, TUNING, CellMaker
from sweeper.engine.own import prepared
from sweeper.engine.packing import questions, shared
from sweeper.engine.probe import ProbeConditions, Question
from sweeper.engine.progress import Event
from sweeper.engine.room import terms
from sweeper.engine.worker_pool import WorkerPool
from sweeper.eta import UNKNOWN_FACTOR
from sweeper.plan import Price
from sweeper.spec import ADAPTIVE, Screen, Search, Spec
from sweeper.spec.own import read
from sweeper.states import RunState
from sweeper.store.records import Cell, NewCell, NewPack, Run, Sweep


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Runs of a pack key: how they are packed, and the gain."""

    levels: Mapping[str, object]  # shared by all of its cells
    cells: int
    runs: int
    packs: int
    largest: int  # runs in the largest pack
    gain: float | None  # seconds of a run alone over seconds of a run in that pack
    seconds: float  # of one worker, for all of it


@dataclass(frozen=True, kw_only=True)
class Preview:
    """The plan of a whole sweep; seconds are 0 if nothing was probed."""

    cells: int  # that are reported
    tuning_cells: int
    runs: int
    packs: int
    workers: int
    kinds: tuple[Kind, ...]
    seconds: float
    low: float
    high: float
    more_runs: int = 0  # the most that a plan for replicates may add
    more_seconds: float = 0.0
    least_more: int = 0  # runs that it adds in any case
    evaluations: int  # of each run
    evaluating: float | None  # their share of the time; None without a probe
    screened_at: float | None = None  # sds of the difference that decide a comparison in screening


def preview(
    spec: Spec,
    *,
    before: Sweep | None = None,
    ray_address: str | None = None,
    plugin_files: Sequence[Path] = (),
    on_event: Callable[[Event], None] = lambda text: None,
) -> Preview:
    """Plans every run of the spec; starts Ray for the probe.

    Args:
        before: the sweep of this name in the database.

    Raises:
        InputError: the data or the cluster cannot be used.
    """
    cluster.prepare()
    loaded = plugins.load(plugin_files)
    search.check(spec)
    cluster.check(ray_address)
    for warning in spec.warnings:
        on_event(warning)
    spec, maker = prepared(spec, before=before)
    cells = _numbered(_cells(spec, maker))
    for note in data_facts.said(maker.facts):
        on_event(note)
    runs = _pending(cells)
    prices, workers = _probed(
        spec,
        cells,
        runs,
        fingerprints=maker.fingerprints,
        ray_address=ray_address,
        plugin_files=loaded,
        on_event=on_event,
    )
    found = _sum(spec, cells, runs, prices=prices, workers=workers)
    if spec.precision is None:
        return found
    if isinstance(spec.precision, Screen):
        found = _screened(spec, found, cells)
    cells = _grown(spec, cells)
    most = _sum(spec, cells, _pending(cells), prices=prices, workers=workers)
    seconds = max(most.seconds - found.seconds, 0.0)
    return replace(found, more_runs=most.runs - found.runs, more_seconds=seconds)


def _grown(spec: Spec, cells: Sequence[Cell]) -> list[Cell]:
    """The cells with all replicates of a plan; as many cells as screening may leave."""
    whole, left = tuple(range(spec.most_replicates)), len(cells)
    if isinstance(spec.precision, Screen):
        left = screening.most_left(spec, references=_references(spec, cells))
    mine = {cell.id for cell in [cell for cell in cells if cell.role == REPORT][:left]}
    return [replace(cell, replicates=whole) if cell.id in mine else cell for cell in cells]


def _screened(spec: Spec, found: Preview, cells: Sequence[Cell]) -> Preview:
    # Statistics take seconds to import and are needed only here.
    from sweeper.analysis.screening import lead_needed

    least = max(_references(spec, cells), 1) * screening.confirm(spec)
    at = lead_needed(cells=found.cells, replicates=spec.replicates) if found.cells > 1 else None
    return replace(found, least_more=least, screened_at=at)


def _references(spec: Spec, cells: Sequence[Cell]) -> int:
    return sum(cell.role == REPORT and screening.refers(spec, cell) for cell in cells)


def _cells(spec: Spec, maker: CellMaker) -> list[NewCell]:
    """Every cell once; a pick that depends on tuning is planned as its first candidate.

    An adaptive search is planned as if it drew at random.
    """
    if spec.search.method in ADAPTIVE:
        search = Search(method="random", trials=spec.search.trials, seed=spec.search.seed)
        spec = spec.model_copy(update={"search": search})
    made: dict[tuple[str, str], NewCell] = {}
    for design in designs(spec):
        tried = candidates(spec, design)
        if spec.nuisance:
            for candidate in tried:
                cell = maker.make(candidate, role=TUNING)
                made[TUNING, cell.hash] = cell
        cell = maker.make(tried[0], role=REPORT)
        made[REPORT, cell.hash] = cell
    return list(made.values())


def _numbered(new: Sequence[NewCell]) -> list[Cell]:
    return [
        Cell(**vars(cell), id=number, sweep_id=0, mirrored=False, hidden=False)
        for number, cell in enumerate(new)
    ]


def _pending(cells: Sequence[Cell]) -> list[Run]:
    pairs = [(cell, replicate) for cell in cells for replicate in cell.replicates]
    return [
        Run(
            id=number,
            cell_id=cell.id,
            replicate=replicate,
            state=RunState.PENDING,
            epoch=0,
            value=None,
            ending=None,
            error="",
            seconds=0.0,
        )
        for number, (cell, replicate) in enumerate(pairs)
    ]


def _probed(
    spec: Spec,
    cells: Sequence[Cell],
    runs: Sequence[Run],
    *,
    fingerprints: dict[str, str],
    ray_address: str | None,
    plugin_files: tuple[str, ...],
    on_event: Callable[[Event], None],
) -> tuple[dict[str, Price], int]:
    """Prices by pack key, and the number of workers that the cluster has room for."""
    cpus, gpus = spec.resources.cpus, spec.resources.gpus_while_timing
    asked = spec.resources.workers or 1
    wanted = questions(
        cells, dict(Counter(run.cell_id for run in runs)), replicates=spec.replicates
    )
    on_event(f"joining Ray at {ray_address}" if ray_address else "starting Ray")
    with cluster.started(
        address=ray_address, cpus=asked * cpus, gpus=asked * gpus, say=on_event
    ) as capacity:
        here = ray_address is None
        if here:
            sharing.check(spec, capacity)
        place = ProbeConditions.of(spec.resources, plugin_files, fingerprints)
        with WorkerPool(terms(spec, joined=not here), say=on_event) as pool:
            pool.wait(lambda: None)
            priced = probe.measure_there(wanted, place, pool, tell=on_event) if wanted else []
            prices = _with_borrowed(cells, wanted, {price.key: price for price in priced})
            if spec.resources.on_gpu:
                made = _planned(spec, cells, runs, prices=prices, workers=pool.room)
                sharing.settle(pool, spec.resources, made, prices, here=here, say=on_event)
            return prices, pool.room


def _with_borrowed(
    cells: Sequence[Cell], wanted: Sequence[Question], found: dict[str, Price]
) -> dict[str, Price]:
    """The prices, and for each key without one that of the most similar key."""
    configs = {q.key: read(q.config) for q in wanted if q.key in found}
    for cell in cells:
        key = pack_key(cell.config)
        if key not in found:
            config, samples = read(cell.config), sum(cell.class_counts)
            price = probe.borrow(key, config, samples=samples, priced=configs, prices=found)
            found |= {key: price} if price else {}
    return found


def _planned(
    spec: Spec,
    cells: Sequence[Cell],
    runs: Sequence[Run],
    *,
    prices: Mapping[str, Price],
    workers: int,
) -> list[NewPack]:
    """The packs of every run."""
    made: list[NewPack] = []
    for role in (TUNING, REPORT):
        of_role = [cell for cell in cells if cell.role == role]
        ids = {cell.id for cell in of_role}
        ordered = plan.order_runs(of_role, [run for run in runs if run.cell_id in ids])
        whole = spec.pruner.method != "none"
        made += plan.packs(
            ordered, of_role, prices, pack=spec.resources.pack, whole_cells=whole, workers=workers
        )
    return made


def _sum(
    spec: Spec,
    cells: Sequence[Cell],
    runs: Sequence[Run],
    *,
    prices: Mapping[str, Price],
    workers: int,
) -> Preview:
    made = _planned(spec, cells, runs, prices=prices, workers=workers)
    seconds = plan.estimate(made, workers=workers)
    return Preview(
        cells=sum(cell.role == REPORT for cell in cells),
        tuning_cells=sum(cell.role == TUNING for cell in cells),
        runs=len(runs),
        packs=len(made),
        workers=workers,
        kinds=_kinds(cells, made, prices),
        seconds=seconds,
        low=seconds / UNKNOWN_FACTOR,
        high=seconds * UNKNOWN_FACTOR,
        evaluations=spec.config_for({}).evaluations,
        evaluating=_evaluating(made, prices),
    )


def _evaluating(made: Sequence[NewPack], prices: Mapping[str, Price]) -> float | None:
    """The share of the workers' time for evaluations."""
    seconds = sum(pack.seconds for pack in made)
    if not seconds:
        return None
    return (
        sum(pack.seconds * prices[pack.key].evaluation for pack in made if pack.seconds) / seconds
    )


def _kinds(
    cells: Sequence[Cell], made: Sequence[NewPack], prices: Mapping[str, Price]
) -> tuple[Kind, ...]:
    """One for each pack key, the most expensive first."""
    by_key: dict[str, list[Cell]] = {}
    for cell in cells:
        by_key.setdefault(pack_key(cell.config), []).append(cell)
    kinds = []
    for key, of_key in by_key.items():
        packs = [pack for pack in made if pack.key == key]
        largest = max(len(pack.run_ids) for pack in packs)
        price = prices.get(key)
        kinds.append(
            Kind(
                levels=shared(of_key),
                cells=len(of_key),
                runs=sum(len(pack.run_ids) for pack in packs),
                packs=len(packs),
                largest=largest,
                gain=price.seconds(1) * largest / price.seconds(largest) if price else None,
                seconds=sum(pack.seconds for pack in packs),
            )
        )
    return tuple(sorted(kinds, key=lambda kind: -kind.seconds))
