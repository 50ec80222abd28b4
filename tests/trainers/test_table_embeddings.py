"""Embeddings of a table's numbers, against the package of their authors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import rtdl_num_embeddings as authors
import torch
from small_packs import config, images, pack, parameters_of, same, table, train_steps
from torch import Tensor, nn

from trainers.check import check
from trainers.config import ConfigError
from trainers.data.shape import TableShape
from trainers.loop import PackTrainer
from trainers.models.embeddings import encoded, encoding_of

SMALL = {"size": 5, "frequencies": 3, "sigma": 0.7, "bins": 4}
KINDS = ("linear", "periodic", "piecewise_linear")


def trainer_of(kind: str, **more: Any) -> PackTrainer:
    embedding = SMALL | {"kind": kind}
    return pack(table(), config(model="mlp", numerical_embedding=embedding, **more))


def published(kind: str, bins: list[Tensor]) -> nn.Module:
    if kind == "linear":
        return authors.LinearReLUEmbeddings(4, 5)
    if kind == "periodic":
        return authors.PeriodicEmbeddings(
            4, 5, n_frequencies=3, frequency_init_scale=0.7, lite=False
        )
    return authors.PiecewiseLinearEmbeddings(bins, 5, activation=False, version="B")


OURS = {
    "linear.weight": "embedding.linear.weight",
    "linear.bias": "embedding.linear.bias",
    "linear0.weight": "embedding.linear.weight",
    "linear0.bias": "embedding.linear.bias",
    "periodic.weight": "embedding.frequencies",
}


def place_of(kind: str, name: str) -> str:
    """Where our network keeps the package's parameter of that name."""
    if kind == "piecewise_linear" and name == "linear.weight":
        return "embedding.bins.weight"
    return OURS[name]


@pytest.mark.parametrize("kind", KINDS)
def test_an_embedding_is_the_packages_own(kind: str) -> None:
    """Equal weights give equal vectors in float64, and the codes behind them are unchanged."""
    trainer = trainer_of(kind, precision="float64")
    train_steps(trainer, 3)  # so that no weight is 0
    pool = torch.from_numpy(table().x["train"]).double()
    module = published(kind, authors.compute_bins(pool, 4)).double()
    blocks = parameters_of(trainer, 0)
    own = dict(module.named_parameters())
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(blocks[place_of(kind, name)])
    rows = next(trainer.split_batches("test"))[1]
    network = trainer.pack.design.network
    found = network.entrance(trainer.pack._pass(False, None), rows)  # type: ignore[attr-defined]
    expected = module(rows[0, :, :4]).flatten(1)
    close = 1e-5 if kind == "piecewise_linear" else 1e-12  # the package's bins are float32
    assert torch.allclose(found[0, :, :20], expected, rtol=0, atol=close)
    assert torch.equal(found[0, :, 20:], rows[0, :, 4:])


@pytest.mark.filterwarnings("ignore:The 0-th feature has just two bin edges")
@pytest.mark.filterwarnings("ignore:.*row_stack")
def test_bins_of_few_values_are_the_packages_own() -> None:
    """Columns with fewer values than bins have fewer bins; a constant column has none."""
    source = np.random.default_rng(3)
    pool = np.stack([source.integers(0, n, 50) for n in (2, 3, 40)], axis=1).astype(np.float32)
    edges = TableShape.of(3, (), pool).edges(6)
    bins = authors.compute_bins(torch.from_numpy(pool).double(), 6)
    for own, theirs in zip(edges, bins, strict=True):
        assert np.unique(own).tolist() == pytest.approx(theirs.tolist(), rel=1e-6)  # float32 shares
    rows = torch.from_numpy(source.normal(1.0, 3.0, (1, 8, 3)))
    ours = encoded(rows, torch.from_numpy(encoding_of(edges)))
    counted = [np.unique(one).size - 1 for one in edges]
    flat = torch.cat([ours[0, :, column, :n] for column, n in enumerate(counted)], dim=1)
    theirs = authors.PiecewiseLinearEncoding(bins).double()(rows[0])
    assert torch.allclose(flat, theirs, rtol=0, atol=1e-5)
    constant = TableShape.of(1, (), np.ones((5, 1), dtype=np.float32)).edges(3)
    assert not encoded(rows[..., :1], torch.from_numpy(encoding_of(constant))).any()


def test_piecewise_linear_begins_as_a_linear_embedding() -> None:
    """Its second part is 0 at the start, in every replicate."""
    trainer = trainer_of("piecewise_linear")
    assert not parameters_of(trainer, 0)["embedding.bins.weight"].any()


def test_a_network_without_embeddings_refuses_them() -> None:
    """The message names the networks that have them."""
    with pytest.raises(ConfigError, match="has no place in model 'resnet': use none, or one of"):
        check(config(numerical_embedding="periodic"), images().facts)
    check(config(model="mlp", numerical_embedding="periodic"), table().facts)


def test_none_changes_nothing() -> None:
    """Other keys of the block are not read, to the bit."""
    plain = pack(table(), config(model="mlp"))
    none = pack(table(), config(model="mlp", numerical_embedding={"size": 9}))
    train_steps(plain, 4)
    train_steps(none, 4)
    assert same(parameters_of(plain, 0), parameters_of(none, 0))
