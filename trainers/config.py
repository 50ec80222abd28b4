"""What a run is: the data it sees and how it trains. Needs pydantic only, never torch.

Every key of a spec's `data:` and `train:` blocks is a field here, and its description is the
documentation that `sweeper schema` and `docs/spec.md` print. Names of models, losses,
augmentations and data sets are looked up in the registries of the files that define them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

Names = Annotated[tuple[str, ...], Strict(False)]
Token = str | int | float
Tokens = Annotated[tuple[Token, ...], Strict(False)]
ColumnKind = Literal["number", "category", "ignore"]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]

# The overall metrics, each of which may be a sweep's objective, and which way is better.
OBJECTIVES: dict[str, Literal["maximize", "minimize"]] = {
    "accuracy": "maximize",
    "balanced_accuracy": "maximize",
    "minority_accuracy": "maximize",
    "majority_accuracy": "maximize",
    "macro_f1": "maximize",
    "worst_class_accuracy": "maximize",
    "loss": "minimize",
    "calibration_error": "minimize",
}


# Variables that name the folder which data must lie in: this process's own, and its job's.
DATA_ROOTS = ("SWEEPER_DATA_ROOT", "SWEEPER_JOB_DATA_ROOT")


class ConfigError(ValueError):
    """A value that no run can use, found once the data are known.

    Attributes:
        key: the dotted path, such as `train.batch_size`.
        value: what it was.
        reason: why it cannot be used, and what can.
    """

    def __init__(self, key: str, value: object, reason: str) -> None:
        super().__init__(f"{key}: {value!r} {reason}")
        self.key, self.value, self.reason = key, value, reason


class Block(BaseModel):
    """A block of a spec: unknown keys are errors, numbers are finite, nothing is coerced."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class Worded(Block):
    """A block that may be written as one word: the value of its first key."""

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        name, field = next(iter(cls.model_fields.items()))
        return {field.alias or name: value} if isinstance(value, str) else value


class Validation(Worded):
    """Which samples serve selection and are never reported on. A word is where they come from."""

    model_config = ConfigDict(serialize_by_alias=True)

    source: Literal["pool", "test", "none"] = Field(
        default="pool",
        alias="from",
        description="pool: the source's own validation part, or else a share of the training "
        "pool, which is then smaller. test: a fixed part of the test split, as many samples of "
        "each class as the classes allow; the rest of it is reported on, and the pool stays whole, "
        "as published long-tailed results have it. none: no validation at all, so nothing can be "
        "selected.",
    )
    fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.15,
        description="Share of the pool, or of the test split; not used where the source brings a "
        "validation part of its own.",
    )


class Imbalance(Block):
    """How the training subset is drawn from the training pool."""

    profile: Literal["natural", "exponential", "step"] = Field(
        default="natural",
        description="natural: the pool as it is. exponential: n_c = int(n_max r^(c/(C-1))) for the "
        "classes in label order (LDAM's long tail). step: n_max for the first half of the "
        "classes, int(n_max r) for the rest.",
    )
    train_ratio: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=1.0,
        description="r: samples of the smallest class over samples of the largest; 1 is balanced. "
        "natural takes no other.",
    )
    n_max: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = Field(
        default=None,
        description="Samples of the largest class of the training subset; null: as many as the "
        "pool's smallest class has. Not for natural.",
    )
    draw: Literal["replicate", "fixed"] = Field(
        default="replicate",
        description="replicate: each replicate draws a subset of its own. fixed: all train on "
        "replicate 0's, so that their spread is that of initialisation and order alone.",
    )


