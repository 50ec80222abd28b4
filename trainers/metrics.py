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
    """A split's numbers in the order of `layout`: (K, L) float32, on the logits' device.

    Args:
        logits: (K, N, C), of any float type.
        labels: (N,) or, if members see different samples, (K, N).
        train_counts: (C,), samples of each class in the training subset, which define the groups.

    The loss is plain cross-entropy, whatever the training loss. The calibration error has 15 bins
    of equal width, over the samples of the class or group. A group's loss is the mean over its
    samples, its accuracy the mean recall of its classes.
    """
    import torch

    members, samples, _ = logits.shape
    counted = _Counted(logits, labels.expand(members, samples))
    by_class = counted.by_class()
    by_group = counted.by_group(_membership(train_counts).to(logits.device))
    accuracy, loss, calibration_error = by_group.unbind(2)
    named = dict(zip(GROUPS, accuracy.unbind(1), strict=False))
    numbers = {
        "accuracy": counted.correct.sum(1) / samples,
        "balanced_accuracy": accuracy[:, -1],
        "minority_accuracy": named["minority"],
        "majority_accuracy": named["majority"],
        "macro_f1": counted.f1.nanmean(dim=1),
        "worst_class_accuracy": _smallest(counted.recall),
        "loss": loss[:, -1],
        "calibration_error": calibration_error[:, -1],
    }
    last = torch.stack([numbers[metric] for metric in METRICS], dim=1)
    result = torch.cat([by_class.flatten(1), by_group[:, :-1].flatten(1), last], dim=1)
    sound = logits.isfinite().flatten(1).all(dim=1, keepdim=True)
    return result.where(sound, float("nan")).float()


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


class _Counted:
    """Sums over a split from which all metrics follow, each (K, C) or (K, C, bins) float64.

    Float64 hides the order of a GPU's atomic additions once results are rounded to float32.
    """

    def __init__(self, logits: Tensor, labels: Tensor) -> None:
        import torch

        log_p = torch.log_softmax(logits.float(), dim=2)
        top, predicted = log_p.max(dim=2)
        confidence = top.double().exp()
        hit = (predicted == labels).double()
        loss = -log_p.gather(2, labels[:, :, None]).squeeze(2).double()
        bins = (confidence * BINS).ceil().long().sub(1).clamp(0, BINS - 1)
        classes = logits.shape[2]
        self.support = _sums(labels, torch.ones_like(hit), classes)
        self.correct = _sums(labels, hit, classes)
        self.loss = _sums(labels, loss, classes)
        self.predicted = _sums(predicted, torch.ones_like(hit), classes)
        # Mean confidence minus accuracy of a bin, times its samples.
        gap = _sums(labels * BINS + bins, confidence - hit, classes * BINS)
        self.gap = gap.unflatten(1, (classes, BINS))
        self.recall = self.correct / self.support
        self.precision = self.correct / self.predicted.clamp(min=1)
        f1 = 2 * self.correct / (self.support + self.predicted)
        self.f1 = f1.where(self.support > 0, float("nan"))

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


def _sums(index: Tensor, values: Tensor, size: int) -> Tensor:
    """Sums values (K, N) over equal indices (K, N): (K, size)."""
    return values.new_zeros(len(values), size).scatter_add_(1, index, values)


def _smallest(values: Tensor) -> Tensor:
    """The smallest over classes with a number: (K, C) -> (K,); NaN if no class has one."""
    least = values.nan_to_num(nan=float("inf")).amin(dim=1)
    return least.where(least.isfinite(), float("nan"))
