"""What every lever keeps: parity of a pack, its limit, a resume, a member's departure.

Few updates show it, because a lever that breaks a rule does so at its first update.
"""

from __future__ import annotations

from typing import Any

import pytest
from small_packs import (
    apart,
    config,
    images,
    numbers_of,
    pack,
    parameters_of,
    same,
    table,
    train_steps,
)

from trainers import catalogue
from trainers.config import Config
from trainers.data.dataset import Dataset
from trainers.loop import PackTrainer, RoundResult

CONVNEXT = {"model": "convnext", "width": 0.05, "depth": 6, "convnext": {"patch": 1}}
VIT = {"model": "vit", "width": 0.03, "depth": 2, "vit": {"heads": 2}}
SAM = {"radius": 0.1, "asymmetry": 1.0}
# Settings that reach each lever on images; those of `TABLES` are for tables.
IMAGES: dict[str, dict[str, Any]] = {
    "focal": {"loss": "focal"},
    "ldam": {"loss": "ldam", "head": "cosine"},
    "ldam, mixed": {"loss": "ldam", "head": "cosine", "augmentation": "mixup"},
    "logit_adjusted": {"loss": "logit_adjusted", "logit_adjusted": {"tau": 1.5}},
    "vs": {"loss": "vs"},
    "class weights": {"class_weights": "effective"},
    "deferred class weights": {"class_weights": {"by": "inverse", "start": 0.5}},
    "balanced": {"sampler": "balanced", "augmentation": "flip_crop"},
    "sqrt": {"sampler": "sqrt"},
    "progressive": {"sampler": "progressive", "ssl": {"weight": 0.5}},
    "spread": {"sampler": "spread"},
    "concentrated": {"sampler": "concentrated"},
    "guaranteed": {"sampler": "guaranteed"},
    "separate": {"sampler": "separate", "augmentation": "flip_crop"},
    "erasing": {"augmentation": "erasing", "erasing": {"probability": 0.9}},
    "rand_augment": {"augmentation": "rand_augment", "rand_augment": {"operations": 3}},
    "mixup": {"augmentation": "mixup", "mixup": {"alpha": 0.4}},
    "remix": {"augmentation": "remix", "class_weights": "inverse", "remix": {"ratio": 1.2}},
    "color_jitter": {"augmentation": "color_jitter+blur", "blur": {"sigma": 0.6}},
    "augmentation_chance": {
        "augmentation": "flip_crop",
        "augmentation_chance": {"minority": 0.9, "majority": 0.3},
    },
    "augmentation_strength": {
        "augmentation": "trivial_augment+rand_augment+color_jitter+blur",
        "augmentation_strength": {"minority": 0.9, "majority": 0.3},
    },
    "cutmix": {"augmentation": "cutmix", "cutmix": {"alpha": 0.4, "probability": 0.9}},
    "queue": {"ssl": {"weight": 0.5}, "simclr": {"queue": 50}},
    "queue, parts": {
        "ssl": {"weight": 0.5},
        "simclr": {"queue": 9},
        "accumulation": 2,
        "sam": SAM,
    },
    "supervised_view": {
        "ssl": {"weight": 0.5, "supervised_view": "ssl", "batch_multiple": 2},
        "augmentation": "flip_crop+mixup",
    },
    "barlow_twins": {"ssl": {"weight": 0.1, "loss": "barlow_twins"}},
    "byol": {"ssl": {"weight": 0.5, "loss": "byol"}, "byol": {"tau": 0.9}},
    "masked": {"ssl": {"weight": 0.5, "loss": "masked", "batch_multiple": 2}},
    "pretraining": {"ssl": {"weight": 0.5, "pretraining": 0.5}},
    "pretraining alone, slow body": {
        "ssl": {"weight": 0.5, "loss": "byol", "pretraining": 0.4, "joint": False},
        "body_lr": 0.1,
    },
    "asam": {"sam": SAM | {"method": "asam"}},
    "imbsam": {"sam": SAM | {"method": "imbsam"}, "imbsam": {"tail": 15}},
    "focal_sam": {"sam": SAM | {"method": "focal_sam"}},
    "cc_sam": {"sam": SAM | {"method": "cc_sam"}, "augmentation": "mixup"},
    "sam, weighted descent": {"sam": SAM | {"weighted": "descent"}},
    "sam, weighted twice": {"sam": SAM | {"weighted": "both", "normaliser": "plain"}},
    "accumulation": {"accumulation": 4, "norm_statistics": "running"},
    "accumulation, sam": {"accumulation": 2, "sam": SAM, "ssl": {"weight": 0.5}},
    "class_normalised": {"gradient": "class_normalised", "ssl": {"weight": 0.5}},
    "ema": {"average": {"method": "ema", "decay": 0.9}},
    "ema, running": {"average": "ema", "norm_statistics": "running"},
    "swa": {"average": {"method": "swa", "start": 0.4}},
    "milestones": {"schedule": "milestones", "milestones": [0.5, 0.75]},
    "beta2": {"optimizer": "adamw", "beta2": 0.9, "beta2_scaling": "samples", "lr": 0.01},
    "sine smoothing": {"smoothing": {"minority": 0.0, "majority": 0.3, "rule": "sine"}},
    "inverse smoothing": {"smoothing": {"minority": 0.3, "spread": "inverse"}},
    "ghost_batch": {"ghost_batch": 4, "norm_statistics": "running", "sam": SAM},
    "standardised": {"norm": "group", "weight_standardisation": True},
    "layer": {"norm": "layer", "depth": 10},
    "imagenet stem": {"stem": "imagenet", "batch_size": 20},
    "resnet18": {"model": "resnet18", "width": 0.07, "stem": "cifar", "stochastic_depth": 0.2},
    "convnext": CONVNEXT | {"stochastic_depth": 0.3, "dropout": 0.1},
    "vit": VIT | {"stochastic_depth": 0.3, "sam": SAM, "ssl": {"weight": 0.5}},
    "dropout": {"dropout": 0.4, "stochastic_depth": 0.5, "sampler": "balanced", "accumulation": 2},
}
TABLES: dict[str, dict[str, Any]] = {
    "queue, table": {"ssl": {"weight": 0.5}, "simclr": {"queue": 200}},
    "scarf": {"ssl": {"weight": 0.5, "loss": "scarf"}},
    "vime": {"ssl": {"weight": 0.5, "loss": "vime"}},
    "byol, table": {"ssl": {"weight": 0.5, "loss": "byol"}},
    "barlow_twins, table": {"ssl": {"weight": 0.1, "loss": "barlow_twins"}},
    "balanced, mixed": {"sampler": "balanced", "augmentation": "mixup", "mixup": {"alpha": 0.3}},
    "focal_sam, table": {"sam": SAM | {"method": "focal_sam"}, "loss": "focal"},
    "noise": {
        "augmentation": "noise+swap+remix",
        "augmentation_chance": {"majority": 0.5},
        "augmentation_strength": {"majority": 0.5},
    },
    "cc_sam, table": {"sam": {"radius": 0.01, "method": "cc_sam"}, "ssl": {"weight": 0.5}},
    "ldam, table": {"loss": "ldam", "head": "cosine"},
    "ghost_batch, table": {"ghost_batch": 4},
    "layer, table": {"norm": "layer", "dropout": 0.1},
    "dropout, table": {"dropout": 0.4, "sam": SAM, "ssl": {"weight": 0.5}},
    "residual_mlp": {"model": "residual_mlp", "ssl": {"weight": 0.5, "loss": "scarf"}},
    "ft_transformer": {
        "model": "ft_transformer",
        "width": 0.1,
        "depth": 2,
        "ft_transformer": {"heads": 2},
        "dropout": 0.3,
        "augmentation": "mixup",
    },
    "tabm": {
        "model": "tabm",
        "width": 0.1,
        "tabm": {"submodels": 3},
        "dropout": 0.3,
        "sam": SAM,
        "class_weights": "inverse",
    },
    "periodic": {"numerical_embedding": {"kind": "periodic", "size": 3, "frequencies": 2}},
    "piecewise_linear": {
        "numerical_embedding": {"kind": "piecewise_linear", "size": 3, "bins": 4},
        "augmentation": "mixup",
        "ssl": {"weight": 0.5, "loss": "vime"},
    },
}
LEVERS = [
    *(pytest.param(images(channels=3), value, id=name) for name, value in IMAGES.items()),
    *(pytest.param(table(), {"model": "mlp"} | value, id=name) for name, value in TABLES.items()),
]


