"""The keys of a spec, their types and their documentation."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Strict,
    Tag,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from sweeper.spec.factors import Factor, Level, NamedCell, Nuisance
from sweeper.spec.goals import Bound, Constraint, constraint
from sweeper.spec.own import Fixed, OwnConfig
from sweeper.spec.phrases import near
from sweeper.spec.resources import Positive, Resources
from sweeper.spec.samplers import Method, described
from trainers.blocks import Block, Worded
from trainers.config import OBJECTIVES, Config, TrainConfig, leaves
from trainers.data_config import DataConfig

VERSION = 1
COMPARE = "compare"  # the factor that the named cells of `compare` make; its levels are the names
# Keys that an empty value leaves out.
OPTIONAL = ("compare", "objectives", "constraints", "first", "start_from")
METHOD = "method"  # what such a factor is called, and one that factors with `when` make
OWN = "own trainer"  # in the context of a validation: whether the spec has one

MOST = 1000  # replicates
FEWEST = 3  # to estimate a spread
FIRMEST = 5  # the fewest for a definite verdict


class Budget(Worded):
    """The amount of training that every run gets."""

    unit: Literal["epochs", "steps"] = Field(
        default="epochs",
        description="epochs: `train.epochs` passes over the subset. steps: `train.steps` updates, "
        "the same number for every batch size.",
    )


ON_TEST = "nothing is ever selected on the test split; the objective uses val"


def _direction(data: dict[str, Any]) -> Literal["maximize", "minimize"]:
    return OBJECTIVES.get(data.get("metric", ""), "maximize")


def _own(info: ValidationInfo) -> bool:
    """Whether the spec has a trainer of its own, which reports any metrics."""
    context = cast("Mapping[str, bool]", info.context or {})
    return context.get(OWN, False)


class Objective(Worded):
    """The number by which cells are compared. A word is the metric."""

    metric: str = Field(
        default="minority_accuracy",
        description=f"One of {', '.join(sorted(OBJECTIVES))}; with `trainer` any that it reports.",
    )
    direction: Literal["maximize", "minimize"] = Field(
        default_factory=_direction, description="Which direction is better; set by the metric."
    )
    split: Literal["val", "test"] | None = Field(
        default=None,
        description="The split of the objective: val. With `data.val: none` it is test, and "
        "nothing is selected.",
    )
    unit: Literal["share"] | None = Field(
        default=None,
        description="With `trainer`: share, if the metric lies between 0 and 1 and the report "
        "shows it in percent. null: set by the metric.",
    )

    @field_validator("metric")
    @classmethod
    def _known(cls, value: str, info: ValidationInfo) -> str:
        if value in OBJECTIVES or _own(info):
            return value
        bare = value.removeprefix("test_").removeprefix("test/")
        if bare != value:
            raise ValueError(f"{ON_TEST}{near(bare, OBJECTIVES)}")
        meant = near(value, OBJECTIVES) if "did you mean" in near(value, OBJECTIVES) else ";"
        raise ValueError(f"no such metric{meant} valid: {', '.join(sorted(OBJECTIVES))}")

    @field_validator("direction")
    @classmethod
    def _right_way(cls, value: str, info: ValidationInfo) -> str:
        metric = info.data.get("metric")
        if metric in OBJECTIVES and value != OBJECTIVES[metric]:
            raise ValueError(f"the direction of {metric} is {OBJECTIVES[metric]}")
        return value

    @field_validator("unit")
    @classmethod
    def _own_unit(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("metric") in OBJECTIVES:
            raise ValueError(f"the unit of {info.data['metric']} is known; leave it out")
        return value


class Search(Worded):
    """How cells are chosen. A word is the method."""

    method: Method = Field(default="factorial", description=described())
    trials: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None, description="Number of cells; not for factorial. A larger number adds cells."
    )
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = Field(
        default=0,
        description="The seed of every method but factorial; tune's searcher maker receives it.",
    )


class Pruner(Worded):
    """Which cells are stopped early, judged over their replicates. A word is the method."""

    method: Literal["none", "asha", "hyperband", "median", "wilcoxon", "tune"] = Field(
        default="none",
        description="asha: asynchronous successive halving. wilcoxon: Wilcoxon's signed-rank test "
        "against the best finished cell, replicate by replicate. tune: the scheduler of Ray Tune "
        "that a `--plugin` file sets as `sweeper.tunes.SCHEDULER`, with its own settings instead "
        "of those below.",
    )
    min_evaluations: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=1,
        description="Evaluations before the first decision; pruners count these, not epochs.",
    )
    reduction: Annotated[int, Field(ge=2, le=100)] = Field(
        default=3, description="asha, hyperband: one cell in this many continues."
    )
    startup: Annotated[int, Field(ge=0, le=100_000)] = Field(
        default=5, description="median: finished cells before the first decision."
    )
    p: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.1,
        description="wilcoxon: a cell stops where its p-value is below this, at any evaluation.",
    )


class Limits(Block):
    """When to stop the sweep, a run or a wait."""

    hours: Positive | None = Field(default=None, description="Hours of all launches together.")
    attempts: Annotated[int, Field(ge=1, le=100)] = Field(
        default=3, description="Attempts at a run that fails for a reason that may be temporary."
    )
    failures: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=10, description="Failures in a row, with the same reason, that halt the sweep."
    )
    checkpoint_seconds: Positive = Field(
        default=10.0, description="Time between two checkpoints, the most training that is lost."
    )
    run_seconds: Positive | None = Field(default=None, description="Longer runs are stopped.")
    silent_seconds: Positive = Field(
        default=60.0, description="A worker that sends no sign of life for this time is replaced."
    )
    hang_seconds: Positive = Field(
        default=300.0,
        description="A round is stopped if it takes longer, and over ten times its estimate.",
    )
    loading_seconds: Positive = Field(
        default=1800.0, description="The same for a first round, which includes reading the data."
    )
    wait_seconds: Positive = Field(
        default=600.0, description="Longest wait while no node has room for a worker."
    )


class Target(Block):
    """Replicates until each primary difference is known to within `target` (Stein's two stages).

    The first stage estimates the spread, which decides how many more replicates every compared
    cell gets.
    """

    target: Positive = Field(
        description="Half the width of each difference's simultaneous interval, in the metric's "
        "unit: 0.01 is one percentage point."
    )
    max: Annotated[int, Field(ge=FEWEST, le=MOST)] = Field(
        default=20, description="The most replicates, whatever the spread."
    )
    start: Annotated[int, Field(ge=FEWEST, le=MOST)] = Field(
        default=5, description="Replicates of the first stage; 8 estimate the spread better."
    )

    @model_validator(mode="before")
    @classmethod
    def _one_plan(cls, value: object) -> object:
        if not (isinstance(value, Mapping) and "looks" in value):
            return cast("object", value)
        raise ValueError("has target and looks, which are two plans; write one of them")


def _looked(value: object) -> object:
    listed = cast("list[object]", value) if isinstance(value, list | tuple) else ()
    whole = all(isinstance(number, int) and FIRMEST <= number <= MOST for number in listed)
    if not (whole and 2 <= len(listed) <= 10):
        raise ValueError(
            f"must be 2 to 10 whole numbers, {FIRMEST} to {MOST:,}, rising, such as [5, 10, 20]"
        )
    return tuple(listed)


class Looks(Block):
    """Replicates until each primary difference is decided, at planned interim analyses only.

    The interim analyses ("looks") share the error (alpha / number of looks each), so that several
    looks do not raise the false-alarm rate.
    """

    looks: Annotated[tuple[int, ...], Strict(False), BeforeValidator(_looked)] = Field(
        description="Replicates at each look, rising: `[5, 10, 20]`; 2 to 10 looks, from 5 on."
    )


class Screen(Block):
    """A few replicates of every cell, then fresh ones of the cells that may be the best.

    Cells that another cell beats on val stop after the screening replicates. All reported numbers
    come from the fresh replicates, because the best score in screening is biased upwards (winner's
    curse).
    """

    screen: Annotated[int, Field(ge=FEWEST, le=MOST)] = Field(
        description="Replicates of every cell, none of which is reported."
    )
    confirm: Annotated[int, Field(ge=FEWEST, le=MOST)] = Field(
        default=5, description="Fresh replicates of each remaining cell, equal for all."
    )
    keep: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None,
        description="The most cells that remain, those with the best mean; null: all cells that no "
        "other cell beats. A cell at the `reference` levels always remains.",
    )


def _counted(value: object) -> object:
    if not isinstance(value, list | tuple):
        return value
    raise ValueError("must be a whole number, or {looks: [5, 10, 20]}")


def _plan(value: Any) -> str:
    named = set(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else set[str]()
    if isinstance(value, Looks) or ("looks" in named and "target" not in named):
        return "<looks>"
    if isinstance(value, Screen) or (
        named & {"screen", "confirm", "keep"} and "target" not in named
    ):
        return "<screen>"
    return "<target>" if isinstance(value, Mapping | Target) else "<count>"


Count: TypeAlias = Annotated[int, Field(ge=1, le=MOST), BeforeValidator(_counted)]
Replicates: TypeAlias = Annotated[
    Annotated[Count, Tag("<count>")]
    | Annotated[Target, Tag("<target>")]
    | Annotated[Looks, Tag("<looks>")]
    | Annotated[Screen, Tag("<screen>")],
    Discriminator(_plan),
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}")
NAME_RULE = (
    "must be 1 to 100 letters (a to z), digits, spaces, dots, - or _, beginning with a letter or "
    "digit, without '..' and not ending in a space, '.tuning' or '.screening'"
)


def is_name(value: str) -> bool:
    """Whether a sweep can have the name."""
    endings = (" ", ".tuning", ".screening")
    return bool(_NAME.fullmatch(value)) and ".." not in value and not value.endswith(endings)


def _flat(value: Any) -> Any:
    return dict(leaves(cast("Mapping[str, Any]", value))) if isinstance(value, Mapping) else value


class SpecFile(Block):
    """A question: what is varied, how it is measured, and what it may cost."""

    model_config = ConfigDict(serialize_by_alias=True)

    version: Literal[1] = Field(default=VERSION, description="The version of this format.")
    name: str = Field(
        description="The name of the sweep and of its Optuna study: 1 to 100 letters, digits, "
        "spaces, dots, - or _."
    )
    question: Annotated[str, Field(max_length=2000)] = Field(
        default="", description="The question in a sentence; the report begins with it."
    )
    trainer: str | None = Field(
        default=None,
        description="A training function of your own, made known by `@sweeper.trainable` in a "
        "`--plugin` file; docs/python.md. Factors are then any dotted names, and `data` and "
        "`train` are not used. null: Sweeper's trainer.",
    )
    fixed: Annotated[dict[str, Fixed], BeforeValidator(_flat)] = Field(
        default_factory=dict[str, Fixed],
        description="Values that `trainer` gets in every run, by name: `{epochs: 10}`. A whole "
        "number `epochs` is also the number of reports to expect.",
    )
    data: DataConfig = Field(default=DataConfig(), description="The data of every run.")
    train: TrainConfig = Field(default=TrainConfig(), description="The training of every run.")
    scientific: dict[str, Factor] = Field(
        default_factory=dict[str, Factor],
        description="The factors that the question is about, by dotted path. At least one, or "
        "`compare`.",
    )
    compare: Annotated[tuple[NamedCell, ...], Strict(False)] = Field(
        default=(),
        description="Named cells to compare, two or more, such as methods: `[{name: SGD, "
        "train.sam.radius: 0}, {name: SAM, train.sam.radius: 0.2}]`. They are the levels of a "
        "factor `compare`, which meets every level of the scientific factors; the first is the "
        "reference unless `reference: {compare: NAME}` says otherwise.",
    )
    nuisance: dict[str, Nuisance] = Field(
        default_factory=dict[str, Nuisance],
        description="Factors tuned separately for every scientific cell, on replicates that are "
        "not reported.",
    )
    reference: dict[str, Level] = Field(
        default_factory=dict[str, Level],
        description="The baseline level of paired differences, by scientific factor: "
        "`{train.batch_size: 32}`. By default the weakest imbalance, the first of two levels or of "
        "words, 0 if it is a level, or else the middle level.",
    )
    planned: Replicates = Field(
        default=5,
        alias="replicates",
        description="Runs of each cell, each with its own subset, initialisation and order. "
        "Instead of a number, a plan: `{target: 0.01, max: 20}` until every difference is known "
        "to within one point, `{looks: [5, 10, 20]}` until every difference is decided, "
        "`{screen: 3, confirm: 5}` to find the best of many cells.",
    )
    tuning_replicates: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1, description="Runs of each nuisance candidate."
    )
    budget: Budget = Field(default=Budget(), description="A word is the unit.")
    objective: Objective = Field(default=Objective(), description="How cells are compared.")
    objectives: Annotated[tuple[Objective, ...], Strict(False)] = Field(
        default=(),
        description="Several objectives instead of `objective`: `[minority_accuracy, "
        "majority_accuracy]`. The report's headline is about the first; all of them make the "
        "Pareto set.",
    )
    constraints: dict[str, Bound] = Field(
        default_factory=dict[str, Bound],
        description="What a cell must satisfy to be recommended, by metric: `{majority_accuracy: "
        '">= 0.9"}`; means over the replicates on val, shares as they are.',
    )
    search: Search = Field(default=Search(), description="How cells are chosen.")
    first: Annotated[tuple[dict[str, Level], ...], Strict(False)] = Field(
        default=(),
        description="Points that an adaptive search tries first, by factor: `[{train.lr: 0.1}]`. "
        "The sampler chooses factors that a point leaves out.",
    )
    start_from: str | None = Field(
        default=None,
        description="Another sweep in the database, from whose finished cells the sampler learns.",
    )
    pruner: Pruner = Field(default=Pruner(), description="Which cells are stopped early.")
    resources: Resources = Field(default=Resources(), description="CPUs, GPUs and workers.")
    limits: Limits = Field(default=Limits(), description="When to stop.")

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not is_name(value):
            raise ValueError(NAME_RULE)
        return value

    @model_serializer(mode="wrap")
    def _without_the_other_trainer(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Only what counts: the values of Sweeper's trainer, or those of a trainer of its own."""
        tree: dict[str, Any] = handler(self)
        empty = ("data", "train") if self.trainer is not None else ()
        gone = () if self.trainer is not None else ("trainer", "fixed")
        gone = (*gone, *(key for key in OPTIONAL if not getattr(self, key)))
        kept: dict[str, Any] = {key: {} if key in empty else value for key, value in tree.items()}
        return {key: value for key, value in kept.items() if key not in gone}

    @property
    def goals(self) -> tuple[Objective, ...]:
        """The objectives, of which the first is the report's."""
        return self.objectives or (self.objective,)

    @property
    def bounds(self) -> tuple[Constraint, ...]:
        """The constraints on outcomes."""
        return tuple(constraint(metric, text) for metric, text in self.constraints.items())

    @property
    def precision(self) -> Target | Looks | Screen | None:
        """The plan for further replicates; None if their number is fixed."""
        return None if isinstance(self.planned, int) else self.planned

    @property
    def replicates(self) -> int:
        """Runs of each cell from the start, before a plan adds any."""
        match self.planned:
            case Target(start=start):
                return start
            case Looks(looks=looks):
                return looks[0]
            case Screen(screen=screened):
                return screened
            case count:
                return count

    @property
    def most_replicates(self) -> int:
        """The most runs that a cell can get."""
        match self.planned:
            case Target(max=most):
                return most
            case Looks(looks=looks):
                return looks[-1]
            case Screen(screen=screened, confirm=fresh):
                return screened + fresh
            case count:
                return count

    def config_for(self, factors: Mapping[str, Level]) -> Config:
        """The run configuration with these factors at these levels, and all else as in the spec.

        Raises:
            pydantic.ValidationError: a field does not accept its level.
        """
        if self.trainer is not None:
            return OwnConfig(trainer=self.trainer, values={**self.fixed, **self._values(factors)})
        tree: dict[str, Any] = copy.deepcopy(self._base)
        for path, level in self._values(factors).items():
            *blocks, last = path.split(".")
            block = tree
            for name in blocks:
                block = block.setdefault(name, {})
            block[last] = level
        train = tree.get("train", {})
        if self.resources.on_gpu and train.get("precision", "auto") == "auto":
            tree["train"] = train | {"precision": "bfloat16"}  # what `auto` is there
        return Config.model_validate(tree)

    def _values(self, factors: Mapping[str, Level]) -> dict[str, Level]:
        """The values that these levels set: of a named cell those that it lists."""
        named = {one.name: one.levels for one in self.compare}
        if not named:
            return dict(factors)
        rest = {path: level for path, level in factors.items() if path != COMPARE}
        return {**named.get(str(factors.get(COMPARE)), {}), **rest}

    @property
    def _base(self) -> dict[str, Any]:
        return {"data": self.data.model_dump(), "train": self.train.model_dump()}
