"""The configuration of a run: its data and its training. Needs pydantic only, never torch.

Every key of a spec's `train:` block is a field here, in `levers.py`, or in the block of parameters
of an entry of the catalogue (`train.focal`); the keys of `data:` are in `data_config.py`. A field's
description is what `sweeper schema` and `docs/spec.md` print. Names of networks, losses and so on
are looked up in the catalogue.
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

from trainers import catalogue, weight_files
from trainers.blocks import Added, Block, PerMember, fields_of, mark, without_newer
from trainers.blocks import ConfigError as ConfigError
from trainers.data_config import PLACES, DataConfig, Names
from trainers.levers import (
    SAM,
    SSL,
    AugmentationChance,
    AugmentationStrength,
    Average,
    ClassWeights,
    Fraction,
    NumericalEmbedding,
    Smoothing,
    names_of,
)

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


class TrainConfig(Block):
    """The network, the optimizer and the levers.

    Entries of the catalogue may own a block of parameters beside these keys: `train.NAME`.
    """

    model_config = ConfigDict(extra="allow")

    model: str = Field(default="resnet", description=names_of("model"))
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
    optimizer: str = Field(default="sgd", description=names_of("optimizer"))
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
        description=f"{names_of('augmentation')} Joined by + they follow each other: "
        "auto_augment+mixup.",
    )
    augmentation_chance: Annotated[AugmentationChance, Added()] = Field(
        default=AugmentationChance(),
        description="Which share of the samples is augmented, for the minority and the majority.",
    )
    augmentation_strength: Annotated[AugmentationStrength, Added()] = Field(
        default=AugmentationStrength(),
        description="How strong the augmentation is, for the minority and the majority; for those "
        "with a strength, as their meaning says.",
    )
    loss: str = Field(default="cross_entropy", description=names_of("loss"))
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
    sampler: Annotated[str, Added()] = Field(default="shuffled", description=names_of("sampler"))
    smoothing: Smoothing = Field(default=Smoothing(), description="Label smoothing by class size.")
    average: Annotated[Average, Added()] = Field(
        default=Average(), description="An average of the weights. A word is method."
    )
    ssl: SSL = Field(default=SSL(), description="Joint self-supervision.")
    sam: SAM = Field(default=SAM(), description="SAM-A.")
    observe: Annotated[Names, Added()] = Field(
        default=(),
        description=f"What is measured beside the metrics, equal for all cells. "
        f"{names_of('observer')}",
    )
    precision: Literal["auto", "float32", "tf32", "bfloat16", "float64"] = Field(
        default="auto",
        description="auto: bfloat16 autocast on a GPU, float32 on a CPU. tf32: as float32, but a "
        "GPU rounds what it multiplies to 10 bits.",
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
