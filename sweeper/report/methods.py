"""A methods paragraph to paste into a paper, of what this sweep did, and the works it rests on."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper import __version__
from sweeper.analysis.anova import Anova
from sweeper.analysis.answer import Answer
from sweeper.analysis.comparable import Reading
from sweeper.analysis.factors import Factor, name_of, show
from sweeper.analysis.frames import Frames
from sweeper.analysis.intervals import LEAST
from sweeper.analysis.verdicts import MARGIN
from sweeper.states import RunState

DESIGNS = {
    "factorial": "in a full factorial design",
    "random": "at points drawn at random",
    "qmc": "at the points of a Sobol sequence",
    "tpe": "at points chosen by a tree-structured Parzen estimator",
    "gp": "at points chosen by a Gaussian process",
}


def methods(frames: Frames, found: Answer) -> list[str]:
    """The paragraphs, in plain text with (Author, year) citations."""
    told = [_design(frames, found), _outcome(found)]
    if found.gate.reading is Reading.PAIRED:
        told.append(" ".join(_statistics(found)))
    told.append(" ".join(_exclusions(frames, found)))
    return told


def _design(frames: Frames, found: Answer) -> str:
    spec, cells = frames.sweep.spec, frames.reported
    method = spec.get("search", {}).get("method", "factorial")
    varied = _and([_levels(one) for one in found.factors]) or "no factor"
    classes = frames.sweep.facts.get("classes", ())
    unit = spec.get("budget", {}).get("unit", "epochs")
    amounts = {one["train"].get("steps") or one["train"].get("epochs") for one in cells["config"]}
    budget = f"{_and([str(one) for one in sorted(amounts)])} {unit}"
    replicates = frames.reported_runs["replicate"].nunique()
    ran = "once" if replicates == 1 else f"{replicates} times"
    return (
        f"Following Shwartz-Ziv et al. (2023), we varied {varied} on the data {frames.data} "
        f"({len(classes)} classes) {DESIGNS.get(method, 'at chosen points')} of {len(cells)} "
        f"cells. Each cell was trained {ran}. Initialisation, data order, augmentation and the "
        "draw of the training subset all change from replicate to replicate (Bouthillier et al., "
        "2021) and are the same for all cells within a replicate (common random numbers). Every "
        f"run had a budget of {budget} and was read at its end. {_tuning(frames)}"
    )


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
    yield (
        "Intervals of means are 95 % Student t intervals over replicates, with the test set held "
        "fixed; over so few replicates bootstrap intervals are too narrow (Hesterberg, 2015)."
    )
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
    if found.best:
        yield (
            "A level counts as possibly best unless another beats it in a one-sided paired t test "
            "(comparisons with the best; Hsu, 1984)."
        )
    if isinstance(found.anova, Anova):
        yield (
            "Effects in the factorial analysis of variance are reported with intervals from the "
            "noncentral F distribution (Steiger, 2004); p values of interactions control the "
            "false discovery rate (Benjamini and Hochberg, 1995)."
        )
    if found.efficiency is not None:
        yield (
            "Steps to a target and the critical batch size follow Shallue et al. (2019) and "
            "McCandlish et al. (2018)."
        )
    yield (
        f"A difference counts as material beyond {MARGIN:g} percentage point. All comparisons "
        "besides the primary outcome over the whole design are exploratory."
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


def bibtex(text: str) -> str:
    """The entries of the works that a text cites."""
    return "\n\n".join(entry for cited, entry in WORKS.items() if cited in text)


def _and(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


# By the words with which a text cites them.
WORKS = {
    "Shwartz-Ziv et al. (2023)": """@inproceedings{shwartzziv2023simplifying,
  author    = {Shwartz-Ziv, Ravid and Goldblum, Micah and Li, Yucen Lily and Bruss, C. Bayan and
               Wilson, Andrew Gordon},
  title     = {Simplifying Neural Network Training Under Class Imbalance},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {36},
  pages     = {35218--35245},
  year      = {2023},
  eprint    = {2312.02517},
}""",
    "Bouthillier et al., 2021": """@inproceedings{bouthillier2021accounting,
  author    = {Bouthillier, Xavier and others},
  title     = {Accounting for Variance in Machine Learning Benchmarks},
  booktitle = {Proceedings of Machine Learning and Systems},
  volume    = {3},
  year      = {2021},
}""",
    "Hesterberg, 2015": """@article{hesterberg2015what,
  author  = {Hesterberg, Tim C.},
  title   = {What Teachers Should Know About the Bootstrap: Resampling in the Undergraduate
             Statistics Curriculum},
  journal = {The American Statistician},
  volume  = {69},
  number  = {4},
  pages   = {371--386},
  year    = {2015},
}""",
    "Holm, 1979": """@article{holm1979simple,
  author  = {Holm, Sture},
  title   = {A Simple Sequentially Rejective Multiple Test Procedure},
  journal = {Scandinavian Journal of Statistics},
  volume  = {6},
  number  = {2},
  pages   = {65--70},
  year    = {1979},
}""",
    "Stein, 1945": """@article{stein1945two,
  author  = {Stein, Charles},
  title   = {A Two-Sample Test for a Linear Hypothesis Whose Power is Independent of the Variance},
  journal = {The Annals of Mathematical Statistics},
  volume  = {16},
  number  = {3},
  pages   = {243--258},
  year    = {1945},
}""",
    "Hsu, 1984": """@article{hsu1984constrained,
  author  = {Hsu, Jason C.},
  title   = {Constrained Simultaneous Confidence Intervals for Multiple Comparisons with the Best},
  journal = {The Annals of Statistics},
  volume  = {12},
  number  = {3},
  pages   = {1136--1144},
  year    = {1984},
}""",
    "Steiger, 2004": """@article{steiger2004beyond,
  author  = {Steiger, James H.},
  title   = {Beyond the {F} Test: Effect Size Confidence Intervals and Tests of Close Fit in the
             Analysis of Variance and Contrast Analysis},
  journal = {Psychological Methods},
  volume  = {9},
  number  = {2},
  pages   = {164--182},
  year    = {2004},
}""",
    "Benjamini and Hochberg, 1995": """@article{benjamini1995controlling,
  author  = {Benjamini, Yoav and Hochberg, Yosef},
  title   = {Controlling the False Discovery Rate: A Practical and Powerful Approach to Multiple
             Testing},
  journal = {Journal of the Royal Statistical Society: Series B},
  volume  = {57},
  number  = {1},
  pages   = {289--300},
  year    = {1995},
}""",
    "Shallue et al. (2019)": """@article{shallue2019measuring,
  author  = {Shallue, Christopher J. and Lee, Jaehoon and Antognini, Joseph and
             Sohl-Dickstein, Jascha and Frostig, Roy and Dahl, George E.},
  title   = {Measuring the Effects of Data Parallelism on Neural Network Training},
  journal = {Journal of Machine Learning Research},
  volume  = {20},
  number  = {112},
  pages   = {1--49},
  year    = {2019},
}""",
    "McCandlish et al. (2018)": """@misc{mccandlish2018empirical,
  author = {McCandlish, Sam and Kaplan, Jared and Amodei, Dario and {OpenAI Dota Team}},
  title  = {An Empirical Model of Large-Batch Training},
  year   = {2018},
  eprint = {1812.06162},
}""",
    "Clopper and Pearson, 1934": """@article{clopper1934use,
  author  = {Clopper, C. J. and Pearson, E. S.},
  title   = {The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial},
  journal = {Biometrika},
  volume  = {26},
  number  = {4},
  pages   = {404--413},
  year    = {1934},
}""",
}
