"""The roles of a table's columns: as the user gives them, and guessed where nothing is given.

A role that is given is not guessed. Everything that is guessed is shown before it is used.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

RUNS = (
    "run_id", "run", "run_name", "trial_id", "trial", "trial_number", "job_id", "uuid", "uid",
    "id", "number", "name", "iteration", "index",
)  # fmt: skip
EPOCHS = (
    "epoch", "training_iteration", "iteration", "iter", "round", "step", "global_step",
)  # fmt: skip
REPLICATES = (
    "replicate", "seed", "random_seed", "rng_seed", "random_state", "repeat", "repetition", "fold",
)  # fmt: skip
COUNTERS = frozenset({*EPOCHS, "id", "index", "number", "run", "trial"})  # never factors
STATES = ("state", "status", "run_state")
DIVERGED = frozenset({"nan", "diverged", "failed", "crashed"})  # words in a true-or-false column
METRICS = frozenset({
    "acc", "accuracy", "auc", "auroc", "bleu", "dice", "err", "error", "f1", "iou", "loss", "mae",
    "map", "metric", "miou", "mse", "nll", "objective", "perplexity", "ppl", "precision", "r2",
    "recall", "return", "reward", "rmse", "score", "top1", "top5", "top", "value",
})  # fmt: skip
SHARES = frozenset({
    "acc", "accuracy", "auc", "auroc", "dice", "f1", "iou", "miou", "precision", "recall", "top",
    "top1", "top5",
})  # fmt: skip
LOWER = frozenset({"err", "error", "loss", "mae", "mse", "nll", "perplexity", "ppl", "rmse"})
NO_METRICS = frozenset({"weight", "coef", "coefficient", "type", "function", "name", "scale"})
SECONDS = (
    "seconds", "time_total_s", "duration", "duration_s", "runtime", "train_time", "time",
)  # fmt: skip
NEVER = frozenset({
    "address", "artifact", "checkpoint", "created", "date", "datetime", "dir", "done", "duration",
    "end", "experiment", "host", "hostname", "ip", "logdir", "node", "path", "pid", "runtime",
    "seconds", "start", "tags", "time", "timestamp", "timesteps", "updated", "uri", "url", "user",
})  # fmt: skip
# What loggers write before the names of settings and of metrics.
SETTING = re.compile(r"^(config|params|param|hparams|hyperparameters|hp)[/._]", re.I)
METRIC = re.compile(r"^(metrics|summary)[/.]", re.I)
OTHER = re.compile(r"^(tags|user_attrs|system_attrs)[/._]", re.I)
# Columns of the report's tables, which stand beside the factors.
TABLED = frozenset({
    "cell", "class_counts", "complete", "config", "ending", "epoch", "error", "failed", "hash",
    "hidden", "high", "low", "max", "mean", "measure", "median", "method", "min", "n", "note",
    "optuna_number", "pruned", "replicate", "replicates", "role", "run", "runs", "sd", "seconds",
    "state", "step", "updates", "value", "why",
})  # fmt: skip
LONGEST = 1e8  # seconds of a run
MOST_WORDS = 50  # different words in a column; more are names of runs, not levels


@dataclass(frozen=True)
class Columns:
    """The role of each column.

    Attributes:
        factors, metrics: name in the sweep -> column; of the metrics the first is the objective.
        fixed: columns with one value for all runs.
        seconds: the time since the run began, or that the run took.
    """

    factors: Mapping[str, str] = field(default_factory=dict[str, str])
    metrics: Mapping[str, str] = field(default_factory=dict[str, str])
    fixed: Mapping[str, str] = field(default_factory=dict[str, str])
    run: str = ""
    epoch: str = ""
    replicate: str = ""
    state: str = ""
    seconds: str = ""

    def over(self, other: Columns) -> Columns:
        """These roles, and those of `other` where this has none."""
        names = ("factors", "metrics", "fixed", "run", "epoch", "replicate", "state", "seconds")
        return Columns(**{name: getattr(self, name) or getattr(other, name) for name in names})

    def apart(self) -> Columns:
        """The same, with factors whose names are no columns of the report's tables.

        A factor `method` becomes `config.method`, which the report shows as "method".
        """
        names = {name: f"config.{name}" if name in TABLED else name for name in self.factors}
        return replace(self, factors={names[name]: one for name, one in self.factors.items()})

    def named(self) -> Iterator[tuple[str, str]]:
        """Each option with its column, as a user gives it."""
        for option in ("run", "epoch", "replicate", "state", "seconds"):
            if column := getattr(self, option):
                yield f"--{option}", column
        yield from (("--factor", column) for column in self.factors.values())
        yield from (("--metric", column) for column in self.metrics.values())

    def options(self) -> Iterator[str]:
        """The same roles as words of a command line."""
        for option, column in self.named():
            listed = {"--factor": self.factors, "--metric": self.metrics}.get(option, {})
            name = next((name for name, one in listed.items() if one == column), "")
            yield option
            yield shlex.quote(f"{name}={column}" if name not in ("", plain(column)) else column)

    @property
    def used(self) -> set[str]:
        return {column for _, column in self.named()}


def plain(column: str) -> str:
    """A column's name as the name of a factor or metric: `config/lr` is `lr`."""
    bare = OTHER.sub("", METRIC.sub("", SETTING.sub("", column)))
    parts = [re.sub(r"\W+", "_", part, flags=re.ASCII).strip("_") for part in bare.split(".")]
    name = ".".join(part for part in parts if part) or "column"
    return re.sub(r"(^|\.)(\d)", r"\1_\2", name)


