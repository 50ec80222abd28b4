"""Plans which runs are packed together, and in what order: pure in cells, runs and prices.

It has two aims. Whenever a sweep is stopped, what has run is balanced: every replicate of all cells
before the next replicate, and within a replicate the levels of every factor in turn. And runs that
share a pack key train together, in packs of the size that a probe found cheapest; the first packs
of all cells come before the second of any.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from sweeper.design import pack_key
from sweeper.store.records import Cell, NewPack, Run

WORTH_SPLITTING = 0.03  # of the time until the last pack ends; prices are no more exact
WINDOW = 2048  # cells considered for the next place; more would cost time and gain nothing

Key = TypeVar("Key")
Item = TypeVar("Item")
Codes: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True)
class Price:
    """A probe's measurement for a pack key: the seconds of a step of a pack of K, by K.

    Attributes:
        threads: with which its packs always compute, because another number rounds differently.
        findings: the errors of the forms that are not used, a sentence each.
        memory: bytes of a GPU that a pack of K takes at the most, by K; empty if not measured.
        context: bytes of it that a process takes besides.
        device_memory: bytes of the whole GPU.
    """

    key: str
    seconds_per_step: dict[int, float]
    form: str
    steps_per_run: int
    evaluation: float = 0.0  # share of the seconds that evaluations take
    threads: int = 1
    findings: tuple[str, ...] = ()
    memory: dict[int, int] = field(default_factory=dict[int, int])
    context: int = 0
    device_memory: int = 0

    def seconds(self, k: int) -> float:
        """The seconds of a step of a pack of K: interpolated, and constant beyond the ends."""
        known = sorted(self.seconds_per_step)
        steps = np.interp(k, known, [self.seconds_per_step[i] for i in known])
        return float(steps) * self.steps_per_run

    def bytes(self, k: int) -> float:
        """The memory of a pack of K on a GPU: interpolated, the least below, a line above."""
        known = sorted(self.memory)
        peaks = np.maximum.accumulate([self.memory[i] for i in known])
        if k <= known[-1]:
            return float(np.interp(k, known, peaks))
        more = peaks[-1] - peaks[0], known[-1] - known[0]
        rise, members = more if len(known) > 1 else (peaks[-1], known[-1])
        return float(peaks[-1] + (k - known[-1]) * rise / members)

    def dump(self) -> dict[str, Any]:
        """Returns the price as JSON."""
        return asdict(self) | {
            "seconds_per_step": {str(k): s for k, s in self.seconds_per_step.items()},
            "memory": {str(k): peak for k, peak in self.memory.items()},
        }

    @classmethod
    def read(cls, saved: Mapping[str, Any]) -> Price:
        """Restores a price from `dump`; those of an earlier Sweeper lack the memory."""
        seconds = {int(k): float(s) for k, s in saved["seconds_per_step"].items()}
        memory = {int(k): int(peak) for k, peak in saved.get("memory", {}).items()}
        findings = tuple(saved["findings"])
        return replace(cls(**saved), seconds_per_step=seconds, memory=memory, findings=findings)


def best_k(price: Price, available: int, cap: int) -> int:
    """The cheapest K for each run, among the measured ones and the largest possible one.

    Among equal K the smallest. A K between two measured ones gets an interpolated price.
    """
    limit = max(1, min(available, cap))
    known = price.seconds_per_step
    fitting = {k for k in known if k <= limit}
    if fitting and limit <= max(known):
        fitting.add(limit)
    return min(fitting, key=lambda k: (price.seconds(k) / k, k), default=1)


def order_runs(cells: Sequence[Cell], runs: Iterable[Run]) -> list[Run]:
    """Orders the runs so that every prefix is balanced.

    Replicate by replicate; within a replicate, the next cell is the one whose levels are furthest
    behind, in shares of all runs at that level. Ties follow the order of `cells`.
    """
    by_replicate: dict[int, dict[int, Run]] = {}
    for run in runs:
        by_replicate.setdefault(run.replicate, {})[run.cell_id] = run
    balance = _Balance.over(cells, Counter(c for block in by_replicate.values() for c in block))
    ordered: list[Run] = []
    for replicate in sorted(by_replicate, key=abs):
        block = by_replicate[replicate]
        rows = [row for row, cell in enumerate(cells) if cell.id in block]
        ordered += [block[cells[row].id] for row in balance.take(rows)]
    return ordered


@dataclass(frozen=True)
class _Balance:
    """Counts how far each level of each factor has come: `placed` of `total` runs.

    F factors, C cells: `codes` is (C, F), an index into `placed` and `total` for each level.
    """

    codes: Codes
    placed: NDArray[np.float64]
    total: NDArray[np.float64]

    @classmethod
    def over(cls, cells: Sequence[Cell], runs_of: Mapping[int, int]) -> _Balance:
        names = sorted({name for cell in cells for name in cell.factors})
        index: dict[tuple[str, str], int] = {}
        rows = [
            [index.setdefault((n, repr(cell.factors.get(n))), len(index)) for n in names]
            for cell in cells
        ]
        codes = np.array(rows, dtype=np.intp).reshape(len(cells), len(names))
        weights = np.array([runs_of.get(cell.id, 0) for cell in cells], dtype=np.float64)
        total = np.zeros(len(index))
        np.add.at(total, codes, weights[:, None])
        return cls(codes, np.zeros(len(index)), np.maximum(total, 1.0))

    def take(self, rows: Sequence[int]) -> Iterator[int]:
        """Takes all of `rows`, each time the row that is furthest behind."""
        waiting = list(rows)
        while waiting:
            codes = self.codes[waiting[:WINDOW]]
            share = (self.placed[codes] + 1) / self.total[codes]
            row = waiting.pop(int(np.argmin((share**2).sum(axis=1).round(12))))
            self.placed[self.codes[row]] += 1
            yield row


def packs(
    runs: Sequence[Run],
    cells: Sequence[Cell],
    prices: Mapping[str, Price],
    *,
    pack: int | Literal["auto"],
    whole_cells: bool = False,
    workers: int = 1,
) -> list[NewPack]:
    """Packs these runs, which are in the order of `order_runs`; returns packs in starting order.

    Args:
        prices: by pack key; a key without a price gets packs of one run under `auto`.
        pack: runs in a pack, or `auto` for the cheapest K that leaves no worker without a pack, or
            fewer if workers would otherwise end at very different times.
        whole_cells: all replicates of a cell in one pack, so that a pruner sees them together.
    """
    keys = {cell.id: pack_key(cell.config) for cell in cells}
    groups = _grouped(runs, lambda run: keys[run.cell_id])
    cap = max(1, math.ceil(len(runs) / workers))
    ks = {key: _k(pack, prices.get(key), len(group), cap) for key, group in groups.items()}

    def make(ks: Mapping[str, int]) -> list[NewPack]:
        made = [
            _new_pack(key, part, prices.get(key))
            for key, group in groups.items()
            for part in _parts(group, ks[key], whole_cells)
        ]
        return _in_order(made, runs, block=max(8 * workers, 8))

    return _evened(ks, make, workers=workers) if pack == "auto" else make(ks)


def _k(pack: int | Literal["auto"], price: Price | None, available: int, cap: int) -> int:
    if pack != "auto":
        return pack
    return best_k(price, available, cap) if price else 1


def _evened(
    ks: Mapping[str, int], make: Callable[[Mapping[str, int]], list[NewPack]], *, workers: int
) -> list[NewPack]:
    """Makes packs of the kind that ends last smaller, as long as everything then ends sooner."""
    made = make(ks)
    while True:
        seconds, last = _end(made, workers=workers)
        key = made[last].key if made else ""
        if ks.get(key, 1) == 1:
            return made
        parts = sum(pack.key == key for pack in made)
        total = sum(len(pack.run_ids) for pack in made if pack.key == key)
        ks = {**ks, key: min(ks[key] - 1, math.ceil(total / (parts + 1)))}
        smaller = make(ks)
        if estimate(smaller, workers=workers) > (1 - WORTH_SPLITTING) * seconds:
            return made
        made = smaller


def estimate(packs: Sequence[NewPack], *, workers: int) -> float:
    """Seconds until the last pack ends, if each starts on the first free worker."""
    return _end(packs, workers=workers)[0]


def _end(packs: Sequence[NewPack], *, workers: int) -> tuple[float, int]:
    """When the last pack ends, and which pack it is."""
    free = [0.0] * max(workers, 1)
    latest = (0.0, 0)
    for place, pack in enumerate(packs):
        end = free[0] + pack.seconds
        heapq.heapreplace(free, end)
        latest = max(latest, (end, place))
    return latest


def _grouped(runs: Iterable[Run], key: Callable[[Run], Key]) -> dict[Key, list[Run]]:
    groups: dict[Key, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups


def _parts(runs: Sequence[Run], k: int, whole_cells: bool) -> Iterator[Sequence[Run]]:
    """As few parts as possible with at most K runs each, of sizes as equal as possible."""
    if not whole_cells:
        yield from _even(runs, math.ceil(len(runs) / k))
        return
    cells = list(_grouped(runs, lambda run: run.cell_id).values())
    per_pack = max(1, k // max(map(len, cells)))
    for part in _even(cells, math.ceil(len(cells) / per_pack)):
        yield [run for cell in part for run in cell]


def _even(items: Sequence[Item], parts: int) -> Iterator[Sequence[Item]]:
    ends = [len(items) * i // parts for i in range(parts + 1)]
    return (items[start:end] for start, end in pairwise(ends))


def _new_pack(key: str, runs: Sequence[Run], price: Price | None) -> NewPack:
    return NewPack(
        key=key,
        run_ids=tuple(run.id for run in runs),
        form=price.form if price else "",
        seconds=price.seconds(len(runs)) if price else 0.0,
    )


def _in_order(made: list[NewPack], runs: Sequence[Run], *, block: int) -> list[NewPack]:
    """In the order of their first runs, and within each block of that order the longest first.

    So the blocks stay balanced, and no long pack is left when the other workers have finished. The
    first packs of all cells come before any second one: every level has runs as soon as can be.
    """
    place = {run.id: i for i, run in enumerate(runs)}
    made = sorted(made, key=lambda pack: min(place[run] for run in pack.run_ids))
    later = _later(made, {run.id: run.cell_id for run in runs})
    blocks = (range(i, min(i + block, len(made))) for i in range(0, len(made), block))
    order = (at for part in blocks for at in sorted(part, key=lambda at: -made[at].seconds))
    return [made[at] for at in sorted(order, key=later.__getitem__)]


def _later(made: Iterable[NewPack], cell_of: Mapping[int, int]) -> list[bool]:
    """Whether earlier packs hold all cells of a pack, for each pack."""
    seen: set[int] = set()
    found: list[bool] = []
    for pack in made:
        cells = {cell_of[run] for run in pack.run_ids}
        found.append(cells <= seen)
        seen |= cells
    return found


def awaited(
    cells: Iterable[Cell],
    *,
    scientific: Collection[str],
    trials: int | None,
    eligible: Callable[[Cell], bool],
) -> list[Cell | None]:
    """The cells that will follow: a candidate for each pick; None if a sampler chooses the cell.

    Args:
        cells: the cells so far.
        scientific: paths of the scientific factors.
        trials: the cells of an adaptive search; None for a search that is not adaptive.
        eligible: whether a candidate may be picked: it has a value, or a run that has not ended.
    """
    if trials is not None:
        return [None] * (trials - len(list(cells)))
    waiting: dict[tuple[str, ...], Cell] = {}
    picked: set[tuple[str, ...]] = set()
    for cell in cells:
        levels = tuple(str(cell.factors.get(path)) for path in scientific)
        if cell.role != "tuning":
            picked.add(levels)
        elif eligible(cell):
            waiting.setdefault(levels, cell)
    return [cell for levels, cell in waiting.items() if levels not in picked]
