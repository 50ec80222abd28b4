"""Records what a network computes, as a flat list of operations that the executor runs.

Parts of a network run once with symbols in place of tensors. Norms are joined with the addition and
the ReLU that follow them. What cannot be recorded raises `Untraceable`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor

from trainers.blueprint import Parameter
from trainers.fused import Folded, Part, Pass, padding_of

Size = tuple[int, int, int]  # H, W, C; of rows 1, 1, F
INPUT = 0  # the node, and the value, of the input


class Untraceable(Exception):
    """A network does something that the executor has no operation for."""


@dataclass(frozen=True)
class ConvolutionFacts:
    """A convolution, or a linear layer, with the names of its parameters."""

    weight: Parameter
    bias: Parameter | None
    stride: int


@dataclass(frozen=True)
class NormFacts:
    """A norm; without a name a batch norm has no running statistics. `groups`: 0 of batch norms."""

    weight: Parameter
    bias: Parameter
    name: str | None
    groups: int


@dataclass(frozen=True)
class ShortcutFacts:
    """A shortcut that leaves out pixels and adds channels of zeros."""

    stride: int
    before: int


Layer = ConvolutionFacts | NormFacts | ShortcutFacts


@dataclass(frozen=True)
class Traced:
    """What an operation of a recording computes.

    Attributes:
        kind: `input`, `convolution`, `norm`, `relu`, `add`, `shortcut` or `mean`.
        reads: the nodes that it reads.
    """

    kind: str
    reads: tuple[int, ...]
    size: Size
    rows: bool
    layer: Layer | None = None


class Opaque:
    """Refuses every operation that its class does not define."""

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        raise Untraceable(f"no operation for {getattr(function, '__name__', function)}")

    def __getattr__(self, name: str) -> Any:
        raise Untraceable(f"no operation for {name}")

    def _refused(self, *given: object) -> Any:
        raise Untraceable("no operation for arithmetic by hand")

    __getitem__ = __mul__ = __rmul__ = __sub__ = __truediv__ = __matmul__ = _refused


class Named(Opaque):
    """Stands for a parameter's view."""

    def __init__(self, parameter: Parameter) -> None:
        self.parameter = parameter


class Symbol(Opaque):
    """Stands for images or rows while a network is recorded."""

    def __init__(self, nodes: list[Traced], node: int) -> None:
        self.nodes, self._node, self._alive = nodes, node, True

    @property
    def node(self) -> int:
        """The node that computes it."""
        if not self._alive:
            raise Untraceable("a tensor is read after it was changed in place")
        return self._node

    @property
    def of(self) -> Traced:
        """What computes it."""
        return self.nodes[self.node]

    def dim(self) -> int:
        return 3 if self.of.rows else 4

    def then(
        self,
        kind: str,
        *others: Symbol,
        size: Size | None = None,
        rows: bool | None = None,
        layer: Layer | None = None,
    ) -> Symbol:
        """The result of an operation on this."""
        own = self.of
        reads = (self.node, *(other.node for other in others))
        rows = own.rows if rows is None else rows
        self.nodes.append(Traced(kind, reads, size or own.size, rows, layer))
        return Symbol(self.nodes, len(self.nodes) - 1)

    def __add__(self, other: object) -> Symbol:
        if not isinstance(other, Symbol) or other.of.size != self.of.size:
            raise Untraceable("no operation for a sum of different shapes")
        return self.then("add", other)

    def add_(self, other: object) -> Symbol:
        return self._replaced(self + other)

    def _replaced(self, made: Symbol) -> Symbol:
        self._alive = False
        return made

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if function is torch.relu:
            return args[0].then("relu")
        if function is torch.relu_:
            return args[0]._replaced(args[0].then("relu"))
        return super().__torch_function__(function, types, args, kwargs)


