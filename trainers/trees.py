"""Trains gradient-boosted trees (LightGBM), a control for the networks: same data, same metrics.

A round of a run adds its share of the trees, so progress, pruning and evaluations are those of a
network with the same budget of epochs or steps. An update is a tree of each class. Trees have no
form that fuses runs: the runs of a pack are trained one after the other, each on one thread.

Letters: N samples, F numbers and G codes of a row, C classes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import lightgbm
import numpy as np
import torch
from torch import Tensor

from trainers.check import check
from trainers.data.dataset import Dataset
from trainers.data.imbalance import sizes_by_label, subset_of
from trainers.loop import Member, RoundResult
from trainers.losses.logit_adjusted import log_prior
from trainers.losses.weights import class_weights
from trainers.metrics import hits, measure
from trainers.rounds import timetable
from trainers.streams import generator


class Forest:
    """The trees of one run, and the rows that they grow on."""

    def __init__(self, dataset: Dataset, member: Member, counts: Sequence[int]) -> None:
        subset = subset_of(
            dataset.y["train"],
            counts,
            member.config.data.imbalance,
            fingerprint=dataset.fingerprint,
            replicate=member.replicate,
        )
        self.counts = counts = sizes_by_label(
            counts,
            member.config.data.imbalance,
            fingerprint=dataset.fingerprint,
            replicate=member.replicate,
        )
        self.x, self.y = rows_of(dataset, "train")[subset], dataset.y["train"][subset]
        weights = class_weights(member.config.train.class_weights, counts).numpy()
        seed = generator(dataset.fingerprint, member.replicate, "trees").integers(2**31 - 1)
        self._tau = member.config.train.post_hoc_tau
        self._prior = log_prior(torch.tensor([counts]), torch.zeros(1, dtype=torch.float64))
        self._settings = settings(member.config.train.parameters("lightgbm"), len(counts))
        self._settings["seed"] = int(seed)
        columns = dataset.x["train"].shape[1]
        self._rows = lightgbm.Dataset(
            self.x,
            self.y,
            weight=weights[self.y],
            categorical_feature=list(range(columns, self.x.shape[1])),
            params=self._settings,
            free_raw_data=False,
        )
        self.start()

    def start(self) -> None:
        """Begins again, without trees."""
        self._booster, self.trees = lightgbm.Booster(self._settings, self._rows), 0

    def grow(self, trees: int) -> None:
        """Adds trees until there are so many of each class."""
        while self.trees < trees:
            self._booster.update()
            self.trees += 1

    def logits(self, x: np.ndarray, *, adjusted: bool = True) -> Tensor:
        """Logits (1, N, C) of rows; post-hoc logit adjustment only where `adjusted`."""
        raw = np.zeros((len(x), self._prior.shape[-1]))
        if self.trees:
            raw = np.asarray(self._booster.predict(x, raw_score=True))
        found = torch.from_numpy(raw)[None]
        return found - self._tau * self._prior if adjusted else found


def settings(keys: Any, classes: int) -> dict[str, Any]:
    """LightGBM's settings: a softmax over trees of each class, repeatable to the bit."""
    return {
        "objective": "multiclass",
        "num_class": classes,
        "learning_rate": keys.learning_rate,
        "num_leaves": keys.leaves,
        "min_data_in_leaf": keys.min_leaf,
        "lambda_l2": keys.l2,
        "feature_fraction": keys.feature_share,
        "bagging_fraction": keys.sample_share,
        "bagging_freq": 1 if keys.sample_share < 1.0 else 0,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }


def rows_of(dataset: Dataset, split: str) -> np.ndarray:
    """A split's numbers and codes, (N, F + G) float64."""
    assert dataset.codes is not None  # noqa: S101  a table, as `check` makes sure
    return np.concatenate([dataset.x[split], dataset.codes[split]], axis=1, dtype=np.float64)


class TreesTrainer:
    """Trains runs of trees; has the methods of `trainers.loop.PackTrainer`.

    A run has no checkpoint: one that is interrupted begins again, and ends with the same trees.

    Raises:
        ConfigError: a configuration cannot run on these data.
    """

    def __init__(
        self,
        dataset: Dataset,
        members: Sequence[Member],
        *,
        device: str = "cpu",
        form: str = "",
    ) -> None:
        del device, form
        config = members[0].config
        self.members, self.alive = tuple(members), list(range(len(members)))
        self.counts = check(config, dataset.facts)
        plain = timetable(config, dataset.facts, samples=sum(self.counts))
        trees = config.train.parameters("lightgbm").trees
        ends = tuple(trees * round // plain.rounds for round in plain.points)
        self.timetable = replace(plain, ends=ends)
        self.round = self.step = 0
        self._judged = {split: rows_of(dataset, split) for split in dataset.y if split != "train"}
        self._y = {split: torch.from_numpy(dataset.y[split]) for split in self._judged}
        self._forests = [Forest(dataset, member, self.counts) for member in members]

    @property
    def rounds(self) -> int:
        """The rounds of the whole run."""
        return self.timetable.rounds

    @property
    def steps(self) -> int:
        """The trees of each class at the end of the run."""
        return self.timetable.steps

    def train_round(self) -> list[RoundResult]:
        """Trains one round and returns a result for each member alive, in order."""
        self.round += 1
        self.step = self.timetable.end(self.round)
        return [self._train(member) for member in self.alive]

    def _train(self, member: int) -> RoundResult:
        forest = self._forests[member]
        forest.grow(self.step)
        if not self.timetable.evaluation(self.round):
            return RoundResult(member, self.round, self.step, None, finite=True)
        judged = {split: forest.logits(x) for split, x in self._judged.items()}
        logits = {"train": forest.logits(forest.x, adjusted=False), **judged}
        truths = {"train": torch.from_numpy(forest.y), **self._y}
        numbers = torch.cat(
            [measure(z, truths[s], forest.counts) for s, z in logits.items()], dim=1
        )
        finite = all(bool(z.isfinite().all()) for z in logits.values())
        bits = None
        if self.round == self.rounds and finite:
            right = hits(logits["test"], truths["test"])[0].numpy()
            bits = np.packbits(right, bitorder="little").tobytes()
        return RoundResult(member, self.round, self.step, numbers[0].numpy(), finite, bits)

    def drop(self, member: int) -> None:
        """Removes a member, by its original position; the others continue."""
        if self.alive == [member]:
            raise ValueError("a pack cannot go on without members")
        self.alive = [one for one in self.alive if one != member]

    def state(self) -> None:
        """None: there is nothing that a checkpoint could continue from."""

    def load_state(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Refuses a checkpoint, which is none of these runs'."""
        raise ValueError("trees have no checkpoint")

    def time_steps(self, steps: int) -> tuple[float, float]:
        """Seconds of an update, measured over `steps` updates, and of its share of evaluations.

        Afterwards every run begins again.
        """
        update_s = evaluation_s = 0.0
        for member in self.alive:
            forest = self._forests[member]
            began = time.thread_time()
            forest.start()
            forest.grow(steps)
            grown = time.thread_time()
            for x in (forest.x, *self._judged.values()):
                forest.logits(x)
            update_s += (grown - began) / steps
            evaluation_s += (time.thread_time() - grown) / steps  # of one tree
            forest.start()
        # An evaluation sees half of the trees on average.
        return update_s, evaluation_s * len(self.timetable.points) / 2
