"""Feeds a pack: keeps the data on the device and prepares the batches of each step.

Letters: K members, R of them whose samples differ, N samples of the pool, n samples of the subset,
S samples of a chunk, B samples of a batch, C channels, H x W pixels, F columns.

The order and draws of an epoch are made for every sample of the pool at once, and a sample looks
its own up by its index. So batch size, pack and device change only how samples form batches.
Batches are prepared many at a time (a chunk), because two samples cost as much as two hundred.
Members of a replicate see the same samples, which are transformed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainers import streams
from trainers.augment import Policy
from trainers.batches import batch_sizes
from trainers.class_order import ClassOrder
from trainers.data.dataset import Dataset
from trainers.fused import Form
from trainers.losses.smoothing import smooth_targets
from trainers.masks import KEYS
from trainers.row_noise import TableRows
from trainers.samplers import Sampler
from trainers.sources import source
from trainers.ssl import Entrance, SSLObjective

# Numbers of a prepared chunk: about what fits the caches of a core, or fills a GPU.
CHUNK_NUMBERS = {"cpu": 1 << 20, "cuda": 1 << 25}
# Numbers of an evaluation batch, over all members, and its fewest samples.
EVALUATION_NUMBERS = {"cpu": 1 << 15, "cuda": 1 << 24}
EVALUATION_SAMPLES = 16


@dataclass(frozen=True)
class Batch:
    """The input of a step; `targets` are (K, B) labels or (K, B, classes) soft.

    Attributes:
        x: in the form's layout, normalised.
        labels: (K, B), each sample's own class, even if it is mixed with another.
        of_samples: name -> (K, B), the step's numbers of each sample, such as SAM-A's weights.
        views: what the SSL objective needs, or None.
        keys: (K, B, 2), the samples' draws of masks (`trainers.masks`), or None.
    """

    x: Tensor
    targets: Tensor
    labels: Tensor
    of_samples: dict[str, Tensor]
    views: tuple[Tensor, ...] | None
    keys: Tensor | None


class Pool:
    """A data set for a device: images unchanged, codes of tables not yet one-hot."""

    def __init__(self, dataset: Dataset, *, device: torch.device, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._x = {split: source(x, device) for split, x in dataset.x.items()}
        self.y = {split: source(y, device).x.to(device) for split, y in dataset.y.items()}
        self._codes = {s: source(codes, device) for s, codes in (dataset.codes or {}).items()}
        self.cardinalities, self.inputs = dataset.cardinalities, dataset.inputs
        self.kind = dataset.kind
        self.mean = torch.from_numpy(dataset.mean).to(device, dtype).view(-1, 1, 1)
        self.std = torch.from_numpy(dataset.std).to(device, dtype).view(-1, 1, 1)

    def evaluation_size(self, members: int) -> int:
        """The samples of an evaluation batch for a number of members."""
        numbers = int(np.prod(self.inputs)) * members
        return max(EVALUATION_SAMPLES, EVALUATION_NUMBERS[self.mean.device.type] // numbers)

    @property
    def raw_inputs(self) -> tuple[int, ...]:
        """The shape before encoding: (C, H, W) of images, (F,) of tables with one column a code."""
        if self.kind == "image":
            return self.inputs
        return (self.numbers + len(self.cardinalities),)

    @property
    def numbers(self) -> int:
        """The numeric columns of a table."""
        return self._x["train"].x.shape[1]

    def raw(self, split: str, index: Tensor) -> Tensor:
        """The samples at (K, S): images (K, S, C, H, W) in 0..1, or rows (K, S, F) with codes."""
        found = self._x[split].take(index)
        x = found.to(self.dtype)
        if self.kind == "image":
            return x.div_(255) if found.dtype == torch.uint8 else x
        return torch.cat([x, self._codes[split].take(index).to(self.dtype)], dim=-1)

    def expect(self, index: Tensor) -> None:
        """Says which samples (K, S) of the training pool are read next."""
        self._x["train"].expect(index)
        if self._codes:
            self._codes["train"].expect(index)

    def encode(self, raw: Tensor) -> Tensor:
        """Returns rows with their codes one-hot, and images unchanged."""
        if not self.cardinalities:
            return raw
        numbers, codes = raw.tensor_split((raw.shape[-1] - len(self.cardinalities),), dim=-1)
        columns = zip(codes.long().unbind(-1), self.cardinalities, strict=True)
        return torch.cat([numbers, *(F.one_hot(c, n).to(raw) for c, n in columns)], dim=-1)

    def normalise(self, x: Tensor) -> Tensor:
        """Scales images to mean 0, deviation 1 over the pool, a channel each; not tables."""
        return (x - self.mean) / self.std if self.kind == "image" else x


@dataclass(frozen=True)
class Recipe:
    """The options of how batches are made.

    Attributes:
        smoothing: (K, classes), or None without smoothing.
        shares: (classes,), where the smoothed share of a target goes; None: equally.
        of_classes: name -> (K, classes), the step's numbers of each class.
        sizes: (K, classes), training samples of each class.
        chances: (K, classes), how often samples of each class are augmented; None: always.
        strengths: (K, classes), the factor of an augmentation's strength; None: 1.
        ssl: the objective that needs views, or None.
        multiple: SSL samples for each supervised sample.
        views_until: the updates that have views; later batches have none.
        sees_view: whether the supervised loss sees the first SSL view.
        masked: whether passes need masks.
    """

    batch_size: int
    policy: Policy
    smoothing: Tensor | None
    shares: Tensor | None
    of_classes: Mapping[str, Tensor]
    sizes: Tensor
    chances: Tensor | None
    strengths: Tensor | None
    ssl: SSLObjective | None
    multiple: int
    views_until: int
    sees_view: bool
    masked: bool

    @property
    def ssl_multiple(self) -> int:
        """SSL samples for each supervised sample; 0 without SSL."""
        return self.multiple if self.ssl else 0


@dataclass(frozen=True)
class Epoch:
    """The order and draws of an epoch, on the device, in the epoch's order.

    Attributes:
        index, draws, chance, views: (R, n, ...).
        labels, keys: (K, n, ...).
        alike: which of the R each member is, (K,); None if all differ.
        first: the first member of each of the R, (R,).
        table: the rows of a table that transforms may read, of each of the R.
    """

    index: Tensor
    labels: Tensor
    draws: Tensor
    chance: Tensor
    views: tuple[Tensor, Tensor]
    keys: Tensor
    alike: Tensor | None
    first: Tensor
    table: TableRows | None

    def of_members(self, rows: Tensor) -> Tensor:
        """Rows (R, ...) as the members', (K, ...)."""
        return rows if self.alike is None else rows.index_select(0, self.alike)