def words(column: str) -> set[str]:
    """The words of a name, in small letters: `val/top-1` has val, top, 1."""
    return set(re.split(r"[\W_]+", plain(column).lower()))


def names_of(frame: pd.DataFrame) -> list[str]:
    """The names of the columns."""
    return [str(one) for one in frame.columns]


def guess(frame: pd.DataFrame, given: Columns) -> Columns:
    """The roles that are given, and the likely ones for the rest."""
    found = _structure(frame, given)
    varying = _varying(frame, found)
    if not found.replicate:
        found = replace(found, replicate=_first(frame, REPLICATES, without=found.used))
    if not found.state:
        found = replace(found, state=_state(frame, without=found.used))
    if not found.metrics:
        found = replace(found, metrics=_metrics(frame, varying, without=found.used))
    if not found.factors:
        free = [one for one in names_of(frame) if one not in found.used and one not in varying]
        free = _marked(free, SETTING) or [one for one in free if not METRIC.match(one)]
        found = replace(found, factors=_factors(frame, free, run=found.run))
    if not found.seconds:
        found = replace(found, seconds=_time(frame, without=found.used))
    if not found.fixed:
        free = [one for one in names_of(frame) if one not in found.used]
        free = [one for one in _marked(free, SETTING) or free if not words(one) & NEVER]
        found = replace(found, fixed=_named(one for one in free if _is_constant(frame[one])))
    return found


def _marked(names: Sequence[str], mark: re.Pattern[str]) -> list[str]:
    """The names with a logger's mark."""
    return [one for one in names if mark.match(one)]


def _structure(frame: pd.DataFrame, given: Columns) -> Columns:
    """The columns of the run and of the epoch: of two such columns each pair occurs once."""
    epochs = [given.epoch] if given.epoch else _among(frame, EPOCHS, without={given.run})
    runs = [given.run] if given.run else _among(frame, RUNS, without={given.epoch})
    for epoch in epochs:
        for run in runs:
            if run != epoch and _repeats(frame, run) and not _repeats(frame, run, epoch):
                return replace(given, run=run, epoch=epoch)
    if given.epoch or given.run:
        return given
    single = [run for run in runs if not _repeats(frame, run)]
    return replace(given, run=single[0] if single else "")


def _repeats(frame: pd.DataFrame, *columns: str) -> bool:
    return bool(frame.duplicated(list(columns)).any())


def _among(
    frame: pd.DataFrame, names: Sequence[str], *, without: Collection[str] = ()
) -> list[str]:
    """The columns with these names, in the order of the names."""
    by_name = {plain(one).lower().removeprefix("_"): one for one in reversed(names_of(frame))}
    found = [by_name[name] for name in names if name in by_name]
    return [one for one in found if one not in without and _is_simple(frame[one])]


def _first(frame: pd.DataFrame, names: Sequence[str], *, without: Collection[str]) -> str:
    return next(iter(_among(frame, names, without=without)), "")


