"""The keys of the `data:` block: the data set, its splits, and the subset that a run trains on.

Needs pydantic only, never torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, Strict, model_validator

from trainers.blocks import Added, Block, Worded

Names = Annotated[tuple[str, ...], Strict(False)]
Token = str | int | float
Tokens = Annotated[tuple[Token, ...], Strict(False)]
ColumnKind = Literal["number", "category", "ignore"]

# The place of the data does not identify them; their fingerprint does.
PLACES = frozenset({"path", "test_path", "labels", "test_labels"})

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
