"""The rules about how cells are chosen."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.spec import factors as f
from sweeper.spec.factors import Range
from sweeper.spec.models import SpecFile
from sweeper.spec.phrases import near
from sweeper.spec.problems import Problem
from sweeper.spec.samplers import ADAPTIVE, SAMPLERS


def search_has_what_it_needs(spec: SpecFile) -> Iterator[Problem]:
    method, trials = spec.search.method, spec.search.trials
    if method == "factorial" and trials is not None:
        yield Problem(
            ("search", "trials"), "factorial runs every combination; leave trials out", trials
        )
    if method != "factorial" and trials is None:
        yield Problem(("search",), f"needs trials: {{method: {method}, trials: 16}}", method)
    for name, factor in spec.scientific.items():
        if method == "factorial" and f.size(factor) is None:
            yield Problem(
                ("scientific", name), "a range under search: factorial needs step or levels"
            )


def a_sampler_fits_the_factors(spec: SpecFile) -> Iterator[Problem]:
    """A sampler that models numbers alone needs a range of numbers."""
    method = spec.search.method
    if not SAMPLERS[method].models_words and not any(map(is_range, spec.scientific.values())):
        reason = "learns from ranges of numbers, and no factor is one; write a factor such as "
        reason += "train.lr: {low: 0.01, high: 1.0, log: true}, or use tpe"
        yield Problem(("search", "method"), reason, method)


def is_range(factor: f.AnyFactor) -> bool:
    """Whether a sampler sees a range of numbers, rather than levels without an order."""
    return isinstance(factor, Range) and factor.levels is None


def drawn_at_random(spec: SpecFile) -> list[str]:
    """The factors that the sampler does not model, and draws at random."""
    if SAMPLERS[spec.search.method].models_words:
        return []
    return [name for name, factor in spec.scientific.items() if not is_range(factor)]


def adaptive_has_no_grid_of_its_own(spec: SpecFile) -> Iterator[Problem]:
    """An adaptive sampler tunes every factor itself, so nuisance tuning inside it is a waste."""
    if spec.search.method in ADAPTIVE and spec.nuisance:
        yield Problem(
            ("nuisance",), f"{spec.search.method} tunes by itself; make these factors scientific"
        )


def wilcoxon_has_enough_pairs(spec: SpecFile) -> Iterator[Problem]:
    """The smallest p-value of n pairs is 1 / 2^n, so fewer pairs never stop a cell."""
    if spec.pruner.method != "wilcoxon":
        return
    least = next(n for n in range(1, 1100) if 0.5**n < spec.pruner.p)
    least = max(2, least)
    keys = ("replicates", "tuning_replicates") if spec.nuisance else ("replicates",)
    for key in keys:
        if (count := getattr(spec, key)) < least:
            reason = f"pruner: wilcoxon compares in pairs, and fewer than {least} replicates never "
            reason += f"give p < {spec.pruner.p:g}; write {key}: {least} or more, or pruner: median"
            yield Problem((key,), reason, count)


def first_points_are_in_the_space(spec: SpecFile) -> Iterator[Problem]:
    if not spec.first:
        return
    method = spec.search.method
    if method not in ADAPTIVE:
        reason = f"is for an adaptive search, and {method} plans its cells; use search: "
        yield Problem(("first",), f"{reason}{{method: tpe, trials: 30}}, or leave it out")
    if method == "tune":
        yield Problem(("first",), "is not for tune; give the points to the searcher itself")
    for at, point in enumerate(spec.first):
        for name, level in point.items():
            path = ("first", at, name)
            if name not in spec.scientific:
                yield Problem(path, f"no such scientific factor{near(name, spec.scientific)}")
            elif not f.has(spec.scientific[name], level):
                reason = f"is not in the search space; write a level of scientific.{name}"
                yield Problem(path, reason, level)


def a_start_is_for_a_sampler(spec: SpecFile) -> Iterator[Problem]:
    name, method = spec.start_from, spec.search.method
    if name is not None and method not in ADAPTIVE:
        reason = f"is for an adaptive search, and {method} learns from no cell; leave it out"
        yield Problem(("start_from",), reason, name)
    if name == spec.name:
        yield Problem(("start_from",), "is this sweep itself, which goes on by itself", name)


RULES = (
    search_has_what_it_needs,
    a_sampler_fits_the_factors,
    adaptive_has_no_grid_of_its_own,
    wilcoxon_has_enough_pairs,
    first_points_are_in_the_space,
    a_start_is_for_a_sampler,
)