def members(settings: dict[str, Any], number: int, **more: Any) -> list[Config]:
    """Configurations that share their pack key and differ in rate and decay."""
    base = settings.get("lr", 0.05)
    settings = {"batch_size": 12} | settings  # four updates a round
    return [
        config(**settings | {"lr": base * (1 + 0.2 * i), "weight_decay": 1e-3 * i} | more)
        for i in range(number)
    ]


@pytest.mark.parametrize(("data", "settings"), LEVERS)
def test_a_member_trains_as_it_would_alone(data: Dataset, settings: dict[str, Any]) -> None:
    """In float64 a round of five members is five rounds of one, also after a member has left."""
    exact = members(settings, 5, precision="float64")
    together = pack(data, *exact)
    first, last = (pack(data, exact[at], replicates=(at,)) for at in (0, 4))
    results = together.train_round()
    alike((together, 0, results[0]), first)
    alike((together, 4, results[4]), last)
    together.drop(0)
    alike((together, 3, together.train_round()[3]), last)


def alike(member: tuple[PackTrainer, int, RoundResult], alone: PackTrainer) -> None:
    """Compares a member's round with the next round of the same run alone."""
    together, position, ours = member
    (theirs,) = alone.train_round()
    assert numbers_of(ours) == pytest.approx(numbers_of(theirs), rel=1e-6, abs=1e-7, nan_ok=True)
    assert apart(parameters_of(together, position), parameters_of(alone, 0)) < 1e-9


