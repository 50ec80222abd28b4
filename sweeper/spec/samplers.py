"""How cells may be chosen: every word of `search.method`, and what it can do.

A sampler is an entry here, and its maker in `sweeper.search.SAMPLERS`; all other files read these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Method: TypeAlias = Literal[
    "factorial", "random", "qmc", "tpe", "gp", "cma_es", "nsga2", "nsga3", "tune"
]


@dataclass(frozen=True, kw_only=True)
class SearchMethod:
    """What a sampler is, and what it can work with.

    Attributes:
        what: for docs/spec.md.
        chosen: for the methods paragraph, which reads "at points ...".
        adaptive: whether it learns from finished cells, and is asked for cells one by one.
        several: whether it learns from several objectives, and from constraints.
        models_words: whether it models words and lists of levels too; else only ranges of numbers.
    """

    what: str
    chosen: str
    adaptive: bool = True
    models_words: bool = True
    several: bool = True


SAMPLERS: Mapping[Method, SearchMethod] = {
    "factorial": SearchMethod(
        what="every combination", chosen="in a full factorial design", adaptive=False
    ),
    "random": SearchMethod(
        what="random points", chosen="at points drawn at random", adaptive=False
    ),
    "qmc": SearchMethod(
        what="Sobol points, more even than random",
        chosen="at the points of a Sobol sequence",
        adaptive=False,
    ),
    "tpe": SearchMethod(
        what="tree-structured Parzen estimator",
        chosen="at points chosen by a tree-structured Parzen estimator",
    ),
    "gp": SearchMethod(what="Gaussian process", chosen="at points chosen by a Gaussian process"),
    "cma_es": SearchMethod(
        what="CMA-ES, which learns from ranges of numbers and draws other factors at random",
        chosen="at points chosen by CMA-ES",
        models_words=False,
        several=False,
    ),
    "nsga2": SearchMethod(
        what="the genetic algorithm NSGA-II", chosen="at points chosen by NSGA-II"
    ),
    "nsga3": SearchMethod(
        what="the genetic algorithm NSGA-III", chosen="at points chosen by NSGA-III"
    ),
    "tune": SearchMethod(
        what="the searcher of Ray Tune that a `--plugin` file sets as `sweeper.tunes.SEARCHER`",
        chosen="at points chosen by a searcher of Ray Tune",
        several=False,
    ),
}

ADAPTIVE = frozenset(name for name, one in SAMPLERS.items() if one.adaptive)


def described() -> str:
    """The words and their meanings, for docs/spec.md."""
    planned = ". ".join(f"{name}: {one.what}" for name, one in SAMPLERS.items() if not one.adaptive)
    asked = ". ".join(f"{name}: {one.what}" for name, one in SAMPLERS.items() if one.adaptive)
    return (
        f"{planned}. The others are adaptive: they choose each cell by the finished ones. {asked}."
    )
