"""What a launch must know of the user's own training function before anything is created."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sweeper import trainables
from sweeper.design import Design, design
from sweeper.engine import evaluations, kept
from sweeper.engine.cells import CellMaker
from sweeper.engine.messages import OwnTrainer
from sweeper.errors import InputError, SpecError
from sweeper.spec import ADAPTIVE, Screen, Spec
from sweeper.spec import factors as f
from sweeper.spec.own import IMPORTED
from sweeper.store.records import Key, Sweep
from sweeper.trainables import Replicate, Reported, Reporter, ReportError, Trainable
from trainers.config import Config


def prepared(
    spec: Spec, given: Trainable | None = None, *, before: Sweep | None
) -> tuple[Spec, CellMaker]:
    """The spec with what its data or its trainer decide, and what makes its cells.

    Args:
        given: the training function, where no plug-in file has it.
        before: the sweep of that name in the database.

    Raises:
        InputError: the data or the function cannot be used.
    """
    _refuse_imported(spec, before)
    if spec.trainer is not None:
        own = OwnMaker(spec, given, before=before)
        return own.spec, own
    maker = CellMaker(spec)
    return evaluations.decided(spec, maker, before=before.spec if before else None), maker


def _refuse_imported(spec: Spec, before: Sweep | None) -> None:
    """Returns if Sweeper can make the sweep's runs.

    Raises:
        SpecError: others made them, and `sweeper import` has read them.
    """
    if before is not None and (read := before.provenance.get("imported")):
        reason = (
            f"sweep '{spec.name}' in this database was imported from {read.get('file')}: its runs "
            "were made elsewhere and cannot be launched; give this spec another name"
        )
        raise spec.problem("name", spec.name, reason)
    if spec.trainer == IMPORTED:
        reason = "stands for runs that others made and `sweeper import` has read; nothing can be "
        raise spec.problem("trainer", IMPORTED, f"{reason}launched")


class OwnMaker(CellMaker):
    """Makes the cells of a sweep whose trainer is a function of the user's own.

    Args:
        spec: with the function's name under `trainer`.
        given: the function itself, where the caller has it; else a plug-in file defines it.
        before: the sweep of that name in the database.

    Attributes:
        spec: the spec with the split on which the objective is read.

    Raises:
        InputError: there is no such function, or it cannot be used.
        SpecError: it does not report the objective.
    """

    def __init__(self, spec: Spec, given: Trainable | None, *, before: Sweep | None) -> None:
        super().__init__(spec)
        name = str(spec.trainer)
        if given is not None and given.name != name:
            raise spec.problem(
                "trainer", name, f"is not the function that was passed, {given.name!r}"
            )
        function = given or trainables.named(name)
        if given is not None:
            _check_sent(given)
        self.version = f"{name} {function.version}"
        mark, files = trainables.fingerprint(function.data)
        self._own_facts = {"fingerprint": mark, "kind": "own", "classes": [], "files": files}
        layout = self._known(before) or first_report(spec, function, mark=mark)
        self.spec = _read_where(spec, layout)
        self.own = OwnTrainer(
            name=name, function=given, layout=layout, files=function.data, fingerprint=mark
        )

    @property
    def facts(self) -> dict[str, Any]:
        return self._own_facts

    @property
    def layout(self) -> tuple[Key, ...]:
        assert self.own is not None  # noqa: S101  set at the start
        return self.own.layout

    def facts_of(self, config: Config) -> dict[str, Any]:
        return self._own_facts

    def _counts(self, config: Config) -> tuple[int, ...]:
        return ()

    def _known(self, before: Sweep | None) -> tuple[Key, ...]:
        """What the same function has reported in an earlier launch; nothing where it is new."""
        if before is None or before.provenance.get("trainer") != self.version:
            return ()
        return before.layout


def _check_sent(function: Trainable) -> None:
    """Returns when Ray can send the function to a worker.

    Raises:
        InputError: it holds something of this process, such as a lock or an open file.
    """
    from ray import cloudpickle

    try:
        cloudpickle.dumps(function)  # pyright: ignore[reportPrivateImportUsage]
    except Exception as error:  # a class of what the function holds may raise anything
        raise InputError(
            f"trainer {function.name!r} cannot be sent to workers: {error}; make what it uses "
            "inside the function"
        ) from error


class _Enough(BaseException):
    """Raised in a function after its first report."""


def first_report(spec: Spec, function: Trainable, *, mark: str) -> tuple[Key, ...]:
    """The numbers that a function reports: it is called here, until its first report.

    Raises:
        InputError: it fails before, reports nothing, or reports what cannot be recorded.
    """
    found: list[Reported] = []

    def take(reported: Reported) -> None:
        kept.packed(reported.state, {}, at="0")
        found.append(reported)
        raise _Enough

    config = _first_cell(spec).config.model_dump(mode="json")["train"]
    try:
        function(config, Replicate(0, mark), Reporter(take, layout=None))
    except _Enough:
        return tuple(found[0].numbers)
    except ReportError as error:
        raise InputError(f"trainer {function.name!r}: {error}") from error
    except (Exception, SystemExit) as error:
        raise InputError(
            f"trainer {function.name!r} failed before its first report: "
            f"{type(error).__name__}: {error}"
        ) from error
    raise InputError(f"trainer {function.name!r} has ended without a report")


def _first_cell(spec: Spec) -> Design:
    """The cell at the first level of every factor."""
    factors = {**spec.scientific, **spec.nuisance}
    levels = {name: f.pick(factor, 0.0) for name, factor in factors.items()}
    cell = design(spec, levels)
    tuned = {name: levels[name] for name in spec.nuisance}
    return Design(cell.factors, spec.config_for({**cell.factors, **tuned}))


def _read_where(spec: Spec, layout: Sequence[Key]) -> Spec:
    """The spec with the split on which the objective is read: val where it is reported.

    Raises:
        SpecError: the objective is not reported, or something is selected and val is missing.
    """
    metric = spec.objective.metric
    for other in {*(one.metric for one in spec.goals), *spec.constraints} - {metric}:
        if not any(name == other and not target for _, name, target in layout):
            key = f"constraints.{other}" if other in spec.constraints else "objectives"
            raise spec.problem(key, other, "is not what the function reports")
    splits = {split for split, name, target in layout if name == metric and not target}
    if "test" not in splits:
        names = sorted({name for split, name, target in layout if split == "test" and not target})
        has = f"; on test it reports {', '.join(names)}" if names else ""
        reason = f"is not what the function reports on test{has}"
        raise spec.problem("objective.metric", metric, reason)
    if any(split == "val" for split, _, _ in layout) and "val" not in splits:
        raise spec.problem("objective.metric", metric, "is not what the function reports on val")
    if "val" not in splits and (what := _selects(spec)):
        reason = "the function reports nothing on val, and nothing is selected on the test split"
        raise _selection(spec, what, reason)
    split = "val" if "val" in splits else "test"
    objective = spec.objective.model_copy(update={"split": split})
    return spec.model_copy(update={"objective": objective})


def _selects(spec: Spec) -> str:
    """The key of what would select on the objective; nothing where nothing does."""
    if spec.nuisance:
        return "nuisance"
    if spec.search.method in ADAPTIVE:
        return "search"
    if spec.pruner.method != "none":
        return "pruner"
    return "replicates" if isinstance(spec.precision, Screen) else ""


def _selection(spec: Spec, key: str, reason: str) -> SpecError:
    from sweeper.spec.problems import NOTHING

    return spec.problem(key, NOTHING, reason)