class Feed:
    """The endless sequence of a pack's batches; a batch depends only on its step."""

    def __init__(
        self,
        pool: Pool,
        recipe: Recipe,
        *,
        replicates: Sequence[int],
        subsets: Sequence[np.ndarray],
        samplers: Sequence[Sampler],
        fingerprint: str,
        form: Form,
        order: ClassOrder | None,
    ) -> None:
        self.pool, self.recipe, self.form = pool, recipe, form
        self.replicates, self.fingerprint = tuple(replicates), fingerprint
        self.samplers, self._class_order = tuple(samplers), order
        self.sizes = batch_sizes(len(subsets[0]), recipe.batch_size)
        self._device = pool.y["train"].device
        self._samples = len(pool.y["train"])
        self.subset_index = torch.from_numpy(np.stack(subsets)).to(self._device)
        changed = recipe.ssl_multiple or recipe.policy.transforms
        self._table: TableRows | None = None
        if pool.kind == "table" and changed:
            self._table = TableRows(pool.numbers, pool.raw("train", self.subset_index))
        self._chunks = self._plan()
        self._epoch: tuple[int, Epoch] | None = None
        self._chunk: tuple[int, int, list[Batch]] | None = None

    @property
    def epoch_steps(self) -> int:
        """The number of batches in an epoch."""
        return len(self.sizes)

    def batches(self, start: int, end: int) -> Iterator[Batch]:
        """Yields the batches of steps start .. end - 1."""
        for step in range(start, end):
            epoch, position = divmod(step, self.epoch_steps)
            yield self._prepared(epoch, position)

    def _prepared(self, epoch: int, position: int) -> Batch:
        number, offset = self._chunks[position]
        if self._chunk is None or self._chunk[:2] != (epoch, number):
            self._chunk = (epoch, number, self._prepare(epoch, number))
        return self._chunk[2][offset]

    def _plan(self) -> list[tuple[int, int]]:
        """Each batch's chunk and position in it; a chunk's batches have equal sizes."""
        views = 1 + 2 * self.recipe.ssl_multiple
        numbers = int(np.prod(self.pool.inputs)) * len(self.replicates) * views
        most = max(1, CHUNK_NUMBERS[self._device.type] // (numbers * self.recipe.batch_size))
        places: list[tuple[int, int]] = []
        for batch, size in enumerate(self.sizes):
            number, offset = places[-1] if places else (0, -1)
            fits = offset + 1 < most and (batch == 0 or size == self.sizes[batch - 1])
            places.append((number, offset + 1) if fits else (number + 1, 0))
        return places

    def _order(self, epoch: int) -> Epoch:
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, self._draw(epoch))
        return self._epoch[1]

    def _draw(self, epoch: int) -> Epoch:
        """Makes all random numbers of the epoch and moves them to the device at once."""
        orders = [sampler.order(epoch) for sampler in self.samplers]
        alike = self._alike(orders)
        first = [alike.index(number) for number in range(max(alike) + 1)]
        index, replicates = np.stack(orders), self.replicates
        labels = self.pool.y["train"][self._to_device(index)]
        if self._class_order is not None:
            labels = self._class_order.of_labels(labels)
        keys = self._drawn("masks", epoch, replicates, index, KEYS if self.recipe.masked else 0)
        index, replicates = index[first], tuple(replicates[member] for member in first)
        ssl, multiple = self.recipe.ssl, self.recipe.ssl_multiple
        width = ssl.draws(self.pool.raw_inputs) * multiple if ssl else 0
        chances, columns = self.recipe.chances, self.pool.raw_inputs[0]

        def drawn(stream: str, width: int) -> Tensor:
            return self._drawn(stream, epoch, replicates, index, width)

        return Epoch(
            self._to_device(index),
            labels,
            drawn("augment", self.recipe.policy.width(columns)),
            drawn("augment_chance", 0 if chances is None else 1),
            (drawn("ssl_view_1", width), drawn("ssl_view_2", width)),
            keys,
            None if len(first) == len(alike) else self._to_device(np.array(alike)),
            self._to_device(np.array(first)),
            self._rows(first),
        )

    def _rows(self, members: Sequence[int]) -> TableRows | None:
        if self._table is None or len(members) == len(self.replicates):
            return self._table
        return replace(self._table, rows=self._table.rows[members])

    def _alike(self, orders: Sequence[np.ndarray]) -> list[int]:
        """Numbers members from 0 such that those whose samples are the same have the same number.

        Members differ if nothing is done that is worth doing once.
        """
        recipe = self.recipe
        if not (recipe.ssl_multiple or recipe.policy.transforms):
            return list(range(len(orders)))
        by_class = [one for one in (recipe.chances, recipe.strengths) if one is not None]
        rows = torch.cat(by_class, dim=1).tolist() if by_class else [[]] * len(orders)
        keys = zip(self.replicates, map(bytes, orders), map(tuple, rows), strict=True)
        numbers: dict[object, int] = {}
        return [numbers.setdefault(key, len(numbers)) for key in keys]

    def _to_device(self, numbers: np.ndarray) -> Tensor:
        return torch.from_numpy(numbers).to(self._device, non_blocking=True)

    def _drawn(
        self, stream: str, epoch: int, replicates: Sequence[int], index: np.ndarray, width: int
    ) -> Tensor:
        """A stream's draws for samples at `index`, (R, n): (R, n, width).

        A sample that comes again in an epoch has other draws, from a stream of its occurrence.
        """
        tables: dict[tuple[int, int], np.ndarray] = {}
        drawn = np.empty((*index.shape, width), dtype=np.float32)
        for row, (replicate, own) in enumerate(zip(replicates, index, strict=True)):
            occurrence = occurrences(own)
            for turn in range(int(occurrence.max()) + 1):
                if (replicate, turn) not in tables:
                    name = stream if turn == 0 else f"{stream}, occurrence {turn + 1}"
                    tables[replicate, turn] = streams.uniform(
                        self.fingerprint,
                        replicate,
                        name,
                        epoch=epoch,
                        samples=self._samples,
                        width=width,
                    )
                here = occurrence == turn
                drawn[row, here] = tables[replicate, turn][own[here]]
        return self._to_device(drawn)

    def _prepare(self, turn: int, number: int) -> list[Batch]:
        """The batches of a chunk of epoch `turn`."""
        epoch = self._order(turn)
        steps, own = self._steps(number), self._span(number)
        size = self.sizes[steps[0]]
        labels = epoch.labels[:, own]
        raw = self.pool.raw("train", epoch.index[:, own])
        if number < self._chunks[-1][0]:
            self.pool.expect(epoch.index[:, self._span(number + 1)])
        x = epoch.of_members(self._transformed(raw, epoch, own))
        draws = epoch.of_members(epoch.draws[:, own])
        x, targets, of_samples = self._mixed(x, labels, draws, size)
        x = self.enter(x)
        before = turn * self.epoch_steps + steps[0]
        views = self._views(epoch, own, size) if before < self.recipe.views_until else None
        cut = [slice(i * size, (i + 1) * size) for i in range(len(steps))]
        inputs = [self.cut(x, part) for part in cut]
        if views and self.recipe.sees_view:
            inputs = [self.cut(seen[0], slice(size)) for seen in views]
        return [
            Batch(
                inputs[i],
                targets[:, part],
                labels[:, part],
                {name: values[:, part] for name, values in of_samples.items()},
                views[i] if views else None,
                epoch.keys[:, own][:, part] if self.recipe.masked else None,
            )
            for i, part in enumerate(cut)
        ]

    def _steps(self, number: int) -> list[int]:
        """The batches of a chunk."""
        return [batch for batch, (chunk, _) in enumerate(self._chunks) if chunk == number]

    def _span(self, number: int) -> slice:
        """The samples of a chunk, in the order of an epoch."""
        steps = self._steps(number)
        first = sum(self.sizes[: steps[0]])
        return slice(first, first + sum(self.sizes[step] for step in steps))

    def enter(self, x: Tensor) -> Tensor:
        """Normalises samples (K, S, ...) and converts them to the form's layout."""
        return self.converted(self.pool.normalise(x))

    def converted(self, x: Tensor) -> Tensor:
        """Normalised samples (K, S, ...) in the form's layout."""
        return self.form.images(x.transpose(0, 1)) if x.dim() == 5 else x

    def _entrance(self, epoch: Epoch) -> Entrance:
        pool = self.pool
        return Entrance(
            lambda raw: pool.normalise(pool.encode(raw)),
            lambda x: self.converted(epoch.of_members(x)),
        )

    def _entered(self, view: Tensor) -> bool:
        """Whether a view has the samples of all members, in the form's layout or as rows."""
        return view.dim() == 4 or len(view) == len(self.replicates)

    @staticmethod
    def cut(x: Tensor, part: slice) -> Tensor:
        """Takes samples from the form's layout: images (S, ...), tables (K, S, F)."""
        return x[part] if x.dim() == 4 else x[:, part]

    def _transformed(self, x: Tensor, epoch: Epoch, own: slice) -> Tensor:
        """Encoded samples of a part of the epoch, each transformed by itself."""
        policy, chances, u = self.recipe.policy, self.recipe.chances, epoch.draws[:, own]
        if not policy.transforms:
            return self.pool.encode(x)
        first, strengths = epoch.first, self.recipe.strengths
        labels = epoch.labels[first, own]
        factor = None if strengths is None else strengths[first].gather(1, labels)
        if epoch.table is None:
            flat = None if factor is None else factor.flatten()
            changed = policy.apply(x.flatten(0, 1), u.flatten(0, 1), factor=flat).view_as(x)
        else:
            changed = policy.apply(x, u, epoch.table, factor=factor)
        if chances is not None:
            happens = epoch.chance[:, own, 0] < chances[first].gather(1, labels)
            changed = torch.where(happens.view(*happens.shape, *[1] * (x.dim() - 2)), changed, x)
        return self.pool.encode(changed)

    def _mixed(
        self, x: Tensor, labels: Tensor, draws: Tensor, size: int
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """A chunk's samples, targets and step's numbers, mixed within batches."""
        recipe = self.recipe
        numbers = {name: of.gather(1, labels) for name, of in recipe.of_classes.items()}
        eps = recipe.smoothing
        targets = labels if eps is None else smooth_targets(labels, eps, recipe.shares)
        if not recipe.policy.mixers:
            return x, targets, numbers

        def batched(values: Tensor) -> Tensor:
            return values.unflatten(1, (-1, size)).flatten(0, 1)

        shape = labels.shape
        sizes = recipe.sizes.gather(1, labels)
        mixed, targets, mixing = recipe.policy.mix(
            batched(x), batched(targets), batched(draws), batched(sizes)
        )
        if mixing is not None:
            numbers = {n: mixing.blend(batched(v)).reshape(shape) for n, v in numbers.items()}
        return mixed.reshape(x.shape), targets.reshape(*shape, -1), numbers

    def _views(self, epoch: Epoch, own: slice, size: int) -> list[tuple[Tensor, ...]] | None:
        """The SSL objective's views for each batch, starting at its first sample in the order.

        With a multiple m the views cover m batches and wrap around the end of the epoch. Each
        further appearance of a sample has its own draws.
        """
        ssl, multiple = self.recipe.ssl, self.recipe.multiple
        if ssl is None:
            return None
        starts = torch.arange(own.start, own.stop, size, device=self._device)
        offsets = torch.arange(multiple * size, device=self._device)
        places = ((starts[:, None] + offsets) % epoch.index.shape[1]).flatten()
        turn = (offsets // size).repeat(len(starts))
        x = self.pool.raw("train", epoch.index[:, places])
        one, two = (view.unflatten(2, (multiple, -1))[:, places, turn] for view in epoch.views)
        rows = None if epoch.table is None else epoch.table.rows
        views = ssl.views(x, (one, two), rows=rows, entrance=self._entrance(epoch))
        # What did not pass the entrance, such as what is to be predicted, has a row for each of R.
        views = tuple(v if self._entered(v) else epoch.of_members(v) for v in views)
        parts = [slice(i * len(offsets), (i + 1) * len(offsets)) for i in range(len(starts))]
        return [tuple(self.cut(view, part) for view in views) for part in parts]


def occurrences(index: np.ndarray) -> np.ndarray:
    """How often each entry has come before, in an array of whole numbers: (n,)."""
    order = np.argsort(index, kind="stable")
    ranked = index[order]
    first = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    lengths = np.diff(np.r_[first, len(index)])
    before = np.empty(len(index), dtype=np.int64)
    before[order] = np.arange(len(index)) - np.repeat(first, lengths)
    return before
