"""Networks for tables, against the packages of their authors, with equal weights in float64."""

from __future__ import annotations

from typing import Any

import pytest
import rtdl_num_embeddings
import rtdl_revisiting_models
import tabm
import torch
import torch.nn.functional as F
from small_packs import config, images, pack, parameters_of, table, train_steps
from torch import Tensor, nn

from trainers.check import check
from trainers.config import ConfigError
from trainers.loop import PackTrainer

EXACT: dict[str, Any] = {"precision": "float64", "schedule": "constant", "weight_decay": 0.0}
CODES = (3, 4)  # of the table's categories, behind its four numbers
Places = dict[str, str]  # our name of each parameter of a package's network


def columns(x: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers and codes of encoded rows, (B, 11) -> (B, 4) and (B, 2)."""
    return x[:, :4], torch.stack([one.argmax(1) for one in x[:, 4:].split(CODES, dim=1)], dim=1)


def theirs(trainer: PackTrainer) -> dict[str, Tensor]:
    """One run's parameters, in PyTorch's order of dimensions."""
    linear = {spec.name for spec in trainer.pack.parameters.specs if spec.kind == "linear"}
    blocks = parameters_of(trainer, 0)
    return {name: value.T if name in linear else value for name, value in blocks.items()}


def loaded(module: nn.Module, trainer: PackTrainer, places: Places) -> nn.Module:
    """A package's network with the weights of our run; none is left over on either side."""
    module, blocks = module.double(), pieces(theirs(trainer))
    own = dict(module.named_parameters())
    assert sorted(places) == sorted(own)
    assert sorted(places.values()) == sorted(blocks)
    with torch.no_grad():
        for name, place in places.items():
            own[name].copy_(blocks[place].view_as(own[name]))
    return module


def pieces(blocks: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same parameters, with those that we keep together taken apart."""
    found = {}
    for name, value in blocks.items():
        if ".qkv." in name:
            for letter, part in zip("qkv", value.chunk(3), strict=True):
                found[name.replace("qkv", letter)] = part
        elif name == "tokens.codes.weight":
            found |= {f"{name}.{i}": part for i, part in enumerate(value.split(CODES))}
        else:
            found[name] = value
    return found


def residual(trainer: PackTrainer) -> nn.Module:
    module = rtdl_revisiting_models.ResNet(
        d_in=11, d_out=3, n_blocks=2, d_block=32, d_hidden_multiplier=2.0, dropout1=0, dropout2=0
    )
    places = {}
    for end in ("weight", "bias"):
        places |= {f"input_projection.{end}": f"first.{end}", f"output.linear.{end}": f"head.{end}"}
        places[f"output.normalization.{end}"] = f"last.norm.{end}"
        for i in range(2):
            block = {"normalization": "norm", "linear1": "first", "linear2": "second"}
            places |= {f"blocks.{i}.{n}.{end}": f"block{i}.{o}.{end}" for n, o in block.items()}
    return loaded(module, trainer, places)


def transformer(trainer: PackTrainer) -> nn.Module:
    module = rtdl_revisiting_models.FTTransformer(
        n_cont_features=4,
        cat_cardinalities=list(CODES),
        d_out=3,
        n_blocks=2,
        d_block=48,
        attention_n_heads=4,
        attention_dropout=0.0,
        ffn_d_hidden_multiplier=4 / 3,
        ffn_dropout=0.0,
        residual_dropout=0.0,
    )
    places = {"cls_embedding.weight": "tokens.cls", "cat_embeddings.bias": "tokens.codes.bias"}
    places |= {f"cat_embeddings.embeddings.{i}.weight": f"tokens.codes.weight.{i}" for i in (0, 1)}
    block = {
        "attention.W_q": "attention.q",
        "attention.W_k": "attention.k",
        "ffn.linear1": "first",
        "attention.W_v": "attention.v",
        "attention.W_out": "attention.out",
        "ffn.linear2": "second",
        "ffn_normalization": "norm",
        "attention_normalization": "attention.norm",
    }
    for end in ("weight", "bias"):
        places[f"cont_embeddings.{end}"] = f"tokens.numbers.{end}"
        places[f"backbone.output.normalization.{end}"] = f"last.norm.{end}"
        places[f"backbone.output.linear.{end}"] = f"head.{end}"
        for i in range(2):
            parts = {n: o for n, o in block.items() if i or n != "attention_normalization"}
            places |= {
                f"backbone.blocks.{i}.{n}.{end}": f"block{i}.{o}.{end}" for n, o in parts.items()
            }
    return loaded(module, trainer, places)


TABM = {"weight": "weight", "bias": "bias", "r": "entering", "s": "leaving"}


def submodels(trainer: PackTrainer) -> nn.Module:
    periodic = rtdl_num_embeddings.PeriodicEmbeddings(4, 5, n_frequencies=3, lite=False)
    module = tabm.TabM(
        n_num_features=4,
        cat_cardinalities=list(CODES),
        d_out=3,
        k=3,
        n_blocks=2,
        d_block=51,
        dropout=0.0,
        start_scaling_init="normal",
        num_embeddings=periodic,
    )
    places = {"output.weight": "head.weight", "output.bias": "head.bias"}
    places |= {
        "num_module.periodic.weight": "embedding.frequencies",
        "num_module.linear.weight": "embedding.linear.weight",
        "num_module.linear.bias": "embedding.linear.bias",
    }
    for i in range(2):
        places |= {f"backbone.blocks.{i}.0.{n}": f"hidden{i}.{o}" for n, o in TABM.items()}
    return loaded(module, trainer, places)


NETWORKS = {
    "residual_mlp": (residual, {"depth": 2, "norm_statistics": "running"}),
    "ft_transformer": (transformer, {"depth": 2, "ft_transformer": {"heads": 4}}),
    "tabm": (
        submodels,
        {
            "depth": 2,
            "width": 0.1,
            "tabm": {"submodels": 3},
            "numerical_embedding": {"kind": "periodic", "size": 5, "frequencies": 3},
        },
    ),
}


def outputs(name: str, module: nn.Module, x: Tensor) -> Tensor:
    """The package's logits, (B, 3), or (B, k, 3) of submodels."""
    return module(x) if name == "residual_mlp" else module(*columns(x))


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy; of submodels, the mean of theirs."""
    if logits.dim() == 2:
        return F.cross_entropy(logits, labels)
    return torch.stack([F.cross_entropy(one, labels) for one in logits.unbind(1)]).mean()


def chances(logits: Tensor) -> Tensor:
    """Probabilities; of submodels, the mean of theirs."""
    return logits.softmax(-1) if logits.dim() == 2 else logits.softmax(-1).mean(1)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_trains_and_predicts_as_its_authors_does(name: str) -> None:
    """Five updates of SGD, and the probabilities of the test split."""
    make, settings = NETWORKS[name]
    trainer = pack(table(), config(model=name, **EXACT | settings))
    module = make(trainer)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    for batch in train_steps(trainer, 5):
        optimizer.zero_grad()
        loss_of(outputs(name, module, batch.x[0]), batch.labels[0]).backward()
        optimizer.step()
    rows = next(trainer.split_batches("test"))[1][0]
    with torch.no_grad():
        expected = chances(outputs(name, module.eval(), rows))
    found = trainer.evaluate()["test"][0].softmax(-1)
    assert torch.allclose(found, expected, rtol=0, atol=1e-10)
    again = dict(make(trainer).named_parameters())  # our weights after training
    for key, value in module.named_parameters():
        assert torch.allclose(value, again[key], rtol=0, atol=1e-10), key


def test_tabm_starts_its_submodels_apart_by_their_scales() -> None:
    """Signs, a sign for all codes of a category; normal where numbers are embedded."""
    trainer = pack(table(), config(model="tabm", tabm={"submodels": 6}))
    blocks = parameters_of(trainer, 0)
    entering = blocks["hidden0.entering"]
    assert set(entering.unique().tolist()) == {-1.0, 1.0}
    for part in entering[:, 4:].split(CODES, dim=1):
        assert (part == part[:, :1]).all()
    assert (blocks["hidden1.entering"] == 1.0).all()
    assert (blocks["hidden0.bias"] == blocks["hidden0.bias"][0]).all()
    embedded = pack(
        table(), config(model="tabm", numerical_embedding={"kind": "linear", "size": 3})
    )
    entering = parameters_of(embedded, 0)["hidden0.entering"]
    assert len(entering[0, :12].unique()) == 4
    assert len(entering[:, :12].unique()) == 32 * 4


def test_one_submodel_without_scales_is_a_plain_perceptron() -> None:
    """k = 1: the joined logits are log-probabilities of the only submodel."""
    trainer = pack(table(), config(model="tabm", tabm={"submodels": 1}, width=0.1, **EXACT))
    (batch,) = train_steps(trainer, 1)
    terms = trainer.objective.terms(trainer.pack, batch, moving=False)
    assert torch.allclose(terms.logits.logsumexp(-1), torch.zeros(1, dtype=torch.float64))
    assert torch.allclose(terms.losses, -terms.logits.gather(2, batch.labels[..., None])[..., 0])


REFUSED = [
    pytest.param({"model": "tabm", "head": "cosine"}, "needs train.head: linear", id="cosine"),
    pytest.param({"model": "tabm", "ssl": {"weight": 0.1}}, "needs train.ssl.weight: 0", id="ssl"),
]


@pytest.mark.parametrize(("train", "message"), REFUSED)
def test_what_does_not_fit_is_refused(train: dict[str, Any], message: str) -> None:
    """Before anything starts, with the key."""
    with pytest.raises(ConfigError, match=message):
        check(config(**train), table().facts)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_for_tables_refuse_images(name: str) -> None:
    """The message names a network that fits."""
    with pytest.raises(ConfigError, match="which are images: use resnet"):
        check(config(model=name), images().facts)
