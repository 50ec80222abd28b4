"""ASAM, ImbSAM, Focal-SAM, the weighted pass and class-normalised gradients, by hand in float64.

The network is ordinary PyTorch and its gradients are lists of tensors: no code of the steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from plain_networks import PlainMLP, difference, load_blocks
from small_packs import config, pack, parameters_of, table, train_steps
from torch import Tensor

from trainers.feed import Batch
from trainers.pack import LossTerms
from trainers.steps import Passes
from trainers.steps.accumulated import Accumulated
from trainers.steps.plain import Plain

COUNTS = torch.tensor([20.0, 8.0, 4.0], dtype=torch.float64)
RHO = 0.2
Grads = list[Tensor]


def trained(updates: int = 4, **train: Any) -> tuple[dict[str, Tensor], PlainMLP, list[Batch]]:
    """Parameters after some SGD steps, a plain copy from before them, and the batches."""
    settings = {"model": "mlp", "precision": "float64", "schedule": "constant", "lr": 0.05}
    settings |= {"momentum": 0.0, "weight_decay": 0.0, "norm_statistics": "running"}
    trainer = pack(table(), config(ratio=0.2, **settings | train))
    assert trainer.counts == tuple(COUNTS.int().tolist())
    plain = PlainMLP(4 + 3 + 4, 32, depth=2, classes=3).double()
    load_blocks(plain, parameters_of(trainer, 0))
    batches = train_steps(trainer, updates)
    return parameters_of(trainer, 0), plain, batches


def losses(plain: PlainMLP, batch: Batch) -> Tensor:
    return F.cross_entropy(plain(batch.x[0]), batch.labels[0], reduction="none")


def gradient(plain: torch.nn.Module, loss: Tensor) -> Grads:
    return list(torch.autograd.grad(loss, list(plain.parameters())))


def length(grads: Grads) -> float:
    return float(torch.sqrt(sum(((g**2).sum() for g in grads), torch.tensor(0.0))))


def moved(plain: torch.nn.Module, by: Grads) -> None:
    with torch.no_grad():
        for parameter, change in zip(plain.parameters(), by, strict=True):
            parameter += change


def by_hand(plain: torch.nn.Module, batches: list[Batch], rule: Callable[[Batch], Grads]) -> None:
    """SGD at a constant rate with the gradients of a rule."""
    for batch in batches:
        moved(plain, [-0.05 * g for g in rule(batch)])


def test_asam_measures_the_radius_in_the_size_of_each_weight() -> None:
    """eps = rho T^2 g / |T g|, T = |w| + 0.01 for matrices and 1 elsewhere (Kwon et al. 2021)."""
    got, plain, batches = trained(sam={"radius": RHO, "method": "asam"})

    def rule(batch: Batch) -> Grads:
        g = gradient(plain, losses(plain, batch).mean())
        t = [
            p.detach().abs() + 0.01 if p.dim() > 1 else torch.ones_like(p)
            for p in plain.parameters()
        ]
        norm = length([a * b for a, b in zip(t, g, strict=True)])
        eps = [RHO * a * a * b / norm for a, b in zip(t, g, strict=True)]
        moved(plain, eps)
        there = gradient(plain, losses(plain, batch).mean())
        moved(plain, [-e for e in eps])
        return there

    by_hand(plain, batches, rule)
    assert difference(plain, got) < 1e-11


@pytest.mark.parametrize(
    ("train", "shares"),
    [
        ({"sam": {"method": "imbsam"}, "imbsam": {"tail": 8}}, (0.0, 0.0, 1.0)),
        ({"sam": {"method": "imbsam"}, "imbsam": {"tail": 1}}, (0.0, 0.0, 0.0)),
        (
            {"sam": {"method": "focal_sam"}, "focal_sam": {"share": 0.8, "gamma": 2.0}},
            tuple(0.8 * (1 - n / 32) ** 2 for n in (20, 8, 4)),
        ),
    ],
    ids=["imbsam", "imbsam without a tail", "focal_sam"],
)
def test_a_part_of_the_loss_is_made_flat(train: dict[str, Any], shares: Any) -> None:
    """The gradient of sum (1 - b) l here and of sum b l at w + rho g_b / |g_b|, over B."""
    got, plain, batches = trained(**train | {"sam": train["sam"] | {"radius": RHO}})
    b_of = torch.tensor(shares, dtype=torch.float64)

    def rule(batch: Batch) -> Grads:
        b = b_of[batch.labels[0]]
        here = gradient(plain, ((1 - b) * losses(plain, batch)).mean())
        uphill = gradient(plain, (b * losses(plain, batch)).mean())
        norm = length(uphill)
        eps = [RHO * g / norm if norm else g for g in uphill]
        moved(plain, eps)
        there = gradient(plain, (b * losses(plain, batch)).mean())
        moved(plain, [-e for e in eps])
        return [one + other for one, other in zip(here, there, strict=True)]

    by_hand(plain, batches, rule)
    assert difference(plain, got) < 1e-9


def test_cc_sam_moves_the_last_layer_for_each_class() -> None:
    """eps_c = rho (|w| / |g_c|)^1/2 (n_c - 1)^-1/4 g_c / |g_c| for weight and bias apart.

    As in the authors' code: a loop over the classes, each with its own moved classifier; features
    stay. The mean is 0.7 of the losses here and 0.3 of those of each sample's own class there.
    """
    got, plain, batches = trained(sam={"radius": RHO, "method": "cc_sam"}, cc_sam={"share": 0.3})
    body = torch.nn.Sequential()
    network: Any = plain
    head, network.head = plain.head, body

    def rule(batch: Batch) -> Grads:
        y = batch.labels[0]
        features = plain(batch.x[0])
        there: list[Tensor] = []
        for label in y.unique():
            own = y == label
            each = F.cross_entropy(head(features[own]), y[own])
            moved_head = []
            for w, g in zip(
                (head.weight, head.bias),
                torch.autograd.grad(each, [head.weight, head.bias], retain_graph=True),
                strict=True,
            ):
                root = (w.detach().norm() / g.norm()).sqrt() / (COUNTS[label] - 1) ** 0.25
                moved_head.append(w + RHO * root * g / g.norm())
            logits = F.linear(features[own], *moved_head)
            there.append(F.cross_entropy(logits, y[own], reduction="sum"))
        here = F.cross_entropy(head(features), y)
        loss = 0.7 * here + 0.3 * torch.stack(there).sum() / len(y)
        return gradient(whole, loss)

    whole = torch.nn.ModuleList([plain, head])
    by_hand(whole, batches, rule)
    plain.head = head
    assert difference(plain, got) < 1e-9


@pytest.mark.parametrize("weighted", ["ascent", "descent", "both"])
def test_the_weights_can_be_in_either_pass(weighted: str) -> None:
    """a_c = n_max / n_c in the mean of the named pass, normalised over the batch."""
    sam = {"radius": RHO, "asymmetry": 1.0, "weighted": weighted}
    got, plain, batches = trained(sam=sam)
    a_of = COUNTS.max() / COUNTS

    def rule(batch: Batch) -> Grads:
        a = a_of[batch.labels[0]]

        def mean(here: bool) -> Tensor:
            each = losses(plain, batch)
            return (a * each).sum() / a.sum() if here else each.mean()

        uphill = gradient(plain, mean(weighted != "descent"))
        norm = length(uphill)
        moved(plain, [RHO * g / norm for g in uphill])
        there = gradient(plain, mean(weighted != "ascent"))
        moved(plain, [-RHO * g / norm for g in uphill])
        return there

    by_hand(plain, batches, rule)
    assert difference(plain, got) < 1e-9


def test_class_normalised_gradients_have_length_one_for_each_class() -> None:
    """The sum over the batch's classes of g_c / |g_c| (Francazi et al. 2023)."""
    got, plain, batches = trained(gradient="class_normalised")

    def rule(batch: Batch) -> Grads:
        total = [torch.zeros_like(p) for p in plain.parameters()]
        for label in sorted(set(batch.labels[0].tolist())):
            own = gradient(plain, losses(plain, batch)[batch.labels[0] == label].mean())
            norm = length(own)
            total = [t + g / norm for t, g in zip(total, own, strict=True)]
        return total

    by_hand(plain, batches, rule)
    assert difference(plain, got) < 1e-9


