"""Classes whose sizes each replicate draws: subsets, numbers by class, packs, and saved models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_packs import apart, images, numbers_of, pack, parameters_of, same, table

from trainers.check import check
from trainers.config import Config, ConfigError, pack_key
from trainers.data.imbalance import class_places
from trainers.loop import Member, PackTrainer
from trainers.metrics import layout
from trainers.saved import load, save
from trainers.trees import TreesTrainer

DATA = images(channels=3)


def config(ratio: float = 0.3, **more: Any) -> Config:
    """Sizes 20, 10 and 6 (at ratio 0.3) in an order that each replicate draws."""
    imbalance = {"profile": "exponential", "train_ratio": ratio, "order": "permuted"}
    train = {"epochs": 2, "batch_size": 9, "lr": 0.05, "width": 0.25, "evaluations": 1000}
    imbalance |= more.pop("imbalance", {})
    return Config.model_validate({"data": {"imbalance": imbalance}, "train": train | more})


def sizes(trainer: PackTrainer, member: int) -> list[int]:
    """Samples of each class in a member's subset."""
    subset = trainer.feed.subset_index[member].numpy()
    return np.bincount(DATA.y["train"][subset], minlength=3).tolist()


def test_each_replicate_draws_which_classes_are_large_and_every_cell_agrees() -> None:
    """Sizes are those of the profile; another ratio or batch size has the same order."""
    one, other = config(), config(0.5, batch_size=6)
    replicates = tuple(range(8))
    drawn = pack(DATA, *[one] * 8, replicates=replicates)
    again = pack(DATA, *[other] * 8, replicates=replicates)
    orders = [np.argsort([-n for n in sizes(drawn, k)]).tolist() for k in replicates]
    assert all(sorted(sizes(drawn, k)) == sorted(drawn.counts) for k in replicates)
    assert orders == [np.argsort([-n for n in sizes(again, k)]).tolist() for k in replicates]
    assert len({tuple(order) for order in orders}) > 2
    fixed = pack(DATA, *[config(imbalance={"draw": "fixed"})] * 3)
    assert sizes(fixed, 0) == sizes(fixed, 1) == sizes(fixed, 2)


def test_numbers_are_those_of_the_class_and_groups_follow_the_sizes() -> None:
    """Recalls by plain loops over the test split; the minority is each replicate's smallest."""
    trainer = pack(DATA, *[config()] * 5, replicates=(0, 1, 2, 3, 4))
    names = layout(DATA.classes, DATA.y)
    trainer.train_round()
    results = trainer.train_round()
    logits = trainer.evaluate()["test"]
    for k, result in enumerate(results):
        found = dict(zip(names, numbers_of(result).tolist(), strict=True))
        label_of = np.argsort(trainer.places(k))
        predicted = label_of[logits[k].argmax(1).numpy()]
        recall = [float((predicted[DATA.y["test"] == label] == label).mean()) for label in range(3)]
        for label in range(3):
            assert found["test", "recall", f"class:c{label}"] == pytest.approx(recall[label])
            support = found["train", "support", f"class:c{label}"]
            assert support == sizes(trainer, k)[label]
        smallest = int(np.argmin(sizes(trainer, k)))
        assert found["test", "minority_accuracy", ""] == pytest.approx(recall[smallest])
        bits = np.unpackbits(np.frombuffer(result.correct or b"", np.uint8), bitorder="little")
        assert bits[:15].tolist() == (predicted == DATA.y["test"]).astype(int).tolist()


LEVERS: dict[str, Any] = {
    "sampler": "guaranteed",
    "augmentation": "flip_crop+remix",
    "loss": "logit_adjusted",
    "augmentation_chance": {"majority": 0.5},
    "class_weights": "inverse",
    "smoothing": {"minority": 0.2},
    "sam": {"radius": 0.05, "method": "cc_sam"},
    "post_hoc_tau": 0.5,
}


