"""Compares every form's layers with sums written out in float64; run in a process of its own.

`python -m tests.support.layer_gradients` prints each layer that is off, and how many were
compared. Kernels that overrun their memory end the process: so it is never imported by a test.

Letters: K members, B samples, C inputs, O outputs, S x S pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from trainers.blueprint import Parameter
from trainers.forms import FORMS
from trainers.fused import EPSILON, Form, Pass
from trainers.parameters import Views

CHANNELS = (*range(1, 10), 15, 16, 17, 24, 32)
MEMBERS = (1, 2, 5)
B, S = 32, 8
TOLERANCE = 2e-5  # sums have up to 2048 terms; a float32 term is exact to 6e-8
Layer = Callable[..., Tensor]


def convolved(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """(B, K, C, S, S) with (K, O, k, k, C), as a sum over the places of the kernel."""
    kernel = weight.shape[2]
    x = torch.nn.functional.pad(x, [kernel // 2] * 4)
    places = itertools.product(range(kernel), repeat=2)
    return sum(
        torch.einsum(
            "bkcij,koc->bkoij",
            x[..., i : i + S : stride, j : j + S : stride],
            weight[:, :, i, j],
        )
        for i, j in places
    )  # pyright: ignore[reportReturnType]


def batch_normed(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """Each channel normalised over samples and pixels."""
    return normalised(x, w[..., None, None], b[..., None, None], (0, 3, 4))


def group_normed(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """Each sample normalised over channels and pixels."""
    return normalised(x, w[..., None, None], b[..., None, None], (2, 3, 4))


def mapped(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """(K, B, C) by a matrix of each member."""
    return torch.einsum("kbi,kio->kbo", x, w) + b[:, None]


def averaged(x: Tensor) -> Tensor:
    """The mean over pixels, (K, B, C)."""
    return x.mean((3, 4)).transpose(0, 1)


def normalised(x: Tensor, weight: Tensor, bias: Tensor, over: tuple[int, ...]) -> Tensor:
    """Mean 0 and variance 1 over these dimensions, then scaled and shifted."""
    mean = x.mean(over, keepdim=True)
    var = ((x - mean) ** 2).mean(over, keepdim=True)
    return (x - mean) / torch.sqrt(var + EPSILON) * weight + bias


@lru_cache(maxsize=8)  # the forms and memory formats of a layer follow one another
def expected(
    truth: Layer, shapes: tuple[tuple[int, ...], ...], *more: int
) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    """What enters a layer, the weights of its linear loss, and the loss with its gradients."""
    source = torch.Generator().manual_seed(0)
    given = [torch.randn(s, generator=source, dtype=torch.float64) for s in shapes]
    shape = truth(*given, *more).shape
    weights = torch.randn(shape, generator=source, dtype=torch.float64)
    return given, weights, _passed(lambda *x: truth(*x, *more), given, weights)


def compare(
    made: Layer, truth: Layer, shapes: list[tuple[int, ...]], enter: Layer, *more: int
) -> dict[str, float]:
    """How far the output and each gradient of a linear loss are off, in shares of the truth."""
    given, weights, wanted = expected(truth, tuple(shapes), *more)
    got = _passed(made, [one.float() for one in given], enter(weights.float()))
    names = ["loss", *(f"gradient {i}" for i in range(len(shapes)))]
    return {
        name: float((a.double() - b).norm() / b.norm())
        for name, a, b in zip(names, got, wanted, strict=True)
    }


def _passed(layer: Layer, given: list[Tensor], weights: Tensor) -> list[Tensor]:
    leaves = [one.clone().requires_grad_() for one in given]
    product = layer(*leaves) * weights
    return [product.detach().abs().sum(), *torch.autograd.grad(product.sum(), leaves)]


def undrawn(source: object, shape: object) -> Any:
    """Draws nothing: parameters are given."""


def run(
    form: Form, layer: Callable[[Pass, Tensor], Tensor], members: int, x: Tensor, **given: Tensor
) -> Tensor:
    """A layer as the form computes it; `given`: its parameters (K, *shape), by their kinds."""
    specs = [
        Parameter(name, name.partition("_")[0], tuple(block.shape[1:]), undrawn, decays=False)  # pyright: ignore
        for name, block in given.items()
    ]
    layout = form.layout(members, {p.name: p.size for p in specs})
    flat = torch.cat([x.new_zeros(0), *(block.flatten() for block in given.values())])
    blocks = layout.cut(flat)
    views = {p.name: form.view(blocks[p.name], p, members) for p in specs}
    views = Views(views, flat=flat, data=flat, layout=layout, specs=specs)
    return form.chain([layer], Pass(form, members, views, training=True), x)[0]


def convolutions(form: Form) -> Iterator[tuple[str, dict[str, float]]]:
    """Every kernel, stride, number of channels and of members, in both memory formats."""
    grid = itertools.product(CHANNELS, (1, 3), (1, 2), MEMBERS, (False, True))
    for channels, kernel, stride, members, contiguous in grid:

        def layer(run: Pass, x: Tensor, stride: int = stride) -> Tensor:
            weight = run.views["convolution"]
            return run.form.convolution(x, weight, None, members=run.members, stride=stride)

        def made(
            x: Tensor, weight: Tensor, contiguous: bool = contiguous,
            members: int = members, layer: Any = layer,
        ) -> Tensor:  # fmt: skip
            inner = form.images(x)
            inner = inner.contiguous() if contiguous else inner
            with form.backend(inner, members):
                return run(form, layer, members, inner, convolution=weight)

        outputs = 2 * channels if stride == 2 else channels
        shapes = [(B, members, channels, S, S), (members, outputs, kernel, kernel, channels)]
        name = f"{kernel}x{kernel}, stride {stride}, {channels} channels, {members} members"
        yield (
            f"{name}, contiguous={contiguous}",
            compare(made, convolved, shapes, form.images, stride),
        )


def batch_norm(run: Pass, x: Tensor) -> Tensor:
    """A batch norm in training."""
    weight, bias = run.views["channels"], run.views["channels_2"]
    return run.form.batch_norm(x, weight, bias, training=True, statistics=None)


def group_norm(run: Pass, x: Tensor) -> Tensor:
    """A group norm of one group."""
    weight, bias = run.views["channels"], run.views["channels_2"]
    return run.form.group_norm(x, weight, bias, members=run.members, groups=1)


def linear(run: Pass, x: Tensor) -> Tensor:
    """A linear layer."""
    return run.form.linear(x, run.views["linear"], run.views["bias"])


def pooled(run: Pass, x: Tensor) -> Tensor:
    """The mean over pixels."""
    return run.form.pooled(x, run.members)


def others(form: Form) -> Iterator[tuple[str, dict[str, float]]]:
    """Norms, the mean over pixels and linear layers."""

    def normed(layer: Any) -> Layer:
        return lambda x, w, b: run(form, layer, len(w), form.images(x), channels=w, channels_2=b)

    def mapping(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return run(form, linear, len(w), x, linear=w, bias=b)

    def averaging(x: Tensor) -> Tensor:
        return run(form, pooled, x.shape[1], form.images(x))

    for channels, members in itertools.product(CHANNELS, MEMBERS):
        per = (members, channels)
        images, table = (B, *per, S, S), (members, B, channels)
        same: Any = lambda out: out  # noqa: E731
        where = f"{channels} channels, {members} members"
        norm = [images, per, per]
        yield f"batch norm, {where}", compare(normed(batch_norm), batch_normed, norm, form.images)
        if channels > 1:
            yield (
                f"group norm, {where}",
                compare(normed(group_norm), group_normed, norm, form.images),
            )
        shapes = [table, (members, channels, 7), (members, 7)]
        yield f"linear, {where}", compare(mapping, mapped, shapes, same)
        yield f"mean over pixels, {where}", compare(averaging, averaged, [images], same)


def main() -> None:
    """Prints what is off, a line each, and the count."""
    compared = 0
    layers = [itertools.chain(convolutions(form), others(form)) for form in FORMS.values()]
    for of_forms in zip(*layers, strict=True):
        for name, (layer, off) in zip(FORMS, of_forms, strict=True):
            compared += 1
            for what, share in off.items():
                if not share <= TOLERANCE:
                    print(f"{name}: {layer}: {what} is off by {share:.2g}")
    print(f"{compared} compared")


if __name__ == "__main__":
    main()
