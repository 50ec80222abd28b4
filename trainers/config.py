"""The configuration of a run: its data and its training. Needs pydantic only, never torch.

Every key of a spec's `data:` and `train:` blocks is a field here, or the block of parameters of an
entry of the catalogue (`train.focal`). The field's description is what `sweeper schema` and
`docs/spec.md` print. Names of networks, losses and so on are looked up in the catalogue.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    Strict,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails

from trainers import builtin, catalogue, weight_files
from trainers.blocks import Added, Block, PerMember, Worded, fields_of, mark, without_newer
from trainers.blocks import ConfigError as ConfigError

Names = Annotated[tuple[str, ...], Strict(False)]
Token = str | int | float
Tokens = Annotated[tuple[Token, ...], Strict(False)]
ColumnKind = Literal["number", "category", "ignore"]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]

# The overall metrics, which can be a sweep's objective, and the direction that is better.
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


# Variables that name the folder which must hold the data: for this process, and for its job.
DATA_ROOTS = ("SWEEPER_DATA_ROOT", "SWEEPER_JOB_DATA_ROOT")


class Validation(Worded):
    """The samples for selection, which are never reported on. A word is the value of `from`."""

    model_config = ConfigDict(serialize_by_alias=True)

    source: Literal["pool", "test", "none"] = Field(
        default="pool",
        alias="from",
        description="pool: the source's own validation part, or else a share of the training "
        "pool, which gets smaller. test: a fixed part of the test split, with the same number of "
        "samples of each class where possible; results are reported on the rest, and the pool "
        "stays whole, as in published long-tailed results. none: no validation, so nothing can be "
        "selected.",
    )
    fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.15,
        description="Share of the pool, or of the test split; not used where the source has its "
        "own validation part.",
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
        description="r: samples of the smallest class divided by samples of the largest; 1 is "
        "balanced. natural allows only 1.",
    )
    n_max: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = Field(
        default=None,
        description="Samples of the largest class of the training subset; null: as many as the "
        "pool's smallest class has. Not for natural.",
    )
    draw: Literal["replicate", "fixed"] = Field(
        default="replicate",
        description="replicate: each replicate draws its own subset. fixed: all replicates train "
        "on the subset of replicate 0, so that they vary only by initialisation and order.",
    )
    order: Annotated[Literal["by_label", "permuted"], Added()] = Field(
        default="by_label",
        description="Which classes are large: by_label, the first ones, as in published long "
        "tails. permuted: each replicate draws an order of its own, the same in every cell, so "
        "that rare classes are not always the same, hard or easy, ones. Not for natural.",
    )


class DataConfig(Block):
    """The data set and the subset of it that a run trains on."""

    dataset: str = Field(
        default="digits",
        description="digits (comes with scikit-learn; digits_table has them as a table), npz, "
        "table, images, folder, cifar10, ...; docs/data.md has an example of each.",
    )
    path: str | None = Field(
        default=None,
        description="The file (npz, table, images) or folder to read, relative to the spec file.",
    )
    test_path: str | None = Field(
        default=None, description="A separate file (folder: a folder) for the test split."
    )
    target: str | None = Field(
        default=None, description="The column with the class (images: default label)."
    )
    labels: str | None = Field(
        default=None,
        description="folder: a CSV or Parquet file with the class of each image; without it the "
        "folders in the folder are the classes.",
    )
    test_labels: str | None = Field(
        default=None,
        description="folder: the same kind of file for the test split; its images are in "
        "test_path, or else in path.",
    )
    image: str | None = Field(
        default=None,
        description="The column of images; in a labels file, the column of file names. Default "
        "image.",
    )
    suffix: str | None = Field(
        default=None,
        description="The ending that turns a name in labels into a file name, such as .jpg.",
    )
    size: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        default=None,
        description="images, folder: pixels a side. Each image is resized so that its shorter side "
        "has this length, and the square in the middle is kept. The cache holds the result "
        "(sweeper cache). Without size, all images must have one size already.",
    )
    columns: dict[str, ColumnKind] = Field(
        default_factory=dict[str, ColumnKind],
        description="The kind of a table's columns, by name, where it does not follow from their "
        "values: number, category (the text as written) or ignore.",
    )
    missing: Tokens = Field(
        default=(),
        description="More marks of a missing value in a table's columns of numbers, such as "
        "`[-999, unknown]`. An empty field, NA, N/A, NaN, null, None, <NA>, #N/A, ? and - (in any "
        "case) always are. A number matches every equal value.",
    )
    drop: Names = Field(
        default=(), description="Columns of a table that are not features, such as identifiers."
    )
    features: Names = Field(
        default=(), description="The columns of a table that are features; default all."
    )
    group: str | None = Field(
        default=None,
        description="The column (npz: array) of the patient, site or user that a sample comes "
        "from. Samples with the same value are in the same split. It is not a feature.",
    )
    val: Validation = Field(
        default=Validation(), description="The samples for selection. A word is the value of from."
    )
    test_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.25, description="Share of the data for the test split, if the source has none."
    )
    max_per_class: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = Field(
        default=None,
        description="The most samples of a class in each split: pool, validation and test.",
    )
    min_per_class: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = Field(
        default=None,
        description="Classes with fewer samples are left out of every split. Samples are counted "
        "in the source's training part before any split (in the whole file, if it has no parts).",
    )
    imbalance: Imbalance = Field(
        default=Imbalance(), description="How the training subset is drawn."
    )

    @model_validator(mode="before")
    @classmethod
    def _moved(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "val_fraction" in value:
            share = value["val_fraction"]
            raise ValueError(f"val_fraction was removed: write val: {{fraction: {share}}}")
        return value


def _names(kind: catalogue.Kind) -> str:
    """What a key accepts: the names of the entries that come with Sweeper."""
    names = [entry.name for entry in builtin.ENTRIES if entry.kind == kind]
    return f"{', '.join(names)}."


class SSL(Block):
    """Joint self-supervision: L = L_sup + weight x L_SSL, with two more views of a batch."""

    loss: str = Field(default="simclr", description=_names("ssl"))
    weight: Annotated[float, Field(ge=0.0), PerMember(off=0.0)] = Field(
        default=0.0,
        description="Weight of the SSL loss; 0 is exactly the run without it, and free.",
    )
    batch_multiple: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1,
        description="SSL batch size divided by supervised batch size; SSL losses need large "
        "batches.",
    )
    temperature: Annotated[float, Field(gt=0.0)] = Field(default=0.5, description="SimCLR's tau.")
    pretraining: Annotated[float, Field(ge=0.0, lt=1.0), Added()] = Field(
        default=0.0,
        description="Share of the updates that come first and train on the SSL loss alone. The "
        "schedule of the rate starts anew after them. They are a part of the budget.",
    )
    joint: Annotated[bool, Added()] = Field(
        default=True,
        description="Whether the SSL loss stays beside the supervised loss after pretraining.",
    )
    supervised_view: Annotated[Literal["augmented", "ssl"], Added()] = Field(
        default="augmented",
        description="What the supervised loss sees: the batch by train.augmentation, or the SSL "
        "loss's first view in its place (with its own pass, so the cost is the same). Without "
        "joint SSL, always augmented.",
    )


class SAM(Block):
    """Sharpness-aware minimisation, asymmetric towards the minority classes (SAM-A)."""

    method: Annotated[str, Added()] = Field(default="sam", description=_names("sharpness"))
    radius: Annotated[float, Field(ge=0.0), PerMember(off=0.0)] = Field(
        default=0.0,
        description="rho, the length of the ascent step; 0 is exactly SGD, in one pass.",
    )
    asymmetry: Annotated[Fraction, PerMember()] = Field(
        default=0.0,
        description="kappa: a sample of class c weighs (n_max/n_c)^kappa in the ascent; 0 is "
        "exactly SAM.",
    )
    weighted: Annotated[Literal["ascent", "descent", "both"], Added()] = Field(
        default="ascent",
        description="The passes that see the weights of `asymmetry`: SAM-A's ascent, the descent "
        "(re-weighted SAM), or both.",
    )
    normaliser: Literal["weighted", "plain"] = Field(
        default="weighted",
        description="weighted: the ascent step has length rho. plain: it is divided by the norm of "
        "the unweighted gradient, so it is longer where the minority dominates (at most 5 rho).",
    )


class Smoothing(Block):
    """Label smoothing, whose strength depends on the class's number of samples."""

    minority: Annotated[Fraction, PerMember()] = Field(
        default=0.0, description="Smoothing of the smallest class."
    )
    majority: Annotated[Fraction, PerMember()] = Field(
        default=0.0, description="Smoothing of the largest; equal is uniform."
    )
    rule: Annotated[Literal["log", "sine"], Added()] = Field(
        default="log",
        description="How classes between smooth: linear in the logarithm of the count, or by the "
        "sine of the count (MiSLAS, whose majority is smoothed more).",
    )
    spread: Annotated[Literal["uniform", "inverse"], Added()] = Field(
        default="uniform",
        description="Where the smoothed share goes: to all classes equally, or to class c in "
        "proportion to 1/n_c.",
    )


