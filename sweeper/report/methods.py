"""A methods paragraph to paste into a paper, of what this sweep did, and the works it rests on."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper import __version__
from sweeper.analysis.anova import Anova
from sweeper.analysis.answer import Answer
from sweeper.analysis.classes import Crossing
from sweeper.analysis.comparable import Reading
from sweeper.analysis.exchange import Exchange
from sweeper.analysis.factors import Factor, name_of, scientific, show
from sweeper.analysis.fairness import Fairness
from sweeper.analysis.frames import Frames
from sweeper.analysis.importance import Importance
from sweeper.analysis.intervals import LEAST, Estimate
from sweeper.analysis.screening import SCREENING
from sweeper.analysis.verdicts import MARGIN
from sweeper.report.exchange import MOST_REGIONS
from sweeper.states import RunState

DESIGNS = {
    "factorial": "in a full factorial design",
    "random": "at points drawn at random",
    "qmc": "at the points of a Sobol sequence",
    "tpe": "at points chosen by a tree-structured Parzen estimator",
    "gp": "at points chosen by a Gaussian process",
    "tune": "at points chosen by a searcher of Ray Tune",
}


def methods(frames: Frames, found: Answer) -> list[str]:
    """The paragraphs, in plain text with (Author, year) citations."""
    told = [_design(frames, found), _outcome(found), " ".join(_statistics(found)),
            " ".join(_looks(found)), " ".join(_exclusions(frames, found))]  # fmt: skip
    return [one for one in told if one]


def _design(frames: Frames, found: Answer) -> str:
    spec, cells = frames.sweep.spec, frames.reported
    method = spec.get("search", {}).get("method", "factorial")
    varied = _and([_levels(one) for one in _varied(frames, found)]) or "no factor"
    classes = frames.sweep.facts.get("classes", ())
    unit = spec.get("budget", {}).get("unit", "epochs")
    amounts = {one["train"].get("steps") or one["train"].get("epochs") for one in cells["config"]}
    budget = f"{_and([str(one) for one in sorted(amounts)])} {unit}"
    replicates = frames.reported_runs["replicate"].nunique()
    ran = "once" if replicates == 1 else f"{replicates} times"
    size, each = f"{len(cells)} cells", "Each cell"
    if found.screened is not None:
        size = f"{len(_screened(frames))} cells, of which screening left {len(cells)}"
        each = "Each of these"
    return (
        f"Following Shwartz-Ziv et al. (2023), we varied {varied} on the data {frames.data} "
        f"({len(classes)} classes) {DESIGNS.get(method, 'at chosen points')} of {size}. "
        f"{each} was trained {ran}. Initialisation, data order, augmentation and the draw of the "
        "training subset all change from replicate to replicate (Bouthillier et al., 2021) and are "
        "the same for all cells within a replicate (common random numbers). Every run had "
        f"a budget of {budget} and was read at its end. {_tuning(frames)}"
    )


def _varied(frames: Frames, found: Answer) -> tuple[Factor, ...]:
    """The factors with all of their levels, those that screening dropped as well."""
    if found.screened is None:
        return found.factors
    return scientific(frames, cells=_screened(frames))


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
        f"{_and(nuisance).capitalize()} {are} tuned for each cell on the validation split, on "
        "replicates of their own that are not reported."
    )


def _outcome(found: Answer) -> str:
    groups = ""
    if any("minority" in one.name for one in found.measures):
        groups = (
            " Minority and majority are the thirds of the classes with the fewest and the most "
            "training samples; a group's accuracy is the mean of its classes' recalls."
        )
    return (
        f"The primary outcome is {found.objective.title} on the test split, which no choice was "
        f"made on.{groups}"
    )


def _statistics(found: Answer) -> Iterator[str]:
    """How means and the primary comparisons were judged."""
    if found.replicates < LEAST:
        return
    yield (
        "Intervals of means are 95 % Student t intervals over replicates, with the test set held "
        "fixed; over so few replicates bootstrap intervals are too narrow (Hesterberg, 2015)."
    )
    if found.gate.reading is not Reading.PAIRED:
        if found.screened is not None:
            yield found.rule.method()
        return
    if found.effects:
        ns = sorted({d.estimate.n for one in found.effects for d in one.differences})
        span = f"n = {ns[0]}" if len(ns) == 1 else f"n = {ns[0]} to {ns[-1]}"
        yield (
            f"Levels were compared with a reference within replicates ({span}) by paired t "
            "intervals, simultaneous over the levels of a factor (Bonferroni); p values were "
            "adjusted by Holm's method (Holm, 1979). Each pair has its own variance."
        )
    planned = found.rule.method()
    if planned:
        yield planned
    if found.slopes:
        yield (
            "Trends were fitted in each replicate and then tested over replicates by t; an "
            "interaction is the difference of two such slopes."
        )
    if found.fairness is not None and found.fairness.claims:
        yield _fairness(found.fairness)
    yield (
        f"A difference counts as material beyond {MARGIN:g} percentage point. All comparisons "
        "besides the primary outcome over the whole design are exploratory."
    )


def _fairness(found: Fairness) -> str:
    fair, count = sum(one.fair for one in found.claims), len(found.claims)
    edge = any(one.edges for one in found.cells)
    withheld = " Verdicts that rest on a pick at an edge were withheld." if edge else ""
    return (
        "What a hyperparameter does can hinge on tuning and budget (for the batch size, see "
        "Shallue et al. (2019)). So a comparison is called fair if the learning rate was tuned for "
        "each cell, all cells had an equal budget, no pick lies at an edge of its range, all "
        "blocks of replicates are complete and no run collapsed, as far as each applies: "
        f"{fair} of {count} primary comparisons are.{withheld}"
    )


def _looks(found: Answer) -> Iterator[str]:
    """The further analyses, each where the page shows one."""
    if found.best and found.replicates >= LEAST:
        yield (
            "A level counts as possibly best unless another beats it in a one-sided paired t test "
            "(comparisons with the best; Hsu, 1984)."
        )
    yield from _exchange(found.exchange)
    if found.classes is not None and isinstance(found.classes.crossing, Crossing):
        yield (
            "The class size at which the lowest and the highest level do equally well has a 95 % "
            "interval by Fieller's method (Fieller, 1954) over lines fitted in each replicate."
        )
    whole = found.anatomy
    if whole and any(one.outer.known for one in (*whole.cells, *whole.differences)):
        yield (
            "The spread between runs is largely that of a finite test set (Jordan, 2023), so "
            "intervals for new data stand beside those for this test set. Their variance is that "
            "over runs plus that over test examples, less the residual that both contain, from "
            "each run's answer to each example; degrees of freedom are approximate "
            "(Satterthwaite, 1946)."
        )
    if isinstance(found.anova, Anova):
        yield (
            "Effects in the factorial analysis of variance are reported with intervals from the "
            "noncentral F distribution (Steiger, 2004); p values of interactions control the "
            "false discovery rate (Benjamini and Hochberg, 1995)."
        )
    if isinstance(found.importance, Importance):
        one = found.importance
        yield (
            "Importance is model-based and has no interval: first-order and total Sobol indices "
            f"(Saltelli et al., 2010) of a {one.model} of the cells' means, which predicts "
            f"{100 * one.r2:.0f} % of the variance of cells that it was not fitted to."
        )
    if found.efficiency is not None:
        yield "Steps to a target were counted as by Shallue et al. (2019)."
        if any(isinstance(one.critical, Estimate) for one in found.efficiency.lines):
            yield (
                "The critical batch size is that of the law of McCandlish et al. (2018), fitted "
                "to the steps, with a jackknife interval over replicates."
            )


def _exchange(found: Exchange | None) -> Iterator[str]:
    if found is None:
        return
    if len(found.spots) <= MOST_REGIONS and any(one.region.outline for one in found.spots):
        yield (
            "Joint 95 % regions of the two mean accuracies of a cell are by Hotelling's T squared "
            "(Hotelling, 1931)."
        )
    if found.prices:
        yield (
            f"At each of {len(found.prices)} prices of a minority error, one at a time, the cells "
            "that may be best were found by comparisons with the best (Hsu, 1984)."
        )


def _exclusions(frames: Frames, found: Answer) -> Iterator[str]:
    runs = frames.reported_runs
    ended = {state: int((runs["state"] == state).sum()) for state in RunState}
    lost = [f"{ended[state]} {state}" for state in (RunState.FAILED, RunState.PRUNED)
            if ended[state]]  # fmt: skip
    rest = _and(lost) if lost else "none failed, none was pruned"
    kept = "; runs that collapsed were kept" if found.collapses else ""
    yield f"{ended[RunState.COMPLETE]} of {len(runs)} runs were complete ({rest}){kept}."
    if ended[RunState.FAILED]:
        yield "Shares of failed runs have exact intervals (Clopper and Pearson, 1934)."
    if found.replicates < LEAST:
        yield "With so few replicates no interval is given."
    packages = frames.sweep.provenance.get("packages") or {}
    torch = f" and PyTorch {packages['torch']}" if packages.get("torch") else ""
    yield f"Training and analysis used Sweeper {__version__}{torch}."


def _and(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