@pytest.mark.parametrize(("data", "settings"), LEVERS)
def test_a_run_goes_on_as_if_it_had_not_stopped(data: Dataset, settings: dict[str, Any]) -> None:
    """From a checkpoint of round 2 of 3, to the bit; everything that changes is in it.

    What begins late (a deferred weight, an average, a milestone) has begun before it.
    """
    runs = members(settings, 2, epochs=3)
    whole, again = pack(data, *runs), pack(data, *runs)
    for _ in range(2):
        whole.train_round()
    tensors, meta = whole.state()
    kept = {name: tensor.clone() for name, tensor in tensors.items()}
    again.load_state(kept, meta)
    for one, other in zip(whole.train_round(), again.train_round(), strict=True):
        assert numbers_of(one).tobytes() == numbers_of(other).tobytes()
    assert same(parameters_of(whole, 1), parameters_of(again, 1))


LIMITS = {
    "focal": {"loss": "focal", "focal": {"gamma": 0.0}},
    "logit_adjusted": {"loss": "logit_adjusted", "logit_adjusted": {"tau": 0.0}},
    "vs": {"loss": "vs", "vs": {"tau": 0.0, "gamma": 0.0}},
    "class weights": {"class_weights": {"by": "inverse", "start": 1.0}},
    "sam": {"sam": {"radius": 0.0, "method": "asam"}},
    "ssl": {"ssl": {"weight": 0.0, "loss": "byol", "supervised_view": "ssl"}},
    "accumulation": {"accumulation": 1},
    "ghost_batch": {"ghost_batch": 8},
    "erasing": {"augmentation": "erasing", "erasing": {"probability": 0.0}},
    "color_jitter": {"augmentation": "color_jitter", "color_jitter": {"probability": 0.0}},
    "blur": {"augmentation": "blur", "blur": {"probability": 0.0}},
    "augmentation_chance": {
        "augmentation": "auto_augment",
        "augmentation_chance": {"minority": 0.0, "majority": 0.0},
    },
    "milestones": {"schedule": "milestones", "milestones": [], "warmup_epochs": 0.0},
    "sampler": {"sampler": "shuffled"},
}


@pytest.mark.parametrize("settings", LIMITS.values(), ids=LIMITS)
def test_at_its_limit_a_lever_is_the_run_without_it(settings: dict[str, Any]) -> None:
    """Bit for bit, in float32: a level of 0 is a fair reference."""
    plain: dict[str, Any] = {"schedule": "constant"} if "schedule" in settings else {}
    with_it, without = pack(images(), config(**settings)), pack(images(), config(**plain))
    train_steps(with_it, 6)
    train_steps(without, 6)
    assert same(parameters_of(with_it, 0), parameters_of(without, 0))


ROW_LIMITS = {
    "noise": {"augmentation": "noise", "noise": {"strength": 0.0}},
    "swap": {"augmentation": "swap", "swap": {"share": 0.0}},
    "augmentation_strength": {
        "augmentation": "noise+swap",
        "augmentation_strength": {"minority": 0.0, "majority": 0.0},
    },
    "remix": {"augmentation": "remix", "remix": {"share": 0.0}},
}


@pytest.mark.parametrize("name", ROW_LIMITS)
def test_at_its_limit_a_lever_of_tables_is_the_run_without_it(name: str) -> None:
    """Bit for bit; ReMix's limit is mixup."""
    plain: dict[str, Any] = {"augmentation": "mixup"} if name == "remix" else {}
    runs = [config(model="mlp", **settings) for settings in (ROW_LIMITS[name], plain)]
    with_it, without = (pack(table(), one) for one in runs)
    train_steps(with_it, 6)
    train_steps(without, 6)
    assert same(parameters_of(with_it, 0), parameters_of(without, 0))


def test_margin_zero_is_the_cosine_head_alone() -> None:
    """LDAM without a margin is cross-entropy of the same head, bit for bit."""
    ldam = config(loss="ldam", head="cosine", ldam={"margin": 0.0})
    with_it, without = pack(images(), ldam), pack(images(), config(head="cosine"))
    train_steps(with_it, 6)
    train_steps(without, 6)
    assert same(parameters_of(with_it, 0), parameters_of(without, 0))


def test_every_entry_is_reached_here() -> None:
    """A new entry of the catalogue gets the tests above by a line in the tables above."""
    written = [settings for table in (IMAGES, TABLES) for settings in table.values()]
    names = [one.get("augmentation", "") for one in written]
    found = {
        "augmentation": {name for joined in names for name in joined.split("+")},
        "loss": {one.get("loss") for one in written},
        "sampler": {one.get("sampler") for one in written},
        "ssl": {one.get("ssl", {}).get("loss") for one in written},
        "sharpness": {one.get("sam", {}).get("method") for one in written},
    }
    older = {"cross_entropy", "shuffled", "simclr", "vicreg", "sam", "none"}
    older |= {"trivial_augment", "auto_augment"}
    for kind, names in found.items():
        assert set(catalogue.entries(kind)) - older <= names, kind  # type: ignore[arg-type]
