"""Groups pending runs into packs, and stores the probe's prices in the database."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Literal

from sweeper import plan
from sweeper.design import pack_key
from sweeper.engine import probe
from sweeper.engine.probe import Question
from sweeper.engine.progress import levels_of
from sweeper.engine.run_tracker import RunTracker, TrackedRun
from sweeper.plan import Price
from sweeper.spec import Spec
from sweeper.spec.own import read
from sweeper.store.records import Cell, Lease, NewPack, Pack
from sweeper.store.store import Store
from trainers.config import Config

Probe = Callable[[Sequence[Question]], Iterable[Price]]


class Packer:
    """Packs pending runs once their keys have prices."""

    def __init__(
        self,
        spec: Spec,
        store: Store,
        lease: Lease,
        tracker: RunTracker,
        *,
        workers: Callable[[], int],
    ) -> None:
        self._spec, self._store, self._lease, self._tracker = spec, store, lease, tracker
        self._workers = workers
        saved = store.prices(lease.sweep_id)
        self.prices = {
            key: Price.read(price)
            for key, price in saved.get("prices", {}).items()
            if "threads" in price  # missing in prices of an earlier Sweeper, without checks
        }
        self._configs: dict[str, Config] = {}

    def price(
        self, cells: Collection[Cell], runs: Iterable[TrackedRun], *, probe_keys: Probe
    ) -> None:
        """Probes the keys of these runs that have no price yet, and stores the prices."""
        wanted = questions(
            cells,
            Counter(run.cell_id for run in runs),
            replicates=self._spec.replicates,
            pack=self._spec.resources.pack,
        )
        asked = [question for question in wanted if question.key not in self.prices]
        if asked:
            self.prices |= {price.key: price for price in probe_keys(asked)}
            self._save()
        for question in wanted:
            if question.key in self.prices:
                self._configs[question.key] = read(question.config)

    def pack(self, runs: Sequence[TrackedRun], *, workers: int | None = None) -> list[Pack]:
        """Makes packs for these runs by the plan, such that none of `workers` is idle."""
        return self._add(self.planned(runs, workers=workers))

    def planned(self, runs: Sequence[TrackedRun], *, workers: int | None = None) -> list[NewPack]:
        """The packs that `pack` would make now."""
        cells = self._cells(runs)
        self._borrow(cells)
        ordered = plan.order_runs(cells, [run.record() for run in runs])
        return plan.packs(
            ordered,
            cells,
            self.prices,
            pack=self._spec.resources.pack,
            whole_cells=self._spec.pruner.method != "none",
            workers=workers or self._workers(),
        )

    def foresee(self, awaited: Mapping[str, int], *, replicates: int) -> tuple[float, int]:
        """The seconds of the packs that will follow, and the number of packs without a price.

        Args:
            awaited: cells by pack key; "" if the key is not known yet.
        """
        pack, seconds, unpriced = self._spec.resources.pack, 0.0, 0
        for key, cells in awaited.items():
            known = [self.prices[key]] if key in self.prices else list(self.prices.values())
            if known:
                a_run = fmean(_seconds_of_a_run(price, pack, replicates) for price in known)
                seconds += cells * replicates * a_run
            else:
                unpriced += math.ceil(cells * replicates / (1 if pack == "auto" else pack))
        return seconds, unpriced

    def threads(self, pack: Pack) -> int | None:
        """The threads with which its key was timed; None if it was not."""
        price = self.prices.get(pack.key)
        return price.threads if price else None

    def alone(self) -> dict[str, float]:
        """Pack key -> seconds of a run that trains alone, where the probe timed one."""
        timed = {key: one for key, one in self.prices.items() if 1 in one.seconds_per_step}
        return {key: round(one.seconds(1), 3) for key, one in timed.items()}

    def change_form(self, key: str, form: str, why: str) -> None:
        """Uses this form for further packs of a key."""
        price = self.prices.get(key)
        if price is not None:
            self.prices[key] = replace(price, form=form, findings=(*price.findings, why))
            self._save()

    def _save(self) -> None:
        dump = {key: price.dump() for key, price in self.prices.items()}
        self._store.save_prices(self._lease, {"prices": dump})

    def split(
        self, pack: Pack, runs: Sequence[TrackedRun], *, k: int, form: str | None = None
    ) -> list[Pack]:
        """Packs the open runs of a dissolved pack, at most K in each, in its form or another."""
        parts = [runs[start : start + k] for start in range(0, len(runs), k)]
        price = self.prices.get(pack.key)
        return self._add(
            [
                NewPack(
                    key=pack.key,
                    run_ids=tuple(run.id for run in part),
                    form=form or pack.form,
                    seconds=price.seconds(len(part)) if price else 0.0,
                )
                for part in parts
            ]
        )

    def _cells(self, runs: Iterable[TrackedRun]) -> list[Cell]:
        ids = dict.fromkeys(run.cell_id for run in runs)
        return [self._tracker.cells[cell] for cell in ids]

    def _borrow(self, cells: Iterable[Cell]) -> None:
        known = set(self.prices)
        for cell in cells:
            key = pack_key(cell.config)
            if key not in self.prices:
                price = probe.borrow(
                    key,
                    read(cell.config),
                    samples=sum(cell.class_counts),
                    priced=self._configs,
                    prices=self.prices,
                )
                if price is not None:
                    self.prices[key] = price
        if set(self.prices) != known:
            self._save()  # so that later launches use the same threads

    def _add(self, made: Sequence[NewPack]) -> list[Pack]:
        packs = self._store.add_packs(self._lease, made) if made else []
        self._tracker.add_packs(packs)
        return packs


def _seconds_of_a_run(price: Price, pack: int | Literal["auto"], replicates: int) -> float:
    """For packs of a cell's replicates, or of the spec's number of runs."""
    k = plan.best_k(price, replicates, replicates) if pack == "auto" else pack
    return price.seconds(k) / k


def questions(
    cells: Iterable[Cell],
    runs_of: dict[int, int],
    *,
    replicates: int,
    pack: int | Literal["auto"] = "auto",
) -> list[Question]:
    """One question for each pack key, those with the most runs first."""
    available: Counter[str] = Counter()
    of_key: dict[str, list[Cell]] = {}
    for cell in cells:
        if runs_of.get(cell.id, 0) and "trainer" not in cell.config:  # whose price nobody knows
            key = pack_key(cell.config)
            available[key] += runs_of[cell.id]
            of_key.setdefault(key, []).append(cell)
    return [
        probe.question(
            key,
            of_key[key][0].config,
            replicates=replicates,
            available=count,
            what=levels_of(shared(of_key[key])),
            pack=pack,
        )
        for key, count in available.most_common()
    ]


def shared(cells: Sequence[Cell]) -> dict[str, object]:
    """The levels that all of these cells share."""
    first = cells[0].factors
    return {
        name: level
        for name, level in first.items()
        if all(cell.factors.get(name) == level for cell in cells)
    }