class Tracer(Folded):
    """A form that records some layers, and refuses the others because they read their input."""

    def convolution(self, x: Any, weight: Any, bias: Any, **given: Any) -> Any:
        if given.pop("groups", 1) != 1 or given.pop("standardised", False):
            raise Untraceable("no operation for grouped or standardised convolutions")
        outputs, kernel, _, _ = weight.parameter.shape
        stride, (h, w, _) = given["stride"], x.of.size
        sides = [(side + 2 * padding_of(kernel, stride) - kernel) // stride + 1 for side in (h, w)]
        layer = ConvolutionFacts(weight.parameter, bias.parameter if bias else None, stride)
        return x.then("convolution", size=(*sides, outputs), layer=layer)

    def linear(self, x: Any, weight: Any, bias: Any) -> Any:
        layer = ConvolutionFacts(weight.parameter, bias.parameter if bias else None, 1)
        return x.then("convolution", size=(1, 1, weight.parameter.shape[1]), layer=layer)

    def batch_norm(self, x: Any, weight: Any, bias: Any, **given: Any) -> Any:
        if given.get("ghost"):
            raise Untraceable("no operation for ghost batches")
        return x.then(
            "norm", layer=NormFacts(weight.parameter, bias.parameter, given["statistics"], 0)
        )

    def group_norm(self, x: Any, weight: Any, bias: Any, *, members: int, groups: int) -> Any:
        return x.then("norm", layer=NormFacts(weight.parameter, bias.parameter, None, groups))

    def padded(self, x: Any, *, members: int, stride: int, channels: int) -> Any:
        h, w, c = x.of.size
        layer = ShortcutFacts(stride, (channels - c) // 2)
        return x.then("shortcut", size=(-(-h // stride), -(-w // stride), channels), layer=layer)

    def pooled(self, x: Any, members: int) -> Any:
        return x.then("mean", size=(1, 1, x.of.size[2]), rows=True)


class Names(dict[str, Any]):
    """Running statistics by name: the name itself."""

    def __missing__(self, name: str) -> str:
        return name

    def __bool__(self) -> bool:
        return True


def traced(
    parts: Sequence[Part], run: Pass, parameters: Sequence[Parameter], size: Size, *, rows: bool
) -> tuple[list[Traced], list[int]]:
    """The nodes of parts that follow one another, and the node of each one's result.

    Stops before the first part that cannot be recorded; results may be fewer than parts.
    """
    nodes = [Traced("input", (), size, rows)]
    views = cast(Any, {p.name: Named(p) for p in parameters})
    names = cast(Any, Names())
    record = Pass(Tracer(), run.members, views, run.training, names, None, run.masks)
    x, results = Symbol(nodes, INPUT), []
    for part in parts:
        before = len(nodes)
        try:
            x = cast(Symbol, part(record, cast(Tensor, x)))
            if x.node == INPUT:
                raise Untraceable("nothing to compute")
            _refuse_lost_gradients(nodes, {*results, x.node})
        except Untraceable:
            del nodes[before:]
            break
        results.append(x.node)
    return nodes, results


def _refuse_lost_gradients(nodes: Sequence[Traced], results: set[int]) -> None:
    """A backward pass begins at results, and writes the gradient of a parameter once."""
    read = {i for node in nodes for i in node.reads}
    if set(range(len(nodes))) - read - results:
        raise Untraceable("no gradient for a value that nothing reads")
    layers = [n.layer for n in nodes if isinstance(n.layer, ConvolutionFacts | NormFacts)]
    names = [p.name for layer in layers for p in (layer.weight, layer.bias) if p is not None]
    if len(names) > len(set(names)):
        raise Untraceable("no sum of the gradients of parameters that are used twice")


@dataclass(frozen=True)
class Combination:
    """y = relu(norm(a) + norm(b)), where every part but a may be missing.

    Attributes:
        parts: one or two (value, norm).
    """

    parts: tuple[tuple[int, NormFacts | None], ...]
    relu: bool


@dataclass(frozen=True)
class Op:
    """An operation of a program; a combination reads the values of its parts."""

    does: ConvolutionFacts | ShortcutFacts | Combination | Literal["mean", "entrance"]
    reads: int
    makes: int


@dataclass(frozen=True)
class Program:
    """Operations in order.

    Attributes:
        images: whether the input is images, and not rows.
        sizes: of their values; value 0 is the input.
        outputs: values, and whether each is rows.
    """

    ops: tuple[Op, ...]
    images: bool
    sizes: tuple[Size, ...]
    outputs: tuple[tuple[int, bool], ...]

    @property
    def norms(self) -> list[tuple[NormFacts, Size]]:
        """Its norms, with the sizes of what they see."""
        found = [op.does.parts for op in self.ops if isinstance(op.does, Combination)]
        return [(norm, self.sizes[v]) for parts in found for v, norm in parts if norm]

    @property
    def parameters(self) -> list[Parameter]:
        """The parameters that it reads."""
        layers = [op.does for op in self.ops if isinstance(op.does, ConvolutionFacts)]
        layers += [norm for norm, _ in self.norms]
        return [p for layer in layers for p in (layer.weight, layer.bias) if p is not None]


def program(nodes: Sequence[Traced], results: Sequence[int]) -> Program:
    """Joins norms with the sums and ReLUs that follow them."""
    joined = _joined(nodes, results)
    sizes, ops = [nodes[INPUT].size], []
    readers = [node.layer for node in nodes if INPUT in node.reads]
    if not all(isinstance(layer, ConvolutionFacts) for layer in readers):
        ops.append(Op("entrance", INPUT, 1))
        sizes.append(nodes[INPUT].size)
    values = {INPUT: len(ops)}
    for index, node in enumerate(nodes):
        if index == INPUT or index in joined:
            continue
        does = _does(nodes, index, joined, values)
        reads = does.parts[0][0] if isinstance(does, Combination) else values[node.reads[0]]
        values[index] = len(sizes)
        ops.append(Op(does, reads, len(sizes)))
        sizes.append(node.size)
    outputs = tuple((values[result], nodes[result].rows) for result in results)
    return Program(tuple(ops), not nodes[INPUT].rows, tuple(sizes), outputs)


def _joined(nodes: Sequence[Traced], results: Sequence[int]) -> set[int]:
    """The nodes that are computed together with the node that reads them."""
    users = Counter(read for node in nodes for read in node.reads)
    found = set()
    for node in nodes:
        fits = {"relu": ("add", "norm"), "add": ("norm",)}.get(node.kind, ())
        for read in node.reads:
            if nodes[read].kind in fits and users[read] == 1 and read not in results:
                found.add(read)
    return found


def _does(
    nodes: Sequence[Traced], index: int, joined: set[int], values: Mapping[int, int]
) -> ConvolutionFacts | ShortcutFacts | Combination | Literal["mean"]:
    node = nodes[index]
    if node.kind == "mean":
        return "mean"
    if isinstance(node.layer, ConvolutionFacts | ShortcutFacts):
        return node.layer
    relu = node.kind == "relu"
    inner = node.reads[0] if relu else index
    if relu and inner not in joined:
        return Combination(((values[inner], None),), relu)
    summands = nodes[inner].reads if nodes[inner].kind == "add" else (inner,)
    parts = []
    for summand in summands:
        layer = nodes[summand].layer
        if isinstance(layer, NormFacts) and (summand in joined or summand == index):
            parts.append((values[nodes[summand].reads[0]], layer))
        else:
            parts.append((values[summand], None))
    # The second part's gradient may be the sum's own, if it has no norm.
    parts.sort(key=lambda part: part[1] is None)
    return Combination(tuple(parts), relu)