class AugmentationChance(Block):
    """How many samples are augmented, by class size; mixers, which take pairs, are not affected."""

    minority: Annotated[Fraction, PerMember()] = Field(
        default=1.0, description="The share of the smallest class's samples, drawn anew each time."
    )
    majority: Annotated[Fraction, PerMember()] = Field(
        default=1.0,
        description="The share of the largest's; those between are linear in the logarithm of the "
        "count.",
    )


class ClassWeights(Worded):
    """Weights of the classes in the loss, in every pass. A word is the value of `by`."""

    by: Literal["none", "inverse", "sqrt", "effective"] = Field(
        default="none",
        description="inverse: 1/n_c. sqrt: n_c^-0.5. effective: the inverse of the effective "
        "number of samples. Weights have mean 1 over the training samples.",
    )
    beta: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.9999, description="beta of effective."
    )
    start: Fraction = Field(
        default=0.0,
        description="The share of the updates before the weights apply: deferred re-weighting "
        "(DRW) takes 0.8.",
    )


class Average(Worded):
    """An average of the weights, which is evaluated and saved instead of the last weights."""

    method: Literal["none", "ema", "swa"] = Field(
        default="none",
        description="ema: exponential moving average of every update. swa: equal average of the "
        "weights at the end of each epoch from start on.",
    )
    decay: Annotated[float, Field(ge=0.0, lt=1.0), PerMember()] = Field(
        default=0.999, description="ema: the share of the old average that an update keeps."
    )
    start: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.75, description="swa: the share of the updates before the first average."
    )


