"""Gradient-boosted trees as a control, against LightGBM's own classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import torch
from small_packs import config, images, numbers_of, pack, table
from torch import Tensor

from sweeper.engine import data_facts, worker
from sweeper.engine.messages import Job, JobMember, Message
from sweeper.states import Ending
from trainers import catalogue
from trainers.__main__ import Unusable, run
from trainers.check import check
from trainers.config import Config, ConfigError, pack_key
from trainers.data.imbalance import draw_subset
from trainers.data_config import DataConfig
from trainers.loop import Member, RoundResult
from trainers.metrics import layout
from trainers.shapes import calls
from trainers.trees import TreesTrainer

KEYS = {"trees": 10, "leaves": 5, "min_leaf": 2, "learning_rate": 0.3}


def settings(**train: Any) -> Config:
    own = KEYS | train.pop("lightgbm", {})
    return config(**{"model": "lightgbm", "width": 1.0, "epochs": 4, "lightgbm": own} | train)


def trainer_of(*configs: Config, replicates: tuple[int, ...] = ()) -> TreesTrainer:
    numbers = replicates or tuple(range(len(configs)))
    members = [Member(one, replicate) for one, replicate in zip(configs, numbers, strict=True)]
    return TreesTrainer(table(), members)


def rounds(trainer: TreesTrainer) -> list[RoundResult]:
    found = []
    while trainer.round < trainer.rounds:
        found += trainer.train_round()
    return found


def theirs(train: Config, *, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Replicate 1's probabilities of the test split, by LightGBM's classifier; its counts."""
    data, counts = table(), (20, 14, 10)
    subset = draw_subset(data.y["train"], counts, fingerprint=data.fingerprint, replicate=1)
    assert data.codes is not None
    x, test = (np.hstack([data.x[s], data.codes[s]]).astype(float) for s in ("train", "test"))
    labels = data.y["train"][subset]
    model = lightgbm.LGBMClassifier(
        n_estimators=10,
        num_leaves=5,
        min_child_samples=2,
        learning_rate=0.3,
        n_jobs=1,
        objective="multiclass",
        verbosity=-1,
    )
    weights = None if weight is None else weight[labels]
    model.fit(x[subset], labels, sample_weight=weights, categorical_feature=[4, 5])
    return np.asarray(model.predict_proba(test)), np.bincount(labels)


def chances(trainer: TreesTrainer) -> Tensor:
    """A run's probabilities of the test split."""
    return trainer._forests[0].logits(trainer._judged["test"])[0].softmax(-1)


def test_trees_are_those_of_the_packages_classifier() -> None:
    """Same subset, columns and categories, after all rounds; metrics are of these predictions."""
    trainer = trainer_of(settings(), replicates=(1,))
    last = rounds(trainer)[-1]
    expected, counted = theirs(settings())
    assert tuple(counted) == trainer.counts
    assert torch.allclose(chances(trainer), torch.from_numpy(expected), rtol=0, atol=1e-12)
    right = expected.argmax(1) == table().y["test"]
    names = layout(table().classes, table().y)
    numbers = dict(zip(names, numbers_of(last).tolist(), strict=True))
    assert numbers["test", "accuracy", ""] == pytest.approx(right.mean())
    assert last.correct == np.packbits(right, bitorder="little").tobytes()


def test_class_weights_are_weights_of_samples() -> None:
    """Inverse class sizes, with mean 1 over the samples."""
    trainer = trainer_of(settings(class_weights="inverse"), replicates=(1,))
    rounds(trainer)
    expected, counted = theirs(settings(), weight=counted_weights(np.array([20, 14, 10])))
    assert counted.sum() == 44
    assert torch.allclose(chances(trainer), torch.from_numpy(expected), rtol=0, atol=1e-12)


def counted_weights(counts: np.ndarray) -> np.ndarray:
    return counts.sum() / (len(counts) * counts)


def test_logits_are_adjusted_after_training() -> None:
    """By tau ln pi, as for networks."""
    plain, adjusted = trainer_of(settings()), trainer_of(settings(post_hoc_tau=1.5))
    rounds(plain)
    rounds(adjusted)
    gap = (chances(plain).log() - chances(adjusted).log()).double()
    expected = 1.5 * (torch.tensor([20.0, 14.0, 10.0]).double() / 44).log()
    assert torch.allclose(gap - gap[:, :1], (expected - expected[0]).expand_as(gap), atol=1e-9)


def test_runs_of_a_pack_are_runs_alone() -> None:
    """To the bit, with their own settings and draws of columns, and after one has left."""
    shares = {"feature_share": 0.7, "sample_share": 0.7}
    runs = [settings(lightgbm=shares | {"leaves": leaves}) for leaves in (5, 4, 3)]
    assert len({pack_key(run) for run in runs}) == 1
    together = trainer_of(*runs)
    alone = [trainer_of(runs[at], replicates=(at,)) for at in (0, 2)]
    first = together.train_round()
    together.drop(1)
    assert together.alive == [0, 2]
    assert first[2].numbers is not None
    later = rounds(together)[-2:]
    for result, single in zip(later, alone, strict=True):
        own = rounds(single)[-1]
        assert numbers_of(result).tobytes() == numbers_of(own).tobytes()
        assert result.correct == own.correct
    assert numbers_of(later[0]).tobytes() != numbers_of(later[1]).tobytes()