def test_a_member_trains_as_it_would_alone_and_goes_on_after_a_stop() -> None:
    """With every lever that reads class sizes, in float64; one member leaves after a round."""
    run = config(precision="float64", epochs=3, **LEVERS)
    together, again = (pack(DATA, *[run] * 4, replicates=(0, 1, 2, 3)) for _ in range(2))
    alone = pack(DATA, run, replicates=(3,))
    first = together.train_round()[3]
    (theirs,) = alone.train_round()
    assert numbers_of(first) == pytest.approx(numbers_of(theirs), rel=1e-6, abs=1e-7, nan_ok=True)
    together.drop(1)
    tensors, meta = together.state()
    again.load_state({name: tensor.clone() for name, tensor in tensors.items()}, meta)
    ours = together.train_round()[2]
    (theirs,) = alone.train_round()
    assert numbers_of(ours).tobytes() == numbers_of(again.train_round()[2]).tobytes()
    assert numbers_of(ours) == pytest.approx(numbers_of(theirs), rel=1e-6, abs=1e-7, nan_ok=True)
    assert apart(parameters_of(together, 2), parameters_of(alone, 0)) < 1e-9


def test_a_saved_model_names_its_classes(tmp_path: Path) -> None:
    """The model's columns are the classes of its places."""
    replicate = next(r for r in range(20) if list(order_of(r)) not in ([0, 1, 2], [2, 1, 0]))
    trainer = pack(DATA, config(), replicates=(replicate,))
    trainer.train_round()
    (result,) = trainer.train_round()
    save(tmp_path / "m", trainer, DATA, result)
    model = load(tmp_path / "m")
    assert [model.classes[place] for place in order_of(replicate)] == ["c0", "c1", "c2"]
    by_name = dict(zip(model.classes, model.facts["train_counts"], strict=True))
    assert [by_name[f"c{label}"] for label in range(3)] == sizes(trainer, 0)


def order_of(replicate: int) -> np.ndarray:
    imbalance = config().data.imbalance
    return class_places(3, imbalance, fingerprint=DATA.fingerprint, replicate=replicate)


def test_by_label_is_the_run_as_it_was() -> None:
    """The key's default is no part of an identity, and changes nothing."""
    plain = config(imbalance={"order": "by_label"})
    assert "order" not in plain.identity()["data"]["imbalance"]
    assert config().identity()["data"]["imbalance"]["order"] == "permuted"
    assert pack_key(plain) != pack_key(config())
    straight = next(r for r in range(40) if list(order_of(r)) == [0, 1, 2])
    drawn, usual = (pack(DATA, one, replicates=(straight,)) for one in (config(), plain))
    drawn.train_round()
    usual.train_round()
    assert same(parameters_of(drawn, 0), parameters_of(usual, 0))


@pytest.mark.parametrize(
    ("more", "key", "says"),
    [
        ({"imbalance": {"profile": "natural", "train_ratio": 1.0}}, "order", "leave it out"),
        ({"observe": ["margins"]}, "order", "use by_label, or no observers"),
        ({"imbalance": {"n_max": 40}}, "n_max", "at most 20 is possible"),
    ],
)
def test_what_cannot_be_drawn_is_refused(more: dict[str, Any], key: str, says: str) -> None:
    """A profile without a subset, observers, and a size that some class does not have."""
    facts = DATA.facts | {"counts": DATA.facts["counts"] | {"train": [60, 40, 20]}}
    with pytest.raises(ConfigError, match=says) as caught:
        check(config(**more), facts)
    assert caught.value.key == f"data.imbalance.{key}"


def test_trees_grow_on_the_drawn_sizes() -> None:
    """The control has the subset's sizes, and its groups follow them."""
    run = config(model="lightgbm", width=1.0, lightgbm={"trees": 4, "min_leaf": 2})
    data, replicates = table(), (0, 1, 2)
    trees = TreesTrainer(data, [Member(run, replicate) for replicate in replicates])
    names = layout(data.classes, data.y)
    results = []
    while trees.round < trees.rounds:
        results = trees.train_round()
    supports = []
    for result in results:
        found = dict(zip(names, numbers_of(result).tolist(), strict=True))
        support = [found["train", "support", f"class:{name}"] for name in data.classes]
        supports.append(support)
        rare = data.classes[int(np.argmin(support))]
        recall = found["test", "recall", f"class:{rare}"]
        assert found["test", "minority_accuracy", ""] == pytest.approx(recall)
        assert sorted(support) == sorted(trees.counts)
    assert supports[0] != supports[1] or supports[1] != supports[2]