class DataConfig(Block):
    """The data set and the subset of it that a run trains on."""

    dataset: str = Field(
        default="digits",
        description="digits (comes with scikit-learn), npz, table, images, folder, cifar10, ...; "
        "docs/data.md has an example of each.",
    )
    path: str | None = Field(
        default=None,
        description="The file (npz, table, images) or folder to read; from the spec file's folder.",
    )
    test_path: str | None = Field(
        default=None, description="A file (folder: a folder) of its own for the test split."
    )
    target: str | None = Field(
        default=None, description="The column that holds the class (images: label, if not named)."
    )
    labels: str | None = Field(
        default=None,
        description="folder: a CSV or Parquet file with the class of each image; without it the "
        "folders in the folder are the classes.",
    )
    test_labels: str | None = Field(
        default=None,
        description="folder: such a file for the test split; its images lie in test_path, or else "
        "in path.",
    )
    image: str | None = Field(
        default=None,
        description="The column of images, or in labels of their files' names (image, if not "
        "named).",
    )
    suffix: str | None = Field(
        default=None,
        description="What to append to the names in labels to have those of files, such as .jpg.",
    )
    size: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        default=None,
        description="images, folder: pixels a side. The shorter side of each image is brought to "
        "it and the square in the middle kept, once; the cache has the result (sweeper cache). "
        "Without it images of one size stay as they are.",
    )
    columns: dict[str, ColumnKind] = Field(
        default_factory=dict[str, ColumnKind],
        description="What columns of a table are, by name, where their values do not say it: "
        "number, category (the text as it is written) or ignore.",
    )
    missing: Tokens = Field(
        default=(),
        description="What stands for a missing value in a table's columns of numbers, beside an "
        "empty field, NA, N/A, NaN, null, None, <NA>, #N/A, ? and - (in any case): "
        "`[-999, unknown]`. A number counts wherever a value equals it.",
    )
    drop: Names = Field(
        default=(), description="Columns of a table that are no features, such as identifiers."
    )
    features: Names = Field(
        default=(), description="The columns of a table that are features; else all are."
    )
    group: str | None = Field(
        default=None,
        description="The column (npz: array) that says which samples belong together, such as a "
        "patient, a site or a user: no two splits share one of its values. It is no feature.",
    )
    val: Validation = Field(
        default=Validation(), description="The samples that serve selection. A word is `from`."
    )
    test_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.25, description="Share of the data kept for the test, where none is given."
    )
    max_per_class: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = Field(
        default=None,
        description="At most so many samples of a class in each split: pool, validation and test.",
    )
    min_per_class: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = Field(
        default=None,
        description="Classes with fewer samples are left out of the data, in every split; counted "
        "in the source's training part, before any split (the whole file, where it has no parts).",
    )
    imbalance: Imbalance = Field(
        default=Imbalance(), description="How the training subset is drawn."
    )

    @model_validator(mode="before")
    @classmethod
    def _moved(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "val_fraction" in value:
            share = value["val_fraction"]
            raise ValueError(f"val_fraction is no key any more: write val: {{fraction: {share}}}")
        return value


class SSL(Block):
    """Joint self-supervision: L = L_sup + weight x L_SSL on two further views, in one run."""

    loss: str = Field(default="simclr", description="simclr or vicreg.")
    weight: Annotated[float, Field(ge=0.0)] = Field(
        default=0.0,
        description="Weight of the SSL loss; 0 is exactly the run without it, and free.",
    )
    batch_multiple: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1,
        description="SSL batch over supervised batch: SSL losses suffer in small batches.",
    )
    temperature: Annotated[float, Field(gt=0.0)] = Field(default=0.5, description="SimCLR's tau.")


class SAM(Block):
    """Sharpness-aware minimisation, asymmetric towards the minority classes (SAM-A)."""

    radius: Annotated[float, Field(ge=0.0)] = Field(
        default=0.0,
        description="rho, the length of the ascent step; 0 is exactly SGD, in one pass.",
    )
    asymmetry: Fraction = Field(
        default=0.0,
        description="kappa: a sample of class c weighs (n_max/n_c)^kappa in the ascent; 0 is "
        "exactly SAM.",
    )
    normaliser: Literal["weighted", "plain"] = Field(
        default="weighted",
        description="weighted: the ascent has length rho. plain: it is divided by the norm of "
        "the unweighted gradient, so it is longer where the minority dominates (at most 5 rho).",
    )


class Smoothing(Block):
    """Label smoothing by class size, linear in the logarithm of the class count."""

    minority: Fraction = Field(default=0.0, description="Smoothing of the smallest class.")
    majority: Fraction = Field(
        default=0.0, description="Smoothing of the largest; equal is uniform."
    )


