"""Computes the metrics of a split: for each class, for groups of classes, and overall.

Letters: K members, N samples, C classes, L numbers of a split.

A class without samples in a split has NaN as recall, loss and calibration error there, and means
over classes leave it out. A class that is never predicted has precision 0. A member with a logit
that is not finite has no metrics.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from trainers.catalogue import get
from trainers.config import OBJECTIVES
from trainers.groups import CLASS_METRICS, GROUP_METRICS, GROUPS, MEASURED_SPLITS, class_groups

if TYPE_CHECKING:
    from torch import Tensor

METRICS = OBJECTIVES
BINS = 15
COUNTED_TOGETHER = 1 << 22  # logits, of all members: many samples cost little more than one


def layout(
    classes: Sequence[str],
    splits: Collection[str] = MEASURED_SPLITS,
    observe: Sequence[str] = (),
) -> list[tuple[str, str, str]]:
    """The (split, metric, target) of each number of an evaluation, in order.

    Targets are `class:NAME`, `group:NAME`, and "" for overall. Each split has the same L; what the
    observers measure follows. A data set without validation has no split "val".
    """
    targets = [*(f"class:{name}" for name in classes), *(f"group:{group}" for group in GROUPS), ""]
    observed = [pair for name in observe for pair in get("observer", name).observed()]
    names = [(metric, f"class:{name}") for name in classes for metric in CLASS_METRICS]
    names += [(metric, f"group:{group}") for group in GROUPS for metric in GROUP_METRICS]
    names += [(metric, "") for metric in METRICS]
    return [
        *((split, metric, target) for split in splits for metric, target in names),
        *((split, metric, target) for split, metric in observed for target in targets),
    ]


def measure(logits: Tensor, labels: Tensor, train_counts: Sequence[int]) -> Tensor:
    """A split's numbers, as `Counted.numbers`, from logits (K, N, C) and labels (N,) or (K, N)."""
    counted = Counted()
    counted.add(logits, labels)
    return counted.numbers(train_counts)


class Counted:
    """Counts the samples of a split as they come, and computes its numbers.

    It keeps sums from which all metrics follow, (K, C) or (K, C, bins) float64, and a few samples
    that wait to be counted together. Float64 hides the order of a GPU's atomic additions once
    results are rounded to float32.

    The loss is plain cross-entropy, whatever the training loss. The calibration error has 15 bins
    of equal width, over the samples of the class or group. A group's loss is the mean over its
    samples, its accuracy the mean recall of its classes.
    """

    def __init__(self, *, finite_only: bool = False) -> None:
        """Args: finite_only: only `sound` will be asked."""
        self.samples, self._finite_only = 0, finite_only
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._numbers = 0
        self._sums: _Sums | None = None

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Adds samples.

        Args:
            logits: (K, N, C), of any float type.
            labels: (N,) or, if members see different samples, (K, N).
        """
        self._waiting.append((logits, labels))
        self.samples += logits.shape[1]
        self._numbers += logits.numel()
        if self._numbers >= COUNTED_TOGETHER:
            self._count()

    def _count(self) -> None:
        import torch

        logits = torch.cat([one for one, _ in self._waiting], dim=1)
        labels = torch.cat([one for _, one in self._waiting], dim=-1)
        self._sums = self._sums or _Sums(logits)
        self._sums.look(logits)
        if not self._finite_only:
            self._sums.add(logits, labels.expand(*logits.shape[:2]))
        self._waiting, self._numbers = [], 0

    @property
    def sound(self) -> Tensor:
        """Whether all logits of a member are finite: (K,) bool."""
        return self._all().sound

    def _all(self) -> _Sums:
        if self._waiting:
            self._count()
        assert self._sums is not None  # noqa: S101  a split has samples
        return self._sums

    def numbers(self, train_counts: Sequence[int]) -> Tensor:
        """The split's numbers in the order of `layout`: (K, L) float32, on the logits' device.

        Args:
            train_counts: (C,), samples of each class in the training subset, which define the
                groups.
        """
        import torch

        sums = self._all()
        by_class = sums.by_class()
        by_group = sums.by_group(_membership(train_counts).to(by_class.device))
        accuracy, loss, calibration_error = by_group.unbind(2)
        named = dict(zip(GROUPS, accuracy.unbind(1), strict=False))
        numbers = {
            "accuracy": sums.correct.sum(1) / self.samples,
            "balanced_accuracy": accuracy[:, -1],
            "minority_accuracy": named["minority"],
            "majority_accuracy": named["majority"],
            "macro_f1": sums.f1.nanmean(dim=1),
            "worst_class_accuracy": _smallest(sums.recall),
            "loss": loss[:, -1],
            "calibration_error": calibration_error[:, -1],
        }
        last = torch.stack([numbers[metric] for metric in METRICS], dim=1)
        result = torch.cat([by_class.flatten(1), by_group[:, :-1].flatten(1), last], dim=1)
        return result.where(sums.sound[:, None], float("nan")).float()


def hits(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether the largest of the logits (K, N, C) is the label's (N,): (K, N), as in `measure`.

    Both use the softmax, whose rounding decides between logits that are almost equal.
    """
    import torch

    return torch.log_softmax(logits.float(), dim=2).max(dim=2).indices == labels


