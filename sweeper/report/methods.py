"""A methods paragraph to paste into a paper, of what this sweep did, and the works it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sweeper import __version__
from sweeper.analysis import held, imported
from sweeper.analysis.comparable import scientific
from sweeper.analysis.factors import Factor, name_of, show
from sweeper.analysis.frames import Frames
from sweeper.analysis.intervals import LEAST
from sweeper.analysis.screening import SCREENING
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import joined
from sweeper.spec.samplers import SAMPLERS
from sweeper.states import RunState
from sweeper.topics.failures import estimate as failures
from sweeper.topics.registry import topics
from sweeper.topics.screening import estimate as screening
from sweeper.topics.trends import estimate as trends

DESIGNS: Mapping[str, str] = {name: one.chosen for name, one in SAMPLERS.items()}


def methods(view: SweepView) -> list[str]:
    """The paragraphs, in plain text with (Author, year) citations."""
    told = [
        _design(view),
        _outcome(view),
        " ".join(_statistics(view)),
        " ".join(_topics(view)),
        " ".join(_exclusions(view)),
    ]
    return [one for one in told if one]


def _design(view: SweepView) -> str:
    spec, cells = view.frames.sweep.spec, view.frames.reported
    method = spec.get("search", {}).get("method", "factorial")
    varied = joined([_levels(one) for one in _varied(view)]) or "no factor"
    classes = view.frames.sweep.facts.get("classes", ())
    unit = spec.get("budget", {}).get("unit", "epochs")
    budget = f"{joined(list(map(str, view.frames.budgets)))} {unit}"
    replicates = view.frames.reported_runs["replicate"].nunique()
    ran = "once" if replicates == 1 else f"{replicates} times"
    size, each = f"{len(cells)} cells", "Each cell"
    if view.of(screening.build) is not None:
        size = f"{len(_screened(view.frames))} cells, of which screening left {len(cells)}"
        each = "Each of these"
    if view.frames.foreign:
        chosen = DESIGNS.get(method, "at chosen points")
        return f"We read {varied} {chosen} of {size}. {imported.design(view.frames)}"
    if view.frames.own_trainer:
        return (
            f"We varied {varied} {DESIGNS.get(method, 'at chosen points')} of {size}. {each} was "
            f"trained {ran} with our own training function {view.frames.own_trainer!r}. Its seeds "
            "change from replicate to replicate and are the same for all cells within a replicate "
            "(common random numbers). Every run was read at its last report. "
            f"{_tuning(view.frames)}"
        )
    return (
        f"Following Shwartz-Ziv et al. (2023), we varied {varied} on the data {view.frames.data} "
        f"({len(classes)} classes) {DESIGNS.get(method, 'at chosen points')} of {size}. "
        f"{each} was trained {ran}. Initialisation, data order, augmentation and the draw of the "
        "training subset all change from replicate to replicate (Bouthillier et al., 2021) and are "
        "the same for all cells within a replicate (common random numbers). Every run had "
        f"a budget of {budget} and was read at its end. {_tuning(view.frames)}"
    )


def _varied(view: SweepView) -> tuple[Factor, ...]:
    """The factors with all of their levels, those that screening dropped as well."""
    if view.of(screening.build) is None:
        return view.factors
    return scientific(view.frames, cells=_screened(view.frames))


def _screened(frames: Frames) -> list[int]:
    seen = (frames.cells["role"] == SCREENING) & ~frames.cells["hidden"].astype(bool)
    return list(frames.cells.index[seen])


def _levels(factor: Factor) -> str:
    if len(factor.levels) > 8:
        return f"{factor.name} ({show(factor.levels[0])} to {show(factor.levels[-1])})"
    return f"{factor.name} ({', '.join(map(show, factor.levels))})"


def _tuning(frames: Frames) -> str:
    nuisance = [name_of(path) for path in frames.sweep.spec.get("nuisance") or {}]
    if not nuisance or not (frames.cells["role"] == "tuning").any():
        return "No other hyperparameter was tuned."
    are = "were" if len(nuisance) > 1 else "was"
    return (
        f"{joined(nuisance).capitalize()} {are} tuned for each cell on the validation split, on "
        "replicates of their own that are not reported."
    )


def _outcome(view: SweepView) -> str:
    groups = ""
    if any("minority" in one.name for one in view.measures):
        groups = (
            " Minority and majority are the thirds of the classes with the fewest and the most "
            "training samples; a group's accuracy is the mean of its classes' recalls."
        )
    if view.frames.foreign:
        return f"The primary outcome is {view.objective.title}, as it was recorded."
    return (
        f"The primary outcome is {view.objective.title} on the test split, which no choice was "
        f"made on.{groups}"
    )


def _statistics(view: SweepView) -> Iterator[str]:
    """How means and the primary comparisons were judged."""
    if view.replicates < LEAST:
        return
    yield (
        "Intervals of means are 95 % Student t intervals over replicates, with the test set held "
        "fixed; over so few replicates bootstrap intervals are too narrow (Hesterberg, 2015). "
        f"{held.of_means(view.replicates)}"
    )
    if not view.grid:
        if view.of(screening.build) is not None:
            yield view.rule.method()
        return
    planned = view.rule.method()
    if planned:
        yield planned
    if view.of(trends.build).slopes:
        yield (
            "Average changes a step were fitted in each replicate, with t intervals over "
            "replicates; an interaction is the difference of two such changes."
        )
    yield (
        "All comparisons besides the primary outcome at the condition in question are exploratory "
        "and have no verdict."
    )


def _topics(view: SweepView) -> Iterator[str]:
    """What each topic of the page adds."""
    for one in topics(view):
        yield from one.methods(view)


def _exclusions(view: SweepView) -> Iterator[str]:
    runs = view.frames.reported_runs
    ended = {state: int((runs["state"] == state).sum()) for state in RunState}
    lost = [
        f"{ended[state]} {state}" for state in (RunState.FAILED, RunState.PRUNED) if ended[state]
    ]
    rest = joined(lost) if lost else "none failed, none was pruned"
    kept = "; runs that collapsed were kept" if view.of(failures.build).collapses else ""
    yield f"{ended[RunState.COMPLETE]} of {len(runs)} runs were complete ({rest}){kept}."
    if ended[RunState.FAILED]:
        yield "Shares of failed runs have exact intervals (Clopper and Pearson, 1934)."
    if view.replicates < LEAST:
        yield "With so few replicates no interval is given."
    packages = view.frames.sweep.provenance.get("packages") or {}
    torch = f" and PyTorch {packages['torch']}" if packages.get("torch") else ""
    yield f"Training and analysis used Sweeper {__version__}{torch}."
