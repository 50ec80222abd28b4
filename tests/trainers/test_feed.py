"""Batches: the same order and draws whatever the batch size, the pack and the step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_packs import config, images, pack, table
from torch import Tensor

from trainers import streams
from trainers.batches import batch_sizes
from trainers.feed import Feed


def epoch(feed: Feed, number: int = 0) -> list[Any]:
    return list(feed.batches(number * feed.epoch_steps, (number + 1) * feed.epoch_steps))


def inputs(feed: Feed, member: int, *, number: int = 0) -> Tensor:
    """All of a member's inputs of an epoch, in its order: (n, C, H, W)."""
    members = len(feed.replicates)
    return torch.cat([b.x.unflatten(1, (members, -1))[:, member] for b in epoch(feed, number)])


@pytest.mark.parametrize(
    ("samples", "size", "expected"),
    [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (5, 5, [5]), (3, 1, [1, 1, 1]),
     (4, 2, [2, 2]), (5, 2, [2, 3])],
)  # fmt: skip
def test_a_last_batch_is_kept_and_one_sample_joins_the_batch_before(
    samples: int, size: int, expected: list[int]
) -> None:
    """No sample of a tiny class is lost, and no batch norm meets a sample alone."""
    assert batch_sizes(samples, size) == expected


@pytest.mark.parametrize("augmentation", ["none", "flip_crop+trivial_augment"])
@pytest.mark.parametrize("number", [0, 3])
def test_batch_size_and_pack_change_nothing_but_the_batches(augmentation: str, number: int) -> None:
    """Batch 2 or 32, alone or in a pack of three: the same inputs in the same order, to the bit."""
    data = images(train=180)
    settings = {"augmentation": augmentation, "ratio": 0.3}
    alone = pack(data, config(batch_size=2, **settings), replicates=(1,)).feed
    large = config(batch_size=32, **settings)
    packed = pack(data, large, large, large).feed
    assert torch.equal(inputs(alone, 0, number=number), inputs(packed, 1, number=number))


def test_each_epoch_has_an_order_and_draws_of_its_own() -> None:
    """Two epochs show the same samples in another order, and augment them otherwise."""
    feed = pack(images(), config()).feed
    first, second = inputs(feed, 0), inputs(feed, 0, number=1)
    assert not torch.equal(first, second)
    assert torch.equal(
        first.flatten(1).sum(1).sort().values, second.flatten(1).sum(1).sort().values
    )
    cropped = pack(images(), config(augmentation="flip_crop")).feed
    one, two = inputs(cropped, 0), inputs(cropped, 0, number=1)
    assert sorted(one.flatten(1).sum(1).tolist()) != sorted(two.flatten(1).sum(1).tolist())


def test_batches_are_the_normalised_pool_in_stream_order() -> None:
    """A batch's inputs and labels follow from the streams and the arrays alone."""
    data = images()
    trainer = pack(data, config(ratio=1.0), replicates=(2,))
    order = streams.order(data.fingerprint, 2, np.arange(60), epoch=0, samples=60)
    expected = (data.x["train"][order] / 255.0 - data.mean.reshape(1, 1, 1)) / data.std.item()
    assert np.allclose(inputs(trainer.feed, 0).numpy(), expected, atol=1e-6)
    labels = torch.cat([b.labels[0] for b in epoch(trainer.feed)])
    assert labels.tolist() == data.y["train"][order].tolist()


def test_a_step_has_its_batch_from_wherever_one_starts() -> None:
    """An interrupted epoch goes on with the batch that it would have had."""
    feed = pack(images(), config(augmentation="flip_crop")).feed
    whole = epoch(feed, 1)
    again = next(pack(images(), config(augmentation="flip_crop")).feed.batches(
        feed.epoch_steps + 3, feed.epoch_steps + 4))  # fmt: skip
    assert torch.equal(again.x, whole[3].x)


