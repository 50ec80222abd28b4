"""The sources of cells: all at once, after tuning, or one by one from a sampler."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from sweeper.design import Design, cell_hash, designs
from sweeper.engine import data_facts
from sweeper.engine.messages import OwnTrainer
from sweeper.spec import Spec
from sweeper.store.records import Cell, Key, NewCell
from trainers.config import Config, ConfigError
from trainers.identity import version as trainer_version

REPORT, TUNING, SCREENING = "report", "tuning", "screening"


class CellMaker:
    """Turns designs into cells: reads each data block once, and checks that they fit together."""

    own: OwnTrainer | None = None  # in place of Sweeper's trainer

    def __init__(self, spec: Spec) -> None:
        self._spec, self.version = spec, trainer_version()
        self._facts: dict[str, dict[str, Any]] = {}
        self.replicates = {
            REPORT: tuple(range(spec.replicates)),
            TUNING: tuple(-1 - index for index in range(spec.tuning_replicates)),
        }

    @property
    def facts(self) -> dict[str, Any]:
        """The facts of the first data block that was read."""
        return next(iter(self._facts.values()))

    @property
    def layout(self) -> tuple[Key, ...]:
        """The order of a round's numbers."""
        return tuple(data_facts.layout(self.facts, self._spec.train.observe))

    @property
    def fingerprints(self) -> dict[str, str]:
        """Load key -> fingerprint, for every data block read so far."""
        return {key: facts["fingerprint"] for key, facts in self._facts.items()}

    def facts_of(self, config: Config) -> dict[str, Any]:
        """Returns the facts of a configuration's data.

        Raises:
            SpecError: the data cannot be read, or have other classes than the data of other cells.
        """
        key = data_facts.load_key(config.data)
        if key not in self._facts:
            try:
                facts = data_facts.inspect(config.data)
            except ConfigError as error:
                raise self._spec.problem(error.key, error.value, error.reason) from error
            if self._facts and facts["classes"] != self.facts["classes"]:
                raise self._spec.problem(
                    "data.dataset", config.data.dataset, "has other classes than the first cell's"
                )
            self._facts[key] = facts
        return self._facts[key]

    def make(self, design: Design, *, role: str, number: int | None = None) -> NewCell:
        """Makes the cell of a design.

        Raises:
            SpecError: its configuration does not fit the data.
        """
        try:
            counts = self._counts(design.config)
        except ConfigError as error:
            raise self._spec.problem(error.key, error.value, error.reason) from error
        return self._cell(design, role=role, number=number, counts=counts)

    def make_anyway(self, design: Design, *, number: int | None) -> tuple[NewCell, str]:
        """Makes the cell of an unforeseen design; also returns why it cannot run, or ""."""
        try:
            counts = self._counts(design.config)
        except ConfigError as error:
            return self._cell(design, role=REPORT, number=number, counts=()), str(error)
        return self._cell(design, role=REPORT, number=number, counts=counts), ""

    def _counts(self, config: Config) -> tuple[int, ...]:
        metric = self._spec.objective.metric
        return data_facts.class_counts(config, self.facts_of(config), objective=metric)

    def _cell(
        self, design: Design, *, role: str, number: int | None, counts: tuple[int, ...]
    ) -> NewCell:
        fingerprint = self.facts_of(design.config)["fingerprint"]
        return NewCell(
            hash=cell_hash(design.config, self._spec.budget.unit, fingerprint, self.version),
            role=role,
            factors=design.factors,
            config=design.config.model_dump(mode="json"),
            class_counts=counts,
            replicates=self.replicates[role],
            optuna_number=number,
        )


class Cells(Protocol):
    """A source of a sweep's cells."""

    def first(self) -> list[NewCell]:
        """Every cell that is known before anything has run."""
        ...

    def after(self, cell: Cell, values: Mapping[str, list[float]]) -> list[NewCell]:
        """The cells that follow when a cell ends. `values` has the values of finished cells."""
        ...

    def more(self, wanted: int) -> list[NewCell]:
        """Up to `wanted` further cells, for workers that would otherwise idle."""
        ...

    def unasked(self) -> bool:
        """Whether `more` has further cells."""
        ...


class Planned:
    """All cells are known at once: factorial, random and Sobol designs without nuisance factors."""

    def __init__(self, spec: Spec, maker: CellMaker) -> None:
        self._spec, self._maker = spec, maker

    def first(self) -> list[NewCell]:
        return list(self._all())

    def after(self, cell: Cell, values: Mapping[str, list[float]]) -> list[NewCell]:
        return []

    def more(self, wanted: int) -> list[NewCell]:
        return []

    def unasked(self) -> bool:
        return False

    def _all(self) -> Iterable[NewCell]:
        for design in designs(self._spec):
            yield self._maker.make(design, role=REPORT)