class NumericalEmbedding(Worded):
    """How the numbers of a table enter the network. A word is the value of `kind`."""

    kind: Literal["none", "linear", "periodic", "piecewise_linear"] = Field(
        default="none",
        description="none: as they are. Else each column becomes a vector (Gorishniy et al. 2022). "
        "linear: ReLU of a linear function. periodic: cosines and sines of learned frequencies, "
        "a linear layer and ReLU. piecewise_linear: linear functions joined at quantiles.",
    )
    size: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=24, description="Numbers of a column's vector."
    )
    frequencies: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=48, description="Frequencies of a column, of periodic."
    )
    sigma: Annotated[float, Field(gt=0.0)] = Field(
        default=0.01, description="Standard deviation of the first frequencies, of periodic."
    )
    bins: Annotated[int, Field(ge=2, le=1024)] = Field(
        default=48,
        description="Bins of a column, of piecewise_linear; each has as many rows of the pool.",
    )


class TrainConfig(Block):
    """The network, the optimizer and the levers.

    Entries of the catalogue may own a block of parameters beside these keys: `train.NAME`.
    """

    model_config = ConfigDict(extra="allow")

    model: str = Field(default="resnet", description=_names("model"))
    depth: Annotated[int, Field(ge=1, le=1202)] | None = Field(
        default=None,
        description="resnet: 6n+2 (8, 20, 32) or 6n+4 (wide: 16, 28), default 8. "
        "resnet18, 34 and 50 have the depth of their names. convnext: 6n blocks, default 12. vit: "
        "blocks, default 12. mlp: hidden layers, default 2. residual_mlp: blocks, default 2. "
        "ft_transformer: blocks, default 3. tabm: hidden layers, default 3.",
    )
    width: Annotated[float, Field(ge=0.01, le=16.0)] = Field(
        default=1.0,
        description="Widening factor over 16 channels (resnet), 64 (resnet18, 34, 50), 40 "
        "(convnext), 192 features (vit, to a multiple of its heads), 128 units (mlp, "
        "residual_mlp), 512 units (tabm) or tokens of 192 numbers (ft_transformer, to a multiple "
        "of its heads), rounded to the nearest whole number, halves to even, and at least 1.",
    )
    shortcut: Annotated[Literal["projection", "padding"], Added()] = Field(
        default="projection",
        description="resnet of depth 6n+2, where the shape changes: a 1x1 convolution (option B), "
        "or every second pixel and channels of zeros (option A, as in published long-tailed "
        "results).",
    )
    numerical_embedding: Annotated[NumericalEmbedding, Added()] = Field(
        default=NumericalEmbedding(),
        description="Embeddings of a table's numbers. A word is kind.",
    )
    norm: Literal["batch", "group", "layer", "none"] = Field(
        default="batch",
        description="Normalisation layers. layer: group norm of one group, over all channels and "
        "pixels of a sample. ft_transformer always has layer norm, and tabm none.",
    )
    norm_statistics: Literal["clean", "running"] = Field(
        default="clean",
        description="Batch-norm statistics for evaluation. clean recomputes them in a pass over "
        "the training subset; running keeps moving averages, which are noisy for small batches.",
    )
    stem: Annotated[Literal["cifar", "imagenet"] | None, Added()] = Field(
        default=None,
        description="The first layers of a residual network. cifar: a 3x3 convolution, for small "
        "images. imagenet: a 7x7 convolution of stride 2 and a maximum of 3x3 pixels of stride 2, "
        "for images of up to 224 pixels and more. null: cifar in resnet, imagenet in resnet18, 34 "
        "and 50.",
    )
    ghost_batch: Annotated[int, Field(ge=0, le=4096), Added()] = Field(
        default=0,
        description="Samples that a batch norm averages over in training: a batch is cut into "
        "virtual ones of so many samples or a few more (Hoffer et al. 2017). It is the reverse of "
        "accumulation. 0: the whole batch.",
    )
    weight_standardisation: Annotated[bool, Added()] = Field(
        default=False,
        description="Each filter of a convolution has mean 0 and variance 1 where it is used (Qiao "
        "et al. 2019); meant for group norm.",
    )
    dropout: Annotated[float, Field(ge=0.0, lt=1.0), PerMember(off=0.0), Added()] = Field(
        default=0.0,
        description="Share of the features that are 0 in a training pass: before the head "
        "(of images), after each hidden layer (mlp, tabm), inside each block (residual_mlp, "
        "ft_transformer, whose attention drops nothing). Not in evaluations, nor in an SSL loss's "
        "passes.",
    )
    stochastic_depth: Annotated[float, Field(ge=0.0, lt=1.0), PerMember(off=0.0), Added()] = Field(
        default=0.0,
        description="Rate at which the last residual block leaves out its branch, for each sample "
        "of a training pass; the rates of the blocks grow linearly from 0 (Huang et al. 2016).",
    )
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=30, description="Passes over the training subset."
    )
    steps: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = Field(
        default=None, description="Updates, when budget.unit is steps."
    )
    evaluations: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description="Number of evaluations, at equal shares of the budget, the last at its end; at "
        "most one each epoch or step. null: 10, or fewer (at least 3) where evaluations would be "
        "more than a fifth of the work.",
    )
    batch_size: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=128, description="Samples an update."
    )
    optimizer: str = Field(default="sgd", description=_names("optimizer"))
    lr: Annotated[float, Field(gt=0.0), PerMember()] = Field(
        default=0.1, description="Peak learning rate."
    )
    lr_scaling: Literal["none", "sqrt", "linear"] = Field(
        default="none", description="Multiplies lr by (batch_size / lr_batch)^0, ^0.5 or ^1."
    )
    lr_batch: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=128, description="With lr_scaling, the batch size at which lr is used unchanged."
    )
    weights: Annotated[str | None, Added()] = Field(
        default=None,
        description="A file of weights to start from (safetensors), relative to the spec file. The "
        "head is drawn. Their training is no part of the budget.",
    )
    body_lr: Annotated[float, Field(ge=0.0), PerMember(), Added()] = Field(
        default=1.0,
        description="The rate of all layers but the head, as a multiple of lr, once pretraining is "
        "over; 0 freezes them.",
    )
    schedule: Literal["cosine", "constant", "milestones"] = Field(
        default="cosine", description="Decay to 0, none, or by a factor at each milestone."
    )
    milestones: Annotated[tuple[Fraction, ...], Strict(False), Added()] = Field(
        default=(0.8, 0.9), description="Shares of the updates at which milestones cut the rate."
    )
    milestone_factor: Annotated[float, Field(gt=0.0, le=1.0), Added()] = Field(
        default=0.01, description="What each milestone multiplies the rate by."
    )
    beta2: Annotated[float, Field(gt=0.0, lt=1.0), PerMember(), Added()] = Field(
        default=0.999, description="AdamW's second beta, at batches of lr_batch with samples."
    )
    beta2_scaling: Annotated[Literal["none", "samples"], Added()] = Field(
        default="none",
        description="samples: beta2^(batch_size / lr_batch), so that the half-life of the second "
        "moment is the same number of samples at every batch size (Marek et al. 2025).",
    )
    accumulation: Annotated[int, Field(ge=1, le=4096), Added()] = Field(
        default=1,
        description="Parts into which a batch is cut. Their gradients are averaged: an update has "
        "the noise of the whole batch and the norm statistics of a part. SAM climbs in each part.",
    )
    gradient: Annotated[Literal["mean", "class_normalised"], Added()] = Field(
        default="mean",
        description="mean: of the batch. class_normalised: the sum over the batch's classes of "
        "g_c / |g_c| (Francazi et al. 2023); not with SAM.",
    )
    warmup_epochs: Annotated[float, Field(ge=0.0)] = Field(
        default=0.0, description="Linear warm-up."
    )
    momentum: Annotated[float, Field(ge=0.0, lt=1.0), PerMember()] = Field(
        default=0.9, description="SGD's momentum; AdamW's first beta."
    )
    nesterov: bool = Field(default=False, description="Nesterov's form of momentum.")
    weight_decay: Annotated[float, Field(ge=0.0), PerMember()] = Field(
        default=5e-4, description="Weight decay."
    )
    decay_norm_and_bias: bool = Field(
        default=False, description="Apply weight decay to norms and biases too."
    )
    augmentation: str = Field(
        default="none",
        description=f"{_names('augmentation')} Joined by + they follow each other: "
        "auto_augment+mixup.",
    )
    augmentation_chance: Annotated[AugmentationChance, Added()] = Field(
        default=AugmentationChance(),
        description="Which share of the samples is augmented, for the minority and the majority.",
    )
    loss: str = Field(default="cross_entropy", description=_names("loss"))
    post_hoc_tau: Annotated[float, Field(ge=0.0), PerMember(), Added()] = Field(
        default=0.0,
        description="Logit adjustment after training: tau ln pi is taken off the logits that are "
        "evaluated, and off those of a saved model.",
    )
    class_weights: Annotated[ClassWeights, Added()] = Field(
        default=ClassWeights(), description="Weights of the classes in the loss. A word is by."
    )
    head: Annotated[Literal["linear", "cosine"], Added()] = Field(
        default="linear",
        description="The last layer. cosine: head_scale times the cosine between features and the "
        "class's weights.",
    )
    head_scale: Annotated[float, Field(gt=0.0), Added()] = Field(
        default=30.0, description="The scale of a cosine head."
    )
    sampler: Annotated[str, Added()] = Field(default="shuffled", description=_names("sampler"))
    smoothing: Smoothing = Field(default=Smoothing(), description="Label smoothing by class size.")
    average: Annotated[Average, Added()] = Field(
        default=Average(), description="An average of the weights. A word is method."
    )
    ssl: SSL = Field(default=SSL(), description="Joint self-supervision.")
    sam: SAM = Field(default=SAM(), description="SAM-A.")
    observe: Annotated[Names, Added()] = Field(
        default=(),
        description=f"What is measured beside the metrics, equal for all cells. "
        f"{_names('observer')}",
    )
    precision: Literal["auto", "float32", "bfloat16", "float64"] = Field(
        default="auto", description="auto: bfloat16 autocast on a GPU, float32 on a CPU."
    )

    @model_validator(mode="wrap")
    @classmethod
    def _parameters_of_entries(cls, value: Any, make: ModelWrapValidatorHandler[Self]) -> Self:
        """Reads the blocks of entries; any other unknown key is an error."""
        if not isinstance(value, Mapping):
            return make(value)
        owned, read, wrong = catalogue.parameters(), dict(value), list[InitErrorDetails]()
        for name in [key for key in read if key not in cls.model_fields]:
            if name not in owned:
                unknown = read.pop(name)
                wrong.append({"type": "extra_forbidden", "loc": (name,), "input": unknown})
                continue
            try:
                read[name] = owned[name].model_validate(read[name])
            except ValidationError as error:
                wrong += _again(error, name)
        try:
            made = make(read)
        except ValidationError as error:
            wrong += _again(error)
        else:
            if not wrong:
                return made
        raise ValidationError.from_exception_data(cls.__name__, wrong)

    def parameters(self, name: str) -> Any:
        """The parameters of an entry, an instance of its block; defaults if the spec has none."""
        given = (self.model_extra or {}).get(name)
        return catalogue.parameters()[name]() if given is None else given


