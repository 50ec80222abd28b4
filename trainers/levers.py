"""The blocks of keys within `train:` that belong to one lever each. Needs pydantic only."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainers import builtin, catalogue
from trainers.blocks import Added, Block, PerMember, Worded

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def names_of(kind: catalogue.Kind) -> str:
    """What a key accepts: the names of the entries that come with Sweeper."""
    names = [entry.name for entry in builtin.ENTRIES if entry.kind == kind]
    return f"{', '.join(names)}."


class SSL(Block):
    """Joint self-supervision: L = L_sup + weight x L_SSL, with two more views of a batch."""

    loss: str = Field(default="simclr", description=names_of("ssl"))
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

    method: Annotated[str, Added()] = Field(default="sam", description=names_of("sharpness"))
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


class AugmentationStrength(Block):
    """How strong augmentations are, by class size: the factor of a strength that they have."""

    minority: Annotated[Fraction, PerMember()] = Field(
        default=1.0, description="The factor for samples of the smallest class."
    )
    majority: Annotated[Fraction, PerMember()] = Field(
        default=1.0,
        description="The factor for the largest's; those between are linear in the logarithm of "
        "the count.",
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
