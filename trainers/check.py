"""Checks whether a configuration can run on a data set, before any training. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Context, Decimal
from typing import Any

from trainers import weight_files
from trainers.batches import batch_sizes
from trainers.catalogue import KEYS, DataKind, Entry, Kind, entries, get
from trainers.config import Config, ConfigError, TrainConfig
from trainers.data.imbalance import class_counts, shares
from trainers.data_config import Imbalance
from trainers.groups import GROUPS, class_groups

NAMED = 5  # classes named in a message
WORDS: dict[DataKind, str] = {"image": "images", "table": "a table"}


def check(config: Config, facts: Mapping[str, Any]) -> tuple[int, ...]:
    """Returns the training subset's samples of each class, in label order, if the config can run.

    Args:
        config: the configuration to train.
        facts: `Dataset.facts` of its data.

    Raises:
        ConfigError: with the key, its value, and a value that works.
    """
    train = config.train
    check_names(train)
    check_fit(train, facts["kind"])
    check_patch(train, facts["shape"])
    if train.weights is not None:
        weight_files.check(train.weights)
    check_imbalance(config.data.imbalance)
    check_order(config)
    pool = dict(zip(facts["classes"], facts["counts"]["train"], strict=True))
    counts = check_counts(config.data.imbalance, pool)
    check_batch(train, sum(counts), hint=_smallest(config.data.imbalance, pool))
    check_budget(train, sum(counts))
    return counts


def check_names(train: TrainConfig) -> None:
    """Checks that every name can be used here and that at most one mixer comes last."""
    for kind in KEYS:
        for name in names(train, kind):
            get(kind, name).check_word(name)


def chosen_entries(train: TrainConfig) -> list[Entry]:
    """The entries that a run uses; a block that is switched off uses none."""
    off = {"ssl": train.ssl.weight == 0, "sharpness": train.sam.radius == 0}
    return [
        get(kind, name) for kind in KEYS if not off.get(kind, False) for name in names(train, kind)
    ]


def names(train: TrainConfig, kind: Kind) -> Sequence[str]:
    """The entries of a kind that a run names.

    Raises:
        ConfigError: augmentations do not follow each other so, or an observer comes twice.
    """
    value: Any = _word(train, KEYS[kind])
    if kind == "augmentation":
        return augmentations(value)
    if kind == "observer":
        twice = [name for name in value if value.count(name) > 1]
        if twice:
            raise ConfigError(KEYS[kind], list(value), f"has {twice[0]} twice; name it once")
        return value
    return (value,)


def _word(train: TrainConfig, key: str) -> Any:
    value: Any = train
    for name in key.split(".")[1:]:
        value = getattr(value, name)
    return value


def augmentations(text: str) -> list[str]:
    """Returns the names that `text` joins by +.

    Raises:
        ConfigError: a name is unknown, or a mixer is not last.
    """
    names = [name.strip() for name in text.split("+")]
    found = [get("augmentation", name, value=text) for name in names]
    if any(entry.mixes for entry in found[:-1]):
        mixers = " or ".join(e.name for e in entries("augmentation").values() if e.mixes)
        reason = f"mixes samples before other steps: put one mixer, {mixers}, last"
        raise ConfigError(KEYS["augmentation"], text, reason)
    return names


def check_fit(train: TrainConfig, kind: DataKind) -> None:
    """Checks that every entry fits the kind of data, and that the depth is valid."""
    for entry in chosen_entries(train):
        for other, value in entry.needs.items():
            if _word(train, other) != value:
                key = KEYS[entry.kind]
                shown = value if isinstance(value, str) else json.dumps(value)
                raise ConfigError(key, entry.name, f"needs {other}: {shown}")
        if kind in entry.data:
            continue
        fits = [name for name, one in entries(entry.kind).items() if kind in one.data]
        key = KEYS[entry.kind]
        reason = f"does not fit these data, which are {WORDS[kind]}: use {', '.join(fits)}"
        raise ConfigError(key, _word(train, key), reason)
    check_places(train)
    check_strength(train)
    if train.model == "resnet":
        check_depth(train.depth)
    if train.model == "convnext" and train.depth is not None and train.depth % 6:
        reason = "is not a depth of a convnext, which is 6n; the nearest is "
        near = 6 * max(1, round(train.depth / 6))
        raise ConfigError("train.depth", train.depth, f"{reason}{near}")
    if train.shortcut == "padding" and (train.model != "resnet" or (train.depth or 8) % 6 != 2):
        reason = "needs a resnet of depth 6n+2, such as 32; use projection"
        raise ConfigError("train.shortcut", train.shortcut, reason)
    if not train.ssl.joint and train.ssl.weight > 0 and train.ssl.pretraining == 0:
        reason = "leaves no place for the SSL loss: use true, or an ssl.pretraining above 0"
        raise ConfigError("train.ssl.joint", train.ssl.joint, reason)
    if train.gradient == "class_normalised" and train.sam.radius > 0:
        reason = "does not fit train.gradient: class_normalised: use 0, or train.gradient: mean"
        raise ConfigError("train.sam.radius", train.sam.radius, reason)


def check_strength(train: TrainConfig) -> None:
    """Checks that strengths by class have an augmentation to act on."""
    parts = [get("augmentation", name) for name in augmentations(train.augmentation)]
    if train.augmentation_strength == TrainConfig().augmentation_strength:
        return
    if not any(part.strong for part in parts):
        fits = ", ".join(name for name, one in entries("augmentation").items() if one.strong)
        reason = f"has no strength that may differ by class: use or add one of {fits}"
        raise ConfigError("train.augmentation", train.augmentation, reason)


def check_places(train: TrainConfig) -> None:
    """Checks that the network has a place for every key that only some networks use."""
    models, plain = entries("model"), TrainConfig()
    for name in dict.fromkeys(name for one in models.values() for name in one.uses):
        key = f"train.{name}"
        value, default = _word(train, key), _word(plain, key)
        if value == default or name in get("model", train.model).uses:
            continue
        fits = ", ".join(model for model, one in models.items() if name in one.uses)
        reason = f"has no place in model {train.model!r}: use {default}, or one of {fits}"
        raise ConfigError(key, value, reason)


def check_depth(depth: int | None) -> None:
    """Checks that the depth of a ResNet is 6n+2 or 6n+4."""
    if depth is not None and (depth < 8 or depth % 6 not in (2, 4)):
        valid = [d for d in range(8, max(15, depth + 7)) if d % 6 in (2, 4)]
        near = min(valid, key=lambda d: abs(d - depth))
        reason = f"is not a depth of a resnet, which is 6n+2 or 6n+4; the nearest is {near}"
        raise ConfigError("train.depth", depth, reason)


def check_patch(train: TrainConfig, shape: Sequence[int]) -> None:
    """Checks that the patches of a network fit images of a shape, [C, H, W]."""
    if train.model not in ("vit", "convnext"):
        return
    patch, sides = train.parameters(train.model).patch, shape[1:]
    # A ConvNeXt halves its images three times.
    fits = [
        p
        for p in range(1, min(sides) + 1)
        if (not any(s % p for s in sides) if train.model == "vit" else min(sides) >= 8 * p)
    ]
    if patch in fits:
        return
    size = "x".join(map(str, sides))
    reason = f"does not fit images of {size} pixels"
    reason += f": use {', '.join(map(str, fits))}" if fits else ", which are too small: use resnet"
    raise ConfigError(f"train.{train.model}.patch", patch, reason)


def check_order(config: Config) -> None:
    """Checks that nothing needs classes of one size in every replicate if their order is drawn."""
    if config.data.imbalance.order == "permuted" and config.train.observe:
        reason = "does not fit train.observe, whose samples of a class are as many in every run: "
        reason += "use by_label, or no observers"
        raise ConfigError("data.imbalance.order", "permuted", reason)


def check_imbalance(imbalance: Imbalance) -> None:
    """Checks that the profile uses every key that is set."""
    if imbalance.profile == "natural" and imbalance.train_ratio < 1:
        reason = "changes nothing under profile: natural; use exponential or step"
        raise ConfigError("data.imbalance.train_ratio", imbalance.train_ratio, reason)
    if imbalance.profile == "natural" and imbalance.n_max is not None:
        reason = "changes nothing under profile: natural; data.max_per_class caps every class"
        raise ConfigError("data.imbalance.n_max", imbalance.n_max, reason)
    if imbalance.profile == "natural" and imbalance.order == "permuted":
        reason = "changes nothing under profile: natural, which draws no subset; leave it out"
        raise ConfigError("data.imbalance.order", imbalance.order, reason)
    if imbalance.profile == "natural" and imbalance.draw == "fixed":
        reason = "changes nothing under profile: natural, which draws no subset; leave it out"
        raise ConfigError("data.imbalance.draw", imbalance.draw, reason)


def check_counts(imbalance: Imbalance, pool: Mapping[str, int]) -> tuple[int, ...]:
    """Returns the subset's samples of each class, if the pool (samples by class) has enough.

    Raises:
        ConfigError: n_max or the ratio is not possible; names the nearest value that is.
    """
    counts = class_counts(tuple(pool.values()), imbalance)
    if imbalance.order == "permuted":  # any class may be the largest
        pool = dict.fromkeys(pool, min(pool.values()))
    short = [name for name, n in zip(pool, counts, strict=True) if n > pool[name]]
    if short:
        asked = counts[list(pool).index(short[0])]
        reason = f"needs {asked:,} samples of class {short[0]!r}, the training pool has "
        most = _largest_n_max(imbalance, tuple(pool.values()))
        reason += f"{pool[short[0]]:,}; at most {most:,} is possible at ratio "
        raise ConfigError(
            "data.imbalance.n_max", imbalance.n_max, f"{reason}{imbalance.train_ratio:g}"
        )
    if not all(counts):
        n_max = imbalance.n_max or min(pool.values())
        size = _samples(n_max)
        reason = f"is too small: the largest class of the subset has {size}, so the "
        raise ConfigError(
            "data.imbalance.train_ratio",
            imbalance.train_ratio,
            f"{reason}smallest ratio is {smallest_ratio(n_max):g}{_smallest(imbalance, pool)}",
        )
    return counts


def smallest_ratio(n_max: int) -> float:
    """The smallest ratio with three digits that leaves the last class a sample."""
    return float(Context(prec=3, rounding=ROUND_CEILING).divide(Decimal(1), Decimal(n_max)))


def _largest_n_max(imbalance: Imbalance, pool: Sequence[int]) -> int:
    """The largest n_max for which the pool has enough samples of every class."""
    own = shares(len(pool), imbalance)
    most = min(int((n + 1) / share) for n, share in zip(pool, own, strict=True))
    while any(int(most * share) > n for n, share in zip(pool, own, strict=True)):
        most -= 1
    return most


def _smallest(imbalance: Imbalance, pool: Mapping[str, int]) -> str:
    """For a message: the classes that limit the size of the subset, if any do."""
    least = min(pool.values())
    chosen = imbalance.profile == "natural" or imbalance.n_max is not None
    if chosen or 2 * least > max(pool.values()):
        return ""
    names = [repr(name) for name, count in pool.items() if count == least]
    named = ", ".join(names[:NAMED]) + (" ..." if len(names) > NAMED else "")
    return (
        f"; the pool's smallest class sets n_max, here {named} with {_samples(least)}: use "
        "profile: natural, or leave small classes out with data.min_per_class, which counts them "
        "before the split"
    )


def _samples(count: int) -> str:
    return "1 sample" if count == 1 else f"{count:,} samples"


def check_batch(train: TrainConfig, samples: int, *, hint: str = "") -> None:
    """Checks that batches fit the subset and are large enough for their norms and losses.

    Args:
        train: the configuration with the batch size.
        samples: samples of the training subset.
        hint: the end of the message, which explains why there are so few samples.
    """
    size, multiple = train.batch_size, train.ssl.batch_multiple
    check_ghosts(train)
    if size == 1 and train.norm == "batch":
        reason = "leaves nothing for batch norm to average; use 2 or more, or norm: group"
        raise ConfigError("train.batch_size", size, reason)
    if size // train.accumulation < (2 if train.norm == "batch" else 1):
        most = size // 2 if train.norm == "batch" else size
        reason = f"leaves parts of {_samples(size // train.accumulation)} of a batch of {size}"
        reason += "; batch norm needs 2" if train.norm == "batch" else ""
        reason += f"; use {most} or less"
        raise ConfigError("train.accumulation", train.accumulation, reason)
    if size > samples:
        reason = f"is more than the {samples} samples of the training subset{hint}"
        raise ConfigError("train.batch_size", size, reason)
    if train.ssl.weight > 0 and size >= 2 and size // train.accumulation * multiple < 2:
        reason = "gives the SSL loss parts of a single sample, but it compares samples; use "
        reason += f"{size // 2} or less, or a larger ssl.batch_multiple"
        raise ConfigError("train.accumulation", train.accumulation, reason)
    if train.ssl.weight > 0 and size * multiple < 2:
        reason = "gives the SSL loss a single sample, but it compares samples; use 2 or more"
        raise ConfigError("train.ssl.batch_multiple", multiple, reason)
    views = multiple * max(batch_sizes(samples, size))
    if train.ssl.weight > 0 and views > samples:
        reason = (
            f"makes SSL batches of {views}, more than the {samples} samples of the subset{hint}"
        )
        raise ConfigError("train.ssl.batch_multiple", multiple, reason)


def check_ghosts(train: TrainConfig) -> None:
    """Checks that virtual batches have samples to average, and a norm that averages them."""
    if train.ghost_batch == 1:
        reason = "leaves nothing for batch norm to average; use 2 or more, or 0 for whole batches"
        raise ConfigError("train.ghost_batch", train.ghost_batch, reason)
    if train.ghost_batch and train.norm != "batch":
        reason = f"changes nothing under norm: {train.norm}; use 0, or norm: batch"
        raise ConfigError("train.ghost_batch", train.ghost_batch, reason)


def check_budget(train: TrainConfig, samples: int) -> None:
    """Checks that the warm-up ends before the training does."""
    steps_of_epoch = len(batch_sizes(samples, train.batch_size))
    epochs = train.epochs if train.steps is None else train.steps / steps_of_epoch
    if train.warmup_epochs == 0 or train.warmup_epochs < epochs:
        return
    budget = f"{train.epochs} epochs"
    if train.steps is not None:
        budget = f"{train.steps} steps, at {steps_of_epoch} an epoch"
    raise ConfigError(
        "train.warmup_epochs", train.warmup_epochs, f"is not less than the run's {budget}"
    )


def check_objective(
    metric: str, counts: Sequence[int], facts: Mapping[str, Any], *, permuted: bool = False
) -> None:
    """Checks that a group's metric is defined: val and test both have samples of the group.

    Args:
        metric: the objective, such as `minority_accuracy`.
        counts: the training subset's samples of each class, in label order.
        facts: `Dataset.facts` of its data.
        permuted: whether each replicate draws which classes are in the group.
    """
    group = metric.removesuffix("_accuracy")
    if group not in GROUPS:
        return
    members = class_groups(counts)[group]
    for split in ("val", "test"):
        held = facts["counts"].get(split)
        if held is None:
            continue
        absent = [label for label, n in enumerate(held) if not n]
        if len(absent) >= len(members) if permuted else set(members) <= set(absent):
            named = ", ".join(repr(facts["classes"][label]) for label in members[:NAMED])
            more = " ..." if len(members) > NAMED else ""
            reason = (
                f"has no value on {split}, which has no sample of the {group}, here {named}{more}: "
                "leave small classes out with data.min_per_class, or use balanced_accuracy"
            )
            raise ConfigError("objective.metric", metric, reason)
