"""Facts of a sweep's data, for the driver, which keeps no arrays and needs no torch for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainers.check import check, check_objective
from trainers.config import Config
from trainers.data_config import DataConfig
from trainers.metrics import layout as metric_layout
from trainers.notes import notes
from trainers.rounds import FEWEST, chosen


def inspect(config: DataConfig) -> dict[str, Any]:
    """Reads a data set and returns its facts, as `Dataset.facts`.

    Raises:
        ConfigError: it cannot be read or used.
    """
    from trainers.data import load  # pyarrow and scikit-learn take a second to import

    return load(config).facts


def said(facts: Mapping[str, Any]) -> list[str]:
    """Sentences about data for a launch: notes, and where a large data set is kept."""
    from trainers.data.rows import FROM_BYTES

    size = facts.get("bytes", 0)
    if size < FROM_BYTES:
        return notes(facts)
    kept = "in files of the cache (sweeper cache), which the workers of a machine share"
    return [*notes(facts), f"The data are {size / 1e9:.2f} GB, read {kept}."]


def load_key(config: DataConfig) -> str:
    """Equal for data blocks that load the same data set: the subset is drawn later."""
    return config.model_dump_json(exclude={"imbalance"})


def class_counts(config: Config, facts: dict[str, Any], *, objective: str = "") -> tuple[int, ...]:
    """Training samples of each class, if this configuration can run on this data.

    Raises:
        ConfigError: it cannot, or the objective would have no value.
    """
    counts = tuple(check(config, facts))
    permuted = config.data.imbalance.order == "permuted"
    check_objective(objective, counts, facts, permuted=permuted)
    return counts


def layout(facts: Mapping[str, Any], observe: Sequence[str] = ()) -> list[tuple[str, str, str]]:
    """The order of an evaluation's numbers: (split, metric, target).

    Args:
        facts: of the data.
        observe: the observers of every run.
    """
    return metric_layout(facts["classes"], facts["counts"], observe)


def evaluations(configs: Sequence[Config], facts: dict[str, Any], *, least: int) -> int:
    """The number of evaluations of runs of these configurations, if the spec does not set it.

    At least `least`, whatever that costs.
    """
    return chosen(configs, facts, least=max(FEWEST, least))