def test_a_policy_of_width_zero_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without augmentation and SSL the order is all that an epoch draws."""
    feed = pack(images(), config()).feed
    drawn = []
    real = streams.generator

    def spy(fingerprint: str, replicate: int, stream: str, epoch: int = 0) -> Any:
        drawn.append(stream)
        return real(fingerprint, replicate, stream, epoch)

    monkeypatch.setattr(streams, "generator", spy)
    epoch(feed)
    assert drawn == ["order"]


def test_mixing_stays_within_its_batch() -> None:
    """Preparing many batches at once mixes no sample with one of another batch."""
    data = images()
    plain = epoch(pack(data, config()).feed)
    for mixed, alone in zip(
        epoch(pack(data, config(augmentation="mixup")).feed), plain, strict=True
    ):
        share = mixed.targets[0].gather(1, alone.labels[0][:, None])[:, 0]
        partner = alone.x.roll(-1, 0)
        differ = alone.labels[0] != alone.labels[0].roll(-1)
        weight = share[:, None, None, None]
        expected = weight * alone.x + (1 - weight) * partner
        assert torch.allclose(mixed.x[differ], expected[differ], atol=1e-5)


def test_targets_are_labels_unless_smoothed_or_mixed() -> None:
    """The fast path of the loss is taken where nothing softens the targets."""
    hard = next(pack(images(), config()).feed.batches(0, 1))
    soft = next(pack(images(), config(smoothing={"minority": 0.3})).feed.batches(0, 1))
    assert torch.equal(hard.targets, hard.labels)
    assert soft.targets.shape == (1, 8, 3)
    assert torch.allclose(soft.targets.sum(-1), torch.ones(1, 8))


def test_ssl_batches_are_a_multiple_around_the_epochs_end() -> None:
    """Three batches' worth of views from the batch's first sample on, none of them twice."""
    feed = pack(images(), config(ssl={"weight": 1.0, "batch_multiple": 3})).feed
    batches = epoch(feed)
    for batch, size in zip(batches, feed.sizes, strict=True):
        assert batch.views is not None
        assert batch.views[0].shape[0] == batch.views[1].shape[0] == 3 * size
        assert not torch.equal(*batch.views)


def test_ssl_views_do_not_depend_on_the_batch() -> None:
    """Batch 2 or 16, one batch's worth or three: a sample's view in its own batch is the same."""
    settings = {"ratio": 0.9}
    small = config(batch_size=2, ssl={"weight": 1.0}, **settings)
    large = config(batch_size=16, ssl={"weight": 1.0, "batch_multiple": 3}, **settings)
    for which in (0, 1):
        one, other = (
            torch.cat([b.views[which][: len(b.x)] for b in epoch(pack(images(), c).feed)])
            for c in (small, large)
        )
        assert torch.equal(one, other)


def test_a_longer_policy_begins_with_the_shorter_one_s_draws() -> None:
    """Mixing after a crop changes what is mixed, not what is cropped."""
    cropped = epoch(pack(images(), config(augmentation="flip_crop")).feed)
    mixed = epoch(pack(images(), config(augmentation="flip_crop+cutmix")).feed)
    untouched = 0
    for one, other in zip(cropped, mixed, strict=True):
        alone = other.targets[0].amax(1) == 1
        alone &= other.labels[0] != other.labels[0].roll(-1)
        assert torch.equal(one.x[alone], other.x[alone])
        untouched += int(alone.sum())
    assert untouched > 5


def test_ssl_views_do_not_depend_on_the_pack() -> None:
    """The views of a sample are drawn by replicate, epoch and sample, like all else."""
    settings = config(ssl={"weight": 1.0})
    alone = next(pack(images(), settings, replicates=(2,)).feed.batches(0, 1))
    packed = next(pack(images(), settings, settings, settings).feed.batches(0, 1))
    assert alone.views is not None
    assert packed.views is not None
    for one, many in zip(alone.views, packed.views, strict=True):
        assert torch.equal(one[:, 0], many[:, 2])


def test_tables_have_a_column_for_each_code() -> None:
    """Numbers come first, then each categorical column one-hot."""
    data = table()
    trainer = pack(data, config(model="mlp", ratio=1.0))
    assert data.codes is not None
    rows = torch.cat([b.x[0] for b in epoch(trainer.feed)])
    order = streams.order(data.fingerprint, 0, np.arange(60), epoch=0, samples=60)
    codes = data.codes["train"][order]
    expected = np.hstack([data.x["train"][order], np.eye(3)[codes[:, 0]], np.eye(4)[codes[:, 1]]])
    assert np.allclose(rows.numpy(), expected)


SSL = {"weight": 0.1}
SHARING = [
    (images, {"augmentation": "flip_crop+trivial_augment+mixup"}),
    (images, {"augmentation": "flip_crop", "augmentation_chance": {"majority": 0.3}}),
    (images, {"sampler": "balanced", "ssl": SSL | {"supervised_view": "ssl"}}),
    (images, {"ssl": SSL | {"loss": "masked"}}),
    (images, {"ssl": SSL | {"loss": "byol", "batch_multiple": 2}, "stochastic_depth": 0.2}),
    (table, {"model": "mlp", "ssl": SSL | {"loss": "vime"}}),
    (table, {"model": "mlp", "augmentation": "noise+swap+mixup", "dropout": 0.2}),
]


@pytest.mark.parametrize(("data", "train"), SHARING)
def test_members_of_a_replicate_share_what_is_done_to_their_samples(
    data: Any, train: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two cells of three replicates: three rows are drawn, and every batch is that of one alone."""
    made, settings = data(), [config(lr=lr, **train) for lr in (0.05, 0.02)]
    drawn: list[int] = []
    real = Feed._drawn

    def seen(self: Feed, stream: str, *rest: Any) -> Tensor:
        found = real(self, stream, *rest)
        drawn.extend([len(found)] * (stream != "masks"))
        return found

    monkeypatch.setattr(Feed, "_drawn", seen)
    runs = [(one, replicate) for one in settings for replicate in range(3)]
    together = epoch(pack(made, *(c for c, _ in runs), replicates=(0, 1, 2, 0, 1, 2)).feed)
    assert set(drawn) == {3}
    for member, (one, replicate) in enumerate(runs):
        alone = epoch(pack(made, one, replicates=(replicate,)).feed)
        for ours, own in zip(together, alone, strict=True):
            for of_pack, of_one in zip(tensors(ours), tensors(own), strict=True):
                part = of_pack.unflatten(1, (6, -1)) if of_pack.dim() == 4 else of_pack
                part = part[:, member] if of_pack.dim() == 4 else part[member : member + 1]
                assert torch.equal(part, of_one)


def tensors(batch: Any) -> list[Tensor]:
    found = [batch.x, batch.targets, batch.labels, *batch.of_samples.values()]
    return found + list(batch.views or ()) + ([] if batch.keys is None else [batch.keys])


def test_what_is_not_transformed_is_not_shared() -> None:
    """Reading samples costs as much as copying them."""
    feed = pack(images(), config(), config(), replicates=(0, 0)).feed
    epoch(feed)
    assert feed._epoch is not None
    assert feed._epoch[1].alike is None