def test_an_interrupted_run_begins_again_and_ends_the_same() -> None:
    """There is no checkpoint; timing a run leaves no trace either."""
    whole, again = trainer_of(settings()), trainer_of(settings())
    whole.train_round()
    assert whole.state() is None
    with pytest.raises(ValueError, match="no checkpoint"):
        whole.load_state({}, {})
    again.time_steps(3)
    assert numbers_of(rounds(whole)[-1]).tobytes() == numbers_of(rounds(again)[-1]).tobytes()


def test_trees_are_spread_over_the_rounds_of_a_network() -> None:
    """So that progress, pruning and curves of both are of the same rounds."""
    network = pack(table(), config(model="mlp", epochs=4))
    trainer = trainer_of(settings())
    assert (trainer.rounds, trainer.timetable.points) == (
        network.rounds,
        network.timetable.points,
    )
    assert [result.step for result in rounds(trainer)] == [2, 5, 7, 10]


REFUSED = [
    pytest.param({"sam": {"radius": 0.1}}, "needs train.sam.radius: 0", id="sam"),
    pytest.param({"ssl": {"weight": 0.1}}, "needs train.ssl.weight: 0", id="ssl"),
    pytest.param({"smoothing": {"minority": 0.1}}, "needs train.smoothing.minority", id="smooth"),
    pytest.param({"augmentation": "mixup"}, "needs train.augmentation: none", id="mixup"),
    pytest.param({"head": "cosine"}, "needs train.head: linear", id="head"),
    pytest.param({"width": 0.5}, "needs train.width: 1", id="width"),
    pytest.param({"loss": "focal"}, "needs train.loss: cross_entropy", id="loss"),
    pytest.param({"sampler": "balanced"}, "needs train.sampler: shuffled", id="sampler"),
    pytest.param({"average": "ema"}, "needs train.average.method: none", id="average"),
    pytest.param({"observe": ["margins"]}, "needs train.observe", id="observer"),
    pytest.param({"depth": 3}, "train.depth: 3 has no place in model 'lightgbm'", id="depth"),
    pytest.param({"dropout": 0.1}, "train.dropout: 0.1 has no place", id="dropout"),
]


@pytest.mark.parametrize(("train", "message"), REFUSED)
def test_levers_of_networks_are_refused(train: dict[str, Any], message: str) -> None:
    """Before anything starts, with the key."""
    with pytest.raises(ConfigError, match=message):
        check(settings(**train), table().facts)


def test_images_are_refused() -> None:
    """Trees are for tables."""
    with pytest.raises(ConfigError, match="which are images: use resnet"):
        check(settings(), images().facts)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is the command that installs it."""
    monkeypatch.setattr(catalogue, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs the package lightgbm: pip install 'sweeper\[tr"):
        check(settings(), table().facts)
    check(config(model="mlp"), table().facts)


def test_trees_have_no_layers_to_check() -> None:
    """So no arithmetic of a network is compared before they train."""
    shape = table().inputs
    assert calls(settings().train, inputs=shape, classes=3, samples=44, members=2) == []


def test_a_worker_trains_trees_without_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its first round to its end, with one thread, and nothing to resume from."""
    monkeypatch.setattr(worker, "pin_threads", lambda count: None)  # of this process
    data = DataConfig(dataset="digits_table", max_per_class=20)
    train = settings().train.model_copy(update={"epochs": 2, "batch_size": 16})
    whole = Config(data=data, train=train).model_dump(mode="json")
    facts = data_facts.inspect(data)
    job = Job(
        pack=1,
        members=(JobMember(run=7, attempt=1, replicate=1, config=whole),),
        form="folded",
        threads=1,
        device="cpu",
        checkpoint_dir=str(tmp_path),
        checkpoint_seconds=0.0,
        fingerprints={data_facts.load_key(data): facts["fingerprint"]},
    )
    one = worker.PackWorker()
    first, done = one.take(job)
    assert isinstance(first, Message)
    assert (first.reached.step, done, first.failure) == (5, False, None)
    assert one.save_now() == 0
    last, done = one.step()
    assert isinstance(last, Message)
    assert (last.reached.step, done) == (10, True)
    assert last.members[0].end is Ending.COMPLETE
    assert last.members[0].correct is not None
    assert list(tmp_path.iterdir()) == []


def test_only_networks_are_saved(tmp_path: Path) -> None:
    """Said before anything is trained; without --out the run prints its metrics."""
    path = tmp_path / "trees.yaml"
    path.write_text(
        "data: {dataset: digits_table, max_per_class: 20}\n"
        "train: {model: lightgbm, epochs: 1, batch_size: 16, lightgbm: {trees: 2}}\n"
    )
    with pytest.raises(Unusable, match="only networks are saved, and lightgbm is none"):
        run(path, replicate=0, device="cpu", threads=1, out=tmp_path / "m", force=False)
    assert run(path, replicate=0, device="cpu", threads=1, out=None, force=False) == 0