def _again(error: ValidationError, *within: str) -> list[InitErrorDetails]:
    """The errors of a validation, for another error; their places lie within these keys."""
    return [
        InitErrorDetails(
            type=e["type"],
            loc=(*within, *e["loc"]),
            input=e["input"],
            ctx=e.get("ctx", {}),
        )
        for e in error.errors()
    ]


# The place of the data does not identify them; their fingerprint does.
PLACES = frozenset({"path", "test_path", "labels", "test_labels"})


class Config(Block):
    """The whole configuration of a run, except for its replicate."""

    data: DataConfig = Field(default=DataConfig(), description="Data set and imbalance.")
    train: TrainConfig = Field(default=TrainConfig(), description="Network, optimizer and levers.")

    @property
    def budget(self) -> int:
        """The length of the run, in epochs, or in steps where steps are set."""
        return self.train.epochs if self.train.steps is None else self.train.steps

    @property
    def evaluations(self) -> int:
        """How often the run is evaluated; if undecided, the most evaluations that it may have."""
        return min(self.train.evaluations or self.budget, self.budget)

    def identity(self) -> dict[str, Any]:
        """What decides a run's numbers, apart from data and replicate: a tree of JSON values.

        Places of the data are left out, and so are newer keys at their defaults: an older
        configuration keeps its identity.
        """
        tree: dict[str, Any] = self.model_dump(mode="json", exclude={"data": {*PLACES}})
        without_newer(self, tree)
        if self.train.weights is not None:
            tree["train"]["weights"] = weight_files.identity(self.train.weights)
        return tree