class TrainConfig(Block):
    """The network, the optimizer and the levers."""

    model: str = Field(default="resnet", description="resnet (images) or mlp (tables).")
    depth: Annotated[int, Field(ge=1, le=1202)] | None = Field(
        default=None,
        description="resnet: 6n+2 (8, 20, 32) or 6n+4 (wide: 16, 28), default 8. "
        "mlp: hidden layers, default 2.",
    )
    width: Annotated[float, Field(ge=0.1, le=16.0)] = Field(
        default=1.0, description="Widening factor over 16 channels (resnet) or 128 units (mlp)."
    )
    norm: Literal["batch", "group", "none"] = Field(
        default="batch", description="Normalisation layers."
    )
    norm_statistics: Literal["clean", "running"] = Field(
        default="clean",
        description="Batch-norm statistics for evaluation: clean recomputes them in a pass over "
        "the training subset, so that small batches are not judged by noisy averages.",
    )
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=30, description="Passes over the training subset."
    )
    steps: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = Field(
        default=None, description="Updates, when budget.unit is steps."
    )
    evaluations: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description="How often a run is evaluated, at equal shares of its budget and at its end; "
        "at most each epoch or step. null: 10 times, or less often where that would be more than "
        "a fifth of the work, but 3 times.",
    )
    batch_size: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=128, description="Samples an update."
    )
    optimizer: Literal["sgd", "adamw"] = Field(
        default="sgd", description="sgd (momentum) or adamw."
    )
    lr: Annotated[float, Field(gt=0.0)] = Field(default=0.1, description="Peak learning rate.")
    lr_scaling: Literal["none", "sqrt", "linear"] = Field(
        default="none", description="Multiplies lr by (batch_size / lr_batch)^0, ^0.5 or ^1."
    )
    lr_batch: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=128, description="The batch size that lr is meant for, under lr_scaling."
    )
    schedule: Literal["cosine", "constant"] = Field(
        default="cosine", description="Decay to 0, or none."
    )
    warmup_epochs: Annotated[float, Field(ge=0.0)] = Field(
        default=0.0, description="Linear warm-up."
    )
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.9, description="SGD's momentum; AdamW's first beta."
    )
    nesterov: bool = Field(default=False, description="Nesterov's form of momentum.")
    weight_decay: Annotated[float, Field(ge=0.0)] = Field(default=5e-4, description="Weight decay.")
    decay_norm_and_bias: bool = Field(
        default=False, description="Decay the parameters of norms and biases too."
    )
    augmentation: str = Field(
        default="none",
        description="none, flip_crop, trivial_augment, rand_augment, auto_augment, mixup, cutmix; "
        "joined by + they follow each other: auto_augment+mixup.",
    )
    loss: str = Field(default="cross_entropy", description="cross_entropy or logit_adjusted.")
    smoothing: Smoothing = Field(default=Smoothing(), description="Label smoothing by class size.")
    ssl: SSL = Field(default=SSL(), description="Joint self-supervision.")
    sam: SAM = Field(default=SAM(), description="SAM-A.")
    precision: Literal["auto", "float32", "bfloat16", "float64"] = Field(
        default="auto", description="auto: bfloat16 autocast on a GPU, float32 on a CPU."
    )


class Config(Block):
    """One run's whole configuration, but for its replicate."""

    data: DataConfig = Field(default=DataConfig(), description="Data set and imbalance.")
    train: TrainConfig = Field(default=TrainConfig(), description="Network, optimizer and levers.")

    @property
    def budget(self) -> int:
        """How long the run is, in epochs, or in steps where it has so many."""
        return self.train.epochs if self.train.steps is None else self.train.steps

    @property
    def evaluations(self) -> int:
        """How often the run is evaluated; where that is not chosen yet, how often it may be."""
        return min(self.train.evaluations or self.budget, self.budget)


# Where the data lie is not what they are: their fingerprint says that.
PLACES = frozenset({"path", "test_path", "labels", "test_labels"})

# Members of one pack may differ in these; all else is the pack key.
MEMBER_FIELDS = (
    "lr", "weight_decay", "momentum", "ssl.weight", "sam.radius", "sam.asymmetry",
    "smoothing.minority", "smoothing.majority",
)  # fmt: skip


def pack_key(config: Config) -> str:
    """Equal for configurations whose runs one pack can train together.

    A weight or radius of 0 costs nothing, so it does not share a pack with a positive one.
    """
    tree: dict[str, Any] = config.model_dump(mode="json", exclude={"data": {*PLACES}})
    train = tree["train"]
    flags = {"ssl": train["ssl"]["weight"] > 0, "sam": train["sam"]["radius"] > 0}
    for path in MEMBER_FIELDS:
        *outer, last = path.split(".")
        block = train
        for name in outer:
            block = block[name]
        del block[last]
    if not flags["ssl"]:
        del train["ssl"]
    if not flags["sam"]:
        del train["sam"]
    return json.dumps([tree, flags], sort_keys=True, separators=(",", ":"))


def leaves(tree: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted paths and values; an empty block is no block."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