def _membership(train_counts: Sequence[int]) -> Tensor:
    """(groups + 1, C) of 0 and 1: the classes of each group; the last row holds all."""
    import torch

    groups = class_groups([int(count) for count in train_counts])
    rows = torch.zeros(len(GROUPS) + 1, len(train_counts), dtype=torch.float64)
    for row, group in enumerate(GROUPS):
        rows[row, list(groups[group])] = 1.0
    rows[-1] = 1.0
    return rows


class _Sums:
    """Sums over a split's samples so far, each (K, C) or (K, C, bins) float64."""

    def __init__(self, logits: Tensor) -> None:
        import torch

        members, _, classes = logits.shape
        self.support, self.correct, self.loss, self.predicted = torch.zeros(
            4, members, classes, dtype=torch.float64, device=logits.device
        )
        # Mean confidence minus accuracy of a bin, times its samples.
        self.gap = self.support.new_zeros(members, classes, BINS)
        self.sound = torch.ones(members, dtype=torch.bool, device=logits.device)

    def look(self, logits: Tensor) -> None:
        self.sound &= logits.isfinite().flatten(1).all(dim=1)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        import torch

        log_p = torch.log_softmax(logits.float(), dim=2)
        top, predicted = log_p.max(dim=2)
        confidence = top.double().exp()
        hit = (predicted == labels).double()
        loss = -log_p.gather(2, labels[:, :, None]).squeeze(2).double()
        bins = (confidence * BINS).ceil().long().sub(1).clamp(0, BINS - 1)
        self.support.scatter_add_(1, labels, torch.ones_like(hit))
        self.correct.scatter_add_(1, labels, hit)
        self.loss.scatter_add_(1, labels, loss)
        self.predicted.scatter_add_(1, predicted, torch.ones_like(hit))
        self.gap.flatten(1).scatter_add_(1, labels * BINS + bins, confidence - hit)

    @property
    def recall(self) -> Tensor:
        return self.correct / self.support

    @property
    def precision(self) -> Tensor:
        return self.correct / self.predicted.clamp(min=1)

    @property
    def f1(self) -> Tensor:
        """NaN for a class without samples."""
        f1 = 2 * self.correct / (self.support + self.predicted)
        return f1.where(self.support > 0, float("nan"))

    def by_class(self) -> Tensor:
        """(K, C, metrics of a class)."""
        import torch

        columns = {
            "recall": self.recall,
            "precision": self.precision,
            "support": self.support,
            "loss": self.loss / self.support,
            "calibration_error": self.gap.abs().sum(2) / self.support,
        }
        return torch.stack([columns[metric] for metric in CLASS_METRICS], dim=2)

    def by_group(self, membership: Tensor) -> Tensor:
        """(K, G, metrics of a group), NaN if a group is empty or has no samples.

        Sums are computed class by class, not as matrix products, so that a member's numbers do not
        depend on the number of members.
        """
        import torch

        def total(values: Tensor) -> Tensor:
            return (values[:, None, :] * membership).sum(2)

        support = total(self.support)
        gap = (self.gap[:, None] * membership[:, :, None]).sum(2)
        columns = {
            "accuracy": total(self.recall.nan_to_num()) / total((self.support > 0).double()),
            "loss": total(self.loss) / support,
            "calibration_error": gap.abs().sum(2) / support,
        }
        return torch.stack([columns[metric] for metric in GROUP_METRICS], dim=2)


def _smallest(values: Tensor) -> Tensor:
    """The smallest over classes with a number: (K, C) -> (K,); NaN if no class has one."""
    least = values.nan_to_num(nan=float("inf")).amin(dim=1)
    return least.where(least.isfinite(), float("nan"))
