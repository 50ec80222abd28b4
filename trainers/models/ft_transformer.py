"""FT-Transformer: the columns of a row become tokens, which attend to each other.

Source: Gorishniy et al. 2021 (arXiv 2106.11959), section 3.3, with the start values of its package
rtdl_revisiting_models.

Letters: K members, B samples, F columns of numbers, G of categories, T = 1 + F + G tokens of D
numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.blueprint import Blueprint
from trainers.config import TrainConfig
from trainers.data.shape import TableShape
from trainers.fused import Pass
from trainers.models.embeddings import EMBEDDINGS, Columnwise, Embedding, shape_of
from trainers.models.layers import Attention, Dropout, LayerNorm, Linear, head, uniform

SIZE = 192
HIDDEN = 4 / 3  # numbers of a token inside a block, as a multiple of its size


class FTTransformer:
    """`depth` blocks over tokens of `width` times 192 numbers, the first of which is [CLS].

    The features are those of [CLS] after a layer norm and ReLU.
    """

    default_depth = 3

    def __init__(
        self, blueprint: Blueprint, train: TrainConfig, *, inputs: tuple[int, ...], classes: int
    ) -> None:
        heads = train.parameters("ft_transformer").heads
        self.width = heads * max(1, round(SIZE * train.width / heads))
        self.tokens = Tokens(blueprint, train, shape_of(inputs), self.width)
        depth = train.depth or self.default_depth
        self.blocks = [
            TransformerBlock(blueprint, f"block{i}", self.width, heads, first=i == 0)
            for i in range(depth)
        ]
        self.norm = LayerNorm(blueprint, "last.norm", self.width)
        self.head = head(blueprint, train, self.width, classes)

    def features(self, run: Pass, x: Tensor) -> Tensor:
        """(K, B, F + codes) -> (K, B, D)."""
        x = self.tokens(run, x)
        for block in self.blocks[:-1]:
            x = block(run, x)
        x = self.blocks[-1](run, x, tokens=1)
        return torch.relu(self.norm(run, x[:, :, 0]))

    def logits(self, run: Pass, features: Tensor) -> Tensor:
        """(K, B, D) -> (K, B, classes)."""
        return self.head(run, features)


class Tokens:
    """[CLS], a token for each number and one for each category: (K, B, F + codes) -> (K, B, T, D).

    None of their parameters decays.
    """

    def __init__(
        self, blueprint: Blueprint, train: TrainConfig, shape: TableShape, size: int
    ) -> None:
        self.shape, draw, key = shape, uniform(size), train.numerical_embedding
        self.cls = blueprint.add("tokens.cls", "free", (1, size), draw)
        self.numbers: Embedding | None = None
        if shape.numbers and key.kind == "none":
            self.numbers = Columnwise(blueprint, "tokens.numbers", shape.numbers, size)
        elif shape.numbers:
            self.numbers = EMBEDDINGS[key.kind](blueprint, key, shape, size)
        if shape.cardinalities:
            codes = (sum(shape.cardinalities), size)
            self.codes = blueprint.add("tokens.codes.weight", "free", codes, draw)
            categories = (len(shape.cardinalities), size)
            self.bias = blueprint.add("tokens.codes.bias", "free", categories, draw)

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        cls = run.views[self.cls][:, None].expand(-1, x.shape[1], -1, -1)
        numbers, codes = x[..., : self.shape.numbers], x[..., self.shape.numbers :]
        parts = [cls]
        if self.numbers is not None:
            parts.append(self.numbers(run, numbers))
        if self.shape.cardinalities:
            parts.append(self._categories(run, codes))
        return torch.cat(parts, dim=2)

    def _categories(self, run: Pass, codes: Tensor) -> Tensor:
        """The row of each code; of mixed samples, the mixture of their rows."""
        sizes = self.shape.cardinalities
        blocks = zip(codes.split(sizes, -1), run.views[self.codes].split(sizes, 1), strict=True)
        return torch.stack([one @ rows for one, rows in blocks], 2) + run.views[self.bias][:, None]


class TransformerBlock:
    """Attention, then a layer of gated units (ReGLU), each with a norm before and a skip around.

    The first block has no norm before its attention.
    """

    def __init__(
        self, blueprint: Blueprint, name: str, size: int, heads: int, *, first: bool
    ) -> None:
        self.before = None if first else LayerNorm(blueprint, f"{name}.attention.norm", size)
        self.attention = Attention(blueprint, f"{name}.attention", size, heads)
        self.norm = LayerNorm(blueprint, f"{name}.norm", size)
        hidden = int(size * HIDDEN)
        self.first = Linear(blueprint, f"{name}.first", size, 2 * hidden)
        self.dropout = Dropout(name)
        self.second = Linear(blueprint, f"{name}.second", hidden, size)

    def __call__(self, run: Pass, x: Tensor, *, tokens: int | None = None) -> Tensor:
        """(K, B, T, D) -> (K, B, T, D), or only the first `tokens` of them."""
        normed = x if self.before is None else self.before(run, x)
        x = x[:, :, :tokens] + self.attention(run, normed, tokens=tokens)
        values, gates = self.first(run, self.norm(run, x)).chunk(2, dim=-1)
        hidden = self.dropout(run, values * torch.relu(gates))
        return x + self.second(run, hidden)