def test_accumulated_parts_are_normalised_apart() -> None:
    """The mean gradient of two halves, each through batch norm by itself."""
    got, plain, batches = trained(accumulation=2)

    def rule(batch: Batch) -> Grads:
        size = len(batch.labels[0])
        total = [torch.zeros_like(p) for p in plain.parameters()]
        for part in (slice(0, size // 2), slice(size // 2, size)):
            out = F.cross_entropy(plain(batch.x[0][part]), batch.labels[0][part])
            share = (part.stop - part.start) / size
            total = [t + share * g for t, g in zip(total, gradient(plain, out), strict=True)]
        return total

    by_hand(plain, batches, rule)
    assert difference(plain, got) < 1e-10


def test_a_small_last_batch_has_fewer_parts_of_the_usual_size() -> None:
    """44 rows make 5 batches of 8 and one of 4, whose parts have 2 rows too, not 1."""
    trainer = pack(table(), config(model="mlp", accumulation=4))
    sizes: list[int] = []

    class Counting(Plain):
        def gradient(self, passes: Passes, batch: Batch) -> tuple[Tensor, LossTerms]:
            sizes.append(batch.labels.shape[1])
            return super().gradient(passes, batch)

    assert isinstance(trainer.method, Accumulated)
    trainer.method.inner = Counting()
    train_steps(trainer, 6)
    assert sizes == [2] * 22
    assert trainer.pack.finite().all()


def test_class_weights_multiply_the_loss_from_their_start_on() -> None:
    """Deferred: half of the updates are plain, then each loss has the weight of its class."""
    settings = {"steps": 8, "class_weights": {"by": "inverse", "start": 0.5}}
    got, plain, batches = trained(8, **settings)
    w = 1 / COUNTS * COUNTS.sum() / 3
    for position, batch in enumerate(batches):
        weights = w[batch.labels[0]] if position >= 4 else torch.ones(len(batch.labels[0]))
        moved(plain, [-0.05 * g for g in gradient(plain, (weights * losses(plain, batch)).mean())])
    assert difference(plain, got) < 1e-10