def switches(config: Config) -> dict[str, bool]:
    """Whether each block or key that can be switched off is on, by its name: ssl, sam, dropout."""
    return {name: on for name, on, _ in _switched(config)}


def _switched(config: Config) -> Iterator[tuple[str, bool, bool]]:
    """Yields the name of each switch, whether it is on, and whether it is newer than sweeps."""
    for path, field, value in fields_of(config):
        marked = mark(field, PerMember)
        if marked and marked.off is not None:
            *_, block, key = path.split(".")
            name = key if block == "train" else block
            yield name, value != marked.off, mark(field, Added) is not None


def pack_key(config: Config) -> str:
    """A key that is equal for configurations whose runs one pack can train together.

    Members may differ in the fields marked `PerMember`. A block that is switched off is free, so
    such a run is not packed with a run that uses it.
    """
    tree = config.identity()
    flags = {name: on for name, on, newer in _switched(config) if on or not newer}
    for path, field, _ in fields_of(config):
        if mark(field, PerMember):
            _remove(tree, path)
    for name, on in switches(config).items():
        if not on:
            tree["train"].pop(name, None)
    tree["train"] = {k: v for k, v in tree["train"].items() if v != {}}
    return json.dumps([tree, flags], sort_keys=True, separators=(",", ":"))


def _remove(tree: dict[str, Any], path: str) -> None:
    """Removes a value, if it is there."""
    *blocks, last = path.split(".")
    for name in blocks:
        tree = tree.get(name, {})
    tree.pop(last, None)


def leaves(tree: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yields dotted paths and values; an empty block yields nothing."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