def _is_simple(values: pd.Series) -> bool:
    """Whether it has values, none of which is a list or a block."""
    kept = values.dropna()
    if len(kept) == 0:
        return False
    return kept.dtype != object or not any(isinstance(one, list | dict) for one in kept)


def _varying(frame: pd.DataFrame, found: Columns) -> list[str]:
    """The columns that change within a run, other than the epoch."""
    if not (found.run and found.epoch):
        return []
    simple = [one for one in names_of(frame) if one not in (found.run, found.epoch)]
    simple = [one for one in simple if _is_simple(frame[one])]
    counts = frame.groupby(found.run)[simple].nunique(dropna=False)
    return [one for one in simple if (counts[one] > 1).any()]


def _state(frame: pd.DataFrame, *, without: Collection[str]) -> str:
    named = _first(frame, STATES, without=without)
    truths = [one for one in names_of(frame) if frame[one].dtype == bool and one not in without]
    return named or next((one for one in truths if words(one) & DIVERGED), "")


def _time(frame: pd.DataFrame, *, without: Collection[str]) -> str:
    """The seconds of a run; a larger number is a moment, not a duration."""
    likely = _among(frame, SECONDS, without=without)
    likely = [one for one in likely if _is_measured(frame[one])]
    return next((one for one in likely if float(frame[one].max()) < LONGEST), "")


def _metrics(
    frame: pd.DataFrame, varying: Collection[str], *, without: Collection[str]
) -> dict[str, str]:
    """Numbers with a usual name, or else all that change within a run: the likely objective first.

    That is a share on the test or validation split before any other, and losses last.
    """
    numbers = [one for one in names_of(frame) if one not in without and _is_measured(frame[one])]
    numbers = [one for one in numbers if not words(one) & NEVER and not SETTING.match(one)]
    numbers = _marked(numbers, METRIC) or numbers
    usual = [one for one in numbers if words(one) & METRICS and not words(one) & NO_METRICS]
    if varying:
        usual = [one for one in usual if one in varying]
    chosen = usual or [one for one in numbers if one in varying or METRIC.match(one)]

    return _named(sorted(chosen, key=rank))


def rank(metric: str) -> tuple[bool, bool, bool, int]:
    """How likely a metric is the objective, by its name: the likeliest first."""
    has = words(metric)
    splits = ("test", "val", "valid", "validation", "eval")
    split = next((at for at, name in enumerate(splits) if name in has), len(splits))
    training = not has.isdisjoint(("train", "training"))
    return not has & METRICS, training, bool(has & LOWER), split


def _is_measured(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and values.dtype != bool


def _factors(frame: pd.DataFrame, free: Sequence[str], *, run: str) -> dict[str, str]:
    """Columns with several levels; the batch size first, for it makes the axis of the figures."""
    likely = [
        one
        for one in free
        if not words(one) & NEVER
        and plain(one).lower().strip("_") not in COUNTERS
        and _is_factor(frame[one], frame, run=run)
    ]
    return _named(sorted(likely, key=lambda one: not {"batch", "size"} <= words(one)))


def _is_factor(values: pd.Series, frame: pd.DataFrame, *, run: str) -> bool:
    if not _is_simple(values) or _is_constant(values):
        return False
    levels = values.nunique()
    runs = frame[run].nunique() if run else len(frame)
    if pd.api.types.is_numeric_dtype(values):
        return True
    return levels <= MOST_WORDS and levels < runs


def _is_constant(values: pd.Series) -> bool:
    """Whether all rows have the same plain value."""
    if not _is_simple(values) or values.isna().any():
        return False
    return values.nunique() == 1


def _named(columns: Any) -> dict[str, str]:
    """The columns by their plain names; a name that is taken gets an underscore."""
    found: dict[str, str] = {}
    for column in columns:
        name = plain(column)
        while name in found:
            name = f"{name}_"
        found[name] = column
    return found


def is_share(name: str, values: pd.Series) -> bool:
    """Whether a metric is a share by its name, and lies between 0 and 1."""
    kept = values.dropna()
    return bool(words(name) & SHARES) and bool(((kept >= 0) & (kept <= 1)).all())


def direction(name: str) -> str:
    """Which way is better, by the name of a metric."""
    return "minimize" if words(name) & LOWER else "maximize"
