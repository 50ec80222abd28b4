"""Trains a pack: K runs at once, round by round, with evaluations after some rounds.

Letters: K members alive, N samples, C classes, L numbers of a round.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainers import catalogue, starting, state
from trainers.augment import Policy, parse
from trainers.averages import Averages
from trainers.batches import batch_sizes
from trainers.by_size import by_size
from trainers.check import check
from trainers.class_order import ClassOrder
from trainers.config import Config, pack_key
from trainers.data.dataset import Dataset
from trainers.data.imbalance import class_places, subset_of
from trainers.feed import Batch, Feed, Pool, Recipe
from trainers.forms import named
from trainers.gpu import settle
from trainers.hyper import Hyper
from trainers.losses.logit_adjusted import log_prior
from trainers.losses.smoothing import smoothed_shares, smoothing_by_class
from trainers.masks import DropRates
from trainers.metrics import Counted, hits, layout
from trainers.observers import Observed, Observers
from trainers.optimizers import BodyRate, Optimizer, pretraining_steps, schedule
from trainers.pack import LossTerms, PackedNetworks, PackLoss, design
from trainers.recording import recorded
from trainers.rounds import timetable
from trainers.samplers import Exposure, Sampler
from trainers.state import Kept, State
from trainers.steps import Passes
from trainers.steps.chosen import step_of

# Samples of a member that are normalised together for its statistics. Fixed, because the statistics
# depend slightly on it, and they must not depend on K, the training batch or the device.
STATISTICS_SAMPLES = 128
WARM_UP_STEPS = 1


@dataclass(frozen=True)
class Member:
    """A run of a pack."""

    config: Config
    replicate: int


@dataclass(frozen=True)
class RoundResult:
    """The result of one member in one round.

    Attributes:
        member: its position among the pack's original members.
        round: rounds finished, this one included.
        step: updates made so far.
        numbers: (L,) float32 in the order of `metrics.layout`; None if the round ends without an
            evaluation. The training split's numbers cover this round only.
        finite: False if a loss, a logit or a parameter is not finite: the run has diverged. Logits
            of the other splits are checked at evaluations only.
        correct: in the last round, one bit for each test example in the data set's order, 1 if the
            prediction is right, the first in the lowest bit; otherwise, or if not finite, None.
    """

    member: int
    round: int
    step: int
    numbers: np.ndarray | None
    finite: bool
    correct: bytes | None = None


class PackTrainer:
    """Trains runs that share a pack key; only `drop` removes a member.

    The same members give the same numbers, bit for bit at a fixed number of threads, on any worker
    and across `state` and `load_state`. Training metrics are running ones: computed on each
    training batch, augmented, before its update. The number of evaluations does not change the
    training.

    Attributes:
        timetable: the rounds, and which of them end with an evaluation.
        round: how many rounds are finished; `step` is the number of updates.
        alive: original positions of the members that still train.
        form: the name of the form that computes, see `trainers.forms`.

    Raises:
        ConfigError: a configuration cannot run on these data.
    """

    def __init__(
        self,
        dataset: Dataset,
        members: Sequence[Member],
        *,
        device: str = "cpu",
        form: str = "folded",
    ) -> None:
        if len({pack_key(m.config) for m in members}) != 1:
            raise ValueError("members of a pack must be there and share their pack key")
        self.members, self.form = tuple(members), form
        self.config = members[0].config
        self.counts = check(self.config, dataset.facts)
        self.fingerprint = dataset.fingerprint
        self.device = torch.device(device)
        if self.device.type == "cuda":
            settle(self.config.train.precision)
        self.timetable = timetable(self.config, dataset.facts, samples=sum(self.counts))
        self.round = self.step = 0
        self.alive = list(range(len(members)))
        self._design = design(
            self.config.train,
            inputs=dataset.inputs,
            classes=len(dataset.classes),
            form=named(form),
            device=self.device,
        )
        self.pool = Pool(dataset, device=self.device, dtype=self._design.precision.dtype)
        self._judged = [split for split in dataset.y if split != "train"]
        self._places = [
            class_places(
                len(dataset.classes),
                m.config.data.imbalance,
                fingerprint=self.fingerprint,
                replicate=m.replicate,
            )
            for m in members
        ]
        self._subsets = self._draw_subsets(dataset)
        replicates = [m.replicate for m in members]
        self.pack = PackedNetworks.fresh(self._design, replicates, fingerprint=self.fingerprint)
        if self.config.train.weights is not None:
            starting.load(self.pack, self.config.train.weights)
        self._assemble()

    def _draw_subsets(self, dataset: Dataset) -> list[np.ndarray]:
        pool, imbalance, mark = dataset.y["train"], self.config.data.imbalance, self.fingerprint
        return [
            subset_of(pool, self.counts, imbalance, fingerprint=mark, replicate=m.replicate)
            for m in self.members
        ]

    def places(self, member: int) -> np.ndarray:
        """The place of each class in a member's order of sizes, see `class_order`: (C,)."""
        return self._places[member]

    def _assemble(self) -> None:
        """Builds everything that depends on the members alive, around the pack's parameters."""
        members = [self.members[i] for i in self.alive]
        self._order = ClassOrder.of([self._places[i] for i in self.alive], self.device)
        hyper = Hyper([m.config.train for m in members], self.pack.parameters.data)
        train = hyper.first
        self._moving = train.norm_statistics == "running"
        self._shift: Tensor | None = None
        if hyper.any("post_hoc_tau"):
            counted = torch.tensor([self.counts], device=self.device)
            taus = hyper.tensor("post_hoc_tau")[:, None, None]
            self._shift = taus * log_prior(counted, hyper.like)
        self._clean = not self._moving and bool(self._design.blueprint.norms)
        make = catalogue.get("optimizer", train.optimizer).load()
        self._observers = Observers(train)
        self.optimizer: Optimizer = make(self.pack.parameters, hyper)
        first = pretraining_steps(train, self.steps)
        head = self._design.blueprint.head
        self._body = BodyRate(self.pack.parameters, hyper, start=first, head=head)
        self.objective = PackLoss(self.pack, hyper, self.counts)
        self.method = step_of(hyper, self.pack.parameters, self.counts)
        self._passes = Passes(self.pack, self.objective, moving=self._moving)
        recorder = self._design.form.recorder
        self._recorded = recorded(self._gradient, recorder, self.pack, self.objective)
        self.feed = Feed(
            self.pool,
            self._recipe(hyper),
            replicates=[m.replicate for m in members],
            subsets=[self._subsets[i] for i in self.alive],
            samplers=[self._sampler(i) for i in self.alive],
            fingerprint=self.fingerprint,
            form=self._design.form,
            order=self._order,
        )
        self.averages = Averages(
            self.pack, hyper, steps=self.steps, epoch_steps=self.feed.epoch_steps
        )

    def _sampler(self, member: int) -> Sampler:
        one = self.members[member]
        labels = self.pool.y["train"].cpu().numpy()
        draw = Exposure(
            self.fingerprint,
            one.replicate,
            self._subsets[member],
            self._places[member][labels],
            one.config.train,
            self.timetable.steps / len(batch_sizes(sum(self.counts), one.config.train.batch_size)),
        )
        return catalogue.get("sampler", one.config.train.sampler).load()(draw)

    def _recipe(self, hyper: Hyper) -> Recipe:
        train, data = hyper.first, self.pack.parameters.data
        joint = self._design.ssl is not None and train.ssl.joint
        sees_view = joint and train.ssl.supervised_view == "ssl"
        policy = Policy() if sees_view else parse(train)
        smooth = hyper.any("smoothing.minority") or hyper.any("smoothing.majority")
        rows = [smoothing_by_class(self.counts, t.smoothing) for t in hyper.trains]
        shares = smoothed_shares(self.counts, train.smoothing)
        return Recipe(
            train.batch_size,
            policy,
            torch.stack(rows).to(data) if smooth or policy.mixers else None,
            None if shares is None else shares.to(data),
            {**self.method.of_classes, **self.objective.of_classes},
            torch.tensor([self.counts] * len(rows)).to(data),
            self._by_class(hyper, "augmentation_chance"),
            self._by_class(hyper, "augmentation_strength"),
            self._design.ssl,
            train.ssl.batch_multiple,
            self.steps if train.ssl.joint else pretraining_steps(train, self.steps),
            sees_view,
            DropRates.of(hyper).any or self._design.blueprint.random,
        )

    def _by_class(self, hyper: Hyper, key: str) -> Tensor | None:
        """A share of each class, (K, C), from a key with `minority` and `majority`; None: all 1."""
        found = [hyper.values(f"{key}.{end}") for end in ("minority", "majority")]
        if {*found[0], *found[1]} == {1.0}:
            return None
        ends = zip(*found, strict=True)
        rows = [by_size(self.counts, minority=small, majority=large) for small, large in ends]
        return torch.stack(rows).to(self.pack.parameters.data)

    @property
    def _last(self) -> bool:
        """Whether the round that was trained last is the run's last."""
        return self.round == self.rounds

    @property
    def rounds(self) -> int:
        """The rounds of the whole run."""
        return self.timetable.rounds

    @property
    def steps(self) -> int:
        """The updates of the whole run."""
        return self.timetable.steps

    def train_round(self) -> list[RoundResult]:
        """Trains one round and returns a result for each member alive, in order."""
        evaluated = self.timetable.evaluation(self.round + 1) > 0
        seen, losses = Counted(finite_only=not evaluated), []
        for batch in self.feed.batches(self.step, self.timetable.end(self.round + 1)):
            terms, objective = self.update(batch)
            seen.add(terms.logits.detach(), batch.labels)
            losses.append(objective)
        self.round += 1
        sound = torch.stack(losses).isfinite().all(0) & self.pack.finite() & seen.sound
        if evaluated:
            return self._measured(seen, sound)
        fine = sound.tolist()
        return [
            RoundResult(member, self.round, self.step, None, fine[k])
            for k, member in enumerate(self.alive)
        ]

    def _measured(self, seen: Counted, sound: Tensor) -> list[RoundResult]:
        """Results, from what was seen of the training split and from an evaluation."""
        found, right = {"train": seen, **{split: Counted() for split in self._judged}}, []
        with self.evaluated():
            for split in self._judged:
                for logits, labels in self._judgements(split):
                    found[split].add(logits, labels)
                    if self._last and split == "test":
                        right.append(hits(logits, labels).float())
        for counted in found.values():
            sound = sound & counted.sound
        numbers = [counted.numbers(self.counts) for counted in found.values()]
        if self._observers:
            numbers.append(self._observe(end=self._last))
        if self._order is not None:
            names = layout([str(label) for label in range(len(self.counts))], list(found))
            numbers = [self._order.by_class(torch.cat(numbers, dim=1), names)]
        # One tensor, so that the CPU waits once for the GPU.
        return self._results(torch.cat([*numbers, *right], dim=1), sound)

    def _results(self, numbers: Tensor, sound: Tensor) -> list[RoundResult]:
        """Each member's result; in the last round, hits on the test split follow the numbers."""
        rows, fine = numbers.cpu().numpy(), sound.tolist()
        tests = len(self.pool.y["test"]) if self._last else 0
        rows, right = np.split(rows, [rows.shape[1] - tests], axis=1)
        bits = np.packbits(right > 0, axis=1, bitorder="little")
        return [
            RoundResult(
                member,
                self.round,
                self.step,
                rows[k],
                fine[k],
                bits[k].tobytes() if tests and fine[k] else None,
            )
            for k, member in enumerate(self.alive)
        ]

    def update(self, batch: Batch) -> tuple[LossTerms, Tensor]:
        """Makes an update; returns the terms of its first pass and the minimised objective (K,)."""
        share = schedule(
            self.config.train, self.step, steps=self.steps, epoch_steps=self.feed.epoch_steps
        )
        self.objective.at(self.step, self.steps)
        if self._recorded is None:
            grad, terms = self._gradient(batch)
        else:
            grad, terms = self._recorded(batch, kind=self.objective.kind)
        with self._body.applied(self.step):
            self.optimizer.update(grad, step=self.step, share=share)
        self.objective.after_update(self.pack)
        self.step += 1
        self.averages.after_update(self.step)
        return terms, terms.objective.detach()

    def _gradient(self, batch: Batch) -> tuple[Tensor, LossTerms]:
        """The gradient of an update; the SSL objective remembers what it compared."""
        widest = batch.views[0] if batch.views else batch.x
        with self._design.form.backend(widest, self.pack.members):
            grad, terms = self.method.gradient(self._passes, batch)
        self.objective.remember()
        return grad, terms

    def evaluate(self) -> dict[str, Tensor]:
        """Logits (K, N, C) of the test split and, if there is one, the validation split."""
        with self.evaluated():
            return {
                split: torch.cat([logits for logits, _ in self._judgements(split)], dim=1)
                for split in self._judged
            }

    def _judgements(self, split: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits (K, B, C) and labels (B,) or (K, B) of a split's samples, in order."""
        for labels, x in self.split_batches(split):
            logits = self.pack.evaluate(x)
            yield (
                logits if self._shift is None else logits - self._shift,
                labels if self._order is None else self._order.of_labels(labels),
            )

    def _observe(self, *, end: bool) -> Tensor:
        """What the observers measure now: (K, L); `end`: those as well that look only then."""
        with self.evaluated():
            return self._observers.numbers(self._observed(), end=end)

    def _observed(self) -> Observed:
        """What observers see of the pack."""
        subset, labels = self.feed.subset_index, self.pool.y
        within = {"train": subset}

        def samples(split: str, places: Tensor) -> Tensor:
            index = within[split].gather(1, places) if split in within else places
            return self.pool.normalise(self.pool.encode(self.pool.raw(split, index)))

        return Observed(
            self.pack,
            self.counts,
            {**labels, "train": labels["train"][subset]},
            samples,
            self.feed.converted,
            self.feed.replicates,
            self.fingerprint,
        )

    @contextmanager
    def evaluated(self) -> Iterator[None]:
        """A context in which the pack has the weights and statistics that are evaluated."""
        with self.averages.in_place(self.step):
            if self._clean:
                self.pack.clean_statistics(self._subset_batches())
            yield

    def _subset_batches(self) -> Iterator[tuple[int, Tensor]]:
        """Yields (samples, x) of each member's training subset, not augmented, in equal parts."""
        everything = self.feed.subset_index
        parts = math.ceil(everything.shape[1] / STATISTICS_SAMPLES)
        for index in everything.tensor_split(parts, dim=1):
            x = self.pool.encode(self.pool.raw("train", index))
            yield index.shape[1], self.feed.enter(x)

    def split_batches(self, split: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the labels (B,) and, for each member, the samples of a split, in order."""
        everything = torch.arange(len(self.pool.y[split]), device=self.device)
        for index in everything.split(self.pool.evaluation_size(len(self.alive))):
            x = self.pool.encode(self.pool.raw(split, index[None]))
            entered = self.feed.enter(x.expand(len(self.alive), *x.shape[1:]))
            yield self.pool.y[split][index], entered

    def drop(self, member: int) -> None:
        """Removes a member, by its original position; the others continue."""
        self._keep([m for m in self.alive if m != member])

    def _keep(self, members: Sequence[int]) -> None:
        keep = [self.alive.index(member) for member in members]
        if len(keep) == len(self.alive):
            return
        if not keep:
            raise ValueError("a pack cannot go on without members")
        kept = state.select(self._state, keep)
        self.pack = self.pack.blank(len(keep))
        self.alive = list(members)
        self._assemble()
        state.load(self._state, kept)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON from which `load_state` continues in a trainer of the same members."""
        meta = {"round": self.round, "step": self.step, "alive": list(self.alive)}
        return {name: tensor.clone() for name, tensor in state.tensors(self._state).items()}, meta

    def load_state(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Restores a state, whatever the trainer's current round.

        Raises:
            ValueError: the state is of another pack.
        """
        self._keep([m for m in self.alive if m in meta["alive"]])
        if list(meta["alive"]) != self.alive:
            raise ValueError("the state is not of a pack of these members")
        state.load(self._state, tensors)
        self.round, self.step = meta["round"], meta["step"]

    @property
    def _state(self) -> State:
        """Everything that changes in training."""
        layout = self.pack.parameters.layout
        buffers = {f"optimizer.{n}": Kept(b, layout) for n, b in self.optimizer.buffers.items()}
        memory = {f"ssl.{name}": kept for name, kept in self.objective.memory.items()}
        return {**self.pack.state, **buffers, **memory, **self.averages.state}

    def time_steps(self, steps: int) -> tuple[float, float]:
        """Seconds of an update, measured over `steps` updates, and of its share of evaluations.

        Afterwards parameters, statistics and step are as before.
        """
        kept, meta = self.state()
        self._seconds(lambda: self._try_steps(WARM_UP_STEPS))
        update_s = self._seconds(lambda: self._try_steps(steps)) / steps
        evaluations_s = self._evaluation_seconds() * len(self.timetable.points)
        evaluations_s += self._observation_seconds()
        self.load_state(kept, meta)
        return update_s, evaluations_s / self.steps

    def _try_steps(self, steps: int) -> None:
        for batch in self.feed.batches(self.step, self.step + steps):
            self.update(batch)

    def _evaluation_seconds(self) -> float:
        """Seconds of an evaluation, estimated from its first batch, because splits may be large."""
        _, x = next(self.split_batches(self._judged[0]))
        judged = x.shape[0] if x.dim() == 4 else x.shape[1]
        everything = sum(len(self.pool.y[split]) for split in self._judged)
        elapsed_s = self._seconds(lambda: self.pack.evaluate(x)) * everything / judged
        if not self._clean:
            return elapsed_s
        samples, x = next(self._subset_batches())
        clean_s = self._seconds(lambda: self.pack.clean_statistics([(samples, x)]))
        return elapsed_s + clean_s * sum(self.counts) / samples

    def _observation_seconds(self) -> float:
        """Seconds of all that the observers of a run do."""
        if not self._observers:
            return 0.0
        looks = len(self.timetable.points) - 1

        def observe(end: bool) -> float:
            return self._seconds(lambda: self._observe(end=end))

        return observe(True) + (looks * observe(False) if looks else 0.0)

    def _seconds(self, work: Callable[[], object]) -> float:
        # On a CPU with one thread, thread time excludes the time of other processes.
        alone = self.device.type == "cpu" and torch.get_num_threads() == 1
        clock = time.thread_time if alone else time.perf_counter
        self._wait()
        start = clock()
        work()
        self._wait()
        return clock() - start

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
