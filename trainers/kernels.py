"""Checks layers of a form in a separate process, because a broken kernel may crash it.

`python -m trainers.kernels THREADS [PLUGIN ...]` reads a JSON request a line, {"form": name,
"layer": {...}}, and answers each with the largest deviation that it finds. It ends with its input,
or after a while without requests.

Letters: K members, B samples, C channels, O outputs, I inputs, H x W pixels, F features.
"""

from __future__ import annotations

import json
import math
import os
import select
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.blueprint import Kind, Parameter
from trainers.forms import FORMS
from trainers.fused import EPSILON, FILTER_EPSILON, Form, Pass, without_onednn
from trainers.parameters import Views
from trainers.plugins import run
from trainers.shapes import Layer

IDLE_SECONDS = 60.0
EXACT_BATCH = 4
# Members alternate between two data sets, so a pack of any K needs two references.
SOURCES = 2
UNIT = 2.0**-24  # the largest relative change by rounding to float32
# A sum of n random terms, each rounded, is off by about sqrt(n) units. Two such sums are compared,
# and kernels that compute by transforms (Winograd) lose about ten units more.
UNITS = 32.0
COARSE = 0.06  # for bfloat16, whose unit is 0.004, at any length of the sums


@dataclass(frozen=True)
class Deviation:
    """The error of a layer: |x - reference| / |reference|, and how much of it rounding explains.

    Attributes:
        what: `output`, `input gradient`, `weight gradient` or `bias gradient`.
        batch: samples of the comparison.
    """

    what: str
    batch: int
    off: float
    tolerance: float

    @property
    def excess(self) -> float:
        """`off` as a multiple of the tolerance."""
        return self.off / self.tolerance if math.isfinite(self.off) else math.inf


def tolerance(layer: Layer) -> float:
    """The largest error that rounding explains, from the longest sum of the layer's passes."""
    if layer.dtype == "bfloat16":
        return COARSE
    pixels = math.prod(layer.size)
    area = layer.kernel**2
    longest = max(layer.batch * pixels, layer.inputs * area, layer.outputs * area, pixels)
    return UNITS * UNIT * (1.0 + math.sqrt(longest))


def check(layer: Layer, form: Form) -> Deviation:
    """The largest excess of output and gradients under a linear loss.

    At the layer's own batch the reference is float32 without oneDNN, at a batch of at most 4 it is
    float64; each member is computed alone.
    """
    own = torch.float64 if layer.dtype == "float64" else torch.float32
    found = _deviations(layer, form, dtype=own)
    small = replace(layer, batch=min(layer.batch, EXACT_BATCH))
    found += _deviations(small, form, dtype=torch.float64)
    return max(found, key=lambda one: one.excess)


def _deviations(layer: Layer, form: Form, *, dtype: torch.dtype) -> list[Deviation]:
    references = [_reference(_alone(layer), source, dtype) for source in range(SOURCES)]
    wanted = [_dealt([one[name] for one in references], layer.members) for name in references[0]]
    wanted[0] = _arranged(form, layer, wanted[0])
    made = _computed(layer, form)
    limit = tolerance(layer)
    return [
        Deviation(name, layer.batch, _off(got, reference), limit)
        for name, got, reference in zip(references[0], made, wanted, strict=True)
    ]


def _off(got: Tensor, reference: Tensor) -> float:
    """|got - reference| / |reference|, or |got| if the reference is 0."""
    norm = float(torch.linalg.vector_norm(reference, dtype=torch.float64))
    gap = torch.linalg.vector_norm(got.to(reference.dtype) - reference, dtype=torch.float64)
    return float(gap) / (norm or 1.0)


def _alone(layer: Layer) -> Layer:
    """The arguments that a member's data and reference depend on."""
    return replace(layer, members=1, entry=())


def _dealt(of_source: list[Tensor], members: int) -> Tensor:
    """Assigns each source's tensor to its members, in turn: (K, ...)."""
    return torch.stack([of_source[k % SOURCES] for k in range(members)])


def _shapes(layer: Layer) -> dict[str, tuple[int, ...]]:
    """A member's input, weight and bias shapes, as far as the layer has them."""
    shapes: dict[str, tuple[int, ...]] = {"input": (layer.batch, layer.inputs, *layer.size)}
    if layer.kind == "convolution":
        inputs = layer.inputs // layer.groups
        shapes["weight"] = (layer.outputs, layer.kernel, layer.kernel, inputs)
    elif layer.kind == "linear":
        shapes["weight"] = (layer.inputs, layer.outputs)
    elif layer.kind == "attention":
        shapes["input"] = (layer.batch, *layer.size, 3 * layer.inputs)
    elif layer.kind not in ("pooled", "max_pooled"):
        shapes["weight"] = shapes["bias"] = (layer.inputs,)
    if layer.bias:
        shapes["bias"] = (layer.outputs,)
    return shapes


@lru_cache(maxsize=2 * SOURCES)
def _data(layer: Layer, source: int) -> dict[str, Tensor]:
    """Random float32 numbers of one member, and the factors of its output."""
    numbers = torch.Generator().manual_seed(source)
    given = {name: torch.randn(shape, generator=numbers) for name, shape in _shapes(layer).items()}
    with torch.no_grad():
        out = _plain(layer, **given)
    return given | {"loss": torch.randn(out.shape, generator=numbers)}


def _plain(layer: Layer, input: Tensor, weight: Any = None, bias: Any = None) -> Tensor:
    """The layer's definition for one member: (B, C, H, W) or (B, F)."""
    match layer.kind:
        case "convolution":
            weight = weight.permute(0, 3, 1, 2).contiguous()
            if layer.standardised:
                # Batch norm of one sample whose channels are the filters, as in timm.
                rows = weight.reshape(1, layer.outputs, -1)
                weight = F.batch_norm(rows, None, None, None, None, True, 0.0, FILTER_EPSILON)
                weight = weight.view(layer.outputs, -1, layer.kernel, layer.kernel)
            padding = layer.kernel // 2 if layer.kernel > layer.stride else 0
            return F.conv2d(input, weight, bias, layer.stride, padding, 1, layer.groups)
        case "batch_norm":
            return F.batch_norm(input, None, None, weight, bias, True, 0.0, EPSILON)
        case "group_norm":
            return F.group_norm(input, layer.groups, weight, bias, EPSILON)
        case "linear":
            return input @ weight if bias is None else torch.addmm(bias, input, weight)
        case "pooled":
            return input.mean((2, 3))
        case "layer_norm":
            return F.layer_norm(input, input.shape[1:], weight, bias, EPSILON)
        case "attention":
            apart = input.unflatten(-1, (3, layer.groups, -1)).permute(2, 0, 3, 1, 4)
            queries, keys, values = apart.unbind(0)
            alike = queries @ keys.mT / math.sqrt(queries.shape[-1])
            return (alike.softmax(-1) @ values).transpose(1, 2).flatten(2)
        case "max_pooled":
            return F.max_pool2d(input, layer.kernel, layer.stride, layer.kernel // 2)


@lru_cache(maxsize=2 * SOURCES)
def _reference(layer: Layer, source: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """The output and gradients of one member, by name."""
    data = {name: tensor.to(dtype) for name, tensor in _data(layer, source).items()}
    loss = data.pop("loss")
    leaves = {name: tensor.requires_grad_() for name, tensor in data.items()}
    with without_onednn():
        out = _plain(layer, **leaves)
        grads = torch.autograd.grad((out * loss).sum(), list(leaves.values()))
    named = {f"{name} gradient": grad for name, grad in zip(leaves, grads, strict=True)}
    return {"output": out.detach(), **named}


def _computed(layer: Layer, form: Form) -> list[Tensor]:
    """The same as `_reference`, computed by the form for all members; the output in its layout."""
    members = layer.members
    own = torch.float64 if layer.dtype == "float64" else torch.float32
    sources = [_data(_alone(layer), source) for source in range(SOURCES)]
    data = {name: _dealt([one[name] for one in sources], members).to(own) for name in sources[0]}
    loss = data.pop("loss")
    leaves = {name: tensor.requires_grad_() for name, tensor in data.items()}
    casting = torch.autocast("cpu", torch.bfloat16, enabled=layer.dtype == "bfloat16")
    with casting, form.backend(_entrance(layer, form), members):
        out = _run(form, layer, leaves)
        total = (out * _arranged(form, layer, loss)).sum()
        grads = torch.autograd.grad(total, list(leaves.values()))
    return [out.detach(), *grads]


def _entrance(layer: Layer, form: Form) -> Tensor:
    """A batch as it enters the network; its values do not matter."""
    x = torch.empty(layer.entry)
    return form.images(x) if x.dim() == 5 else x


def _arranged(form: Form, layer: Layer, x: Tensor) -> Tensor:
    """An output (K, B, ...) in the layout of the form's layer."""
    return x if layer.kind == "pooled" else _inner(form, layer, x)


def _inner(form: Form, layer: Layer, x: Tensor) -> Tensor:
    """(K, B, C, ...) in the form's layout."""
    return form.images(x.transpose(0, 1)) if len(layer.size) == 2 else x


def _run(form: Form, layer: Layer, leaves: dict[str, Tensor]) -> Tensor:
    """The form's layer, from tensors (K, ...)."""
    members, kinds = layer.members, _kinds(layer)
    specs = [
        Parameter(name, kind, tuple(leaves[name].shape[1:]), _never, False)
        for name, kind in kinds.items()
    ]
    layout = form.layout(members, {p.name: p.size for p in specs})
    x = _inner(form, layer, leaves["input"])
    flat = torch.cat([leaves[p.name].flatten() for p in specs]) if specs else x.new_zeros(0)
    blocks = layout.cut(flat)
    views = {p.name: form.view(blocks[p.name], p, members) for p in specs}
    views = Views(views, flat=flat, data=flat, layout=layout, specs=specs)
    run = Pass(form, members, views, training=True)
    return form.chain([partial(_layer_of, layer)], run, x)[0]


def _kinds(layer: Layer) -> Mapping[str, Kind]:
    """The parameters of a layer, by name."""
    match layer.kind:
        case "convolution":
            weight: dict[str, Kind] = {"weight": "convolution"}
            return {**weight, "bias": "channels"} if layer.bias else weight
        case "linear":
            weight = {"weight": "linear"}
            return {**weight, "bias": "bias"} if layer.bias else weight
        case "batch_norm" | "group_norm":
            return {"weight": "channels", "bias": "channels"}
        case "layer_norm":
            return {"weight": "bias", "bias": "bias"}
        case "pooled" | "max_pooled" | "attention":
            return {}


def _layer_of(layer: Layer, run: Pass, x: Tensor) -> Tensor:
    form, members = run.form, run.members
    weight, bias = run.views.get("weight"), run.views.get("bias")
    match layer.kind:
        case "pooled":
            return form.pooled(x, members)
        case "max_pooled":
            return form.max_pooled(x)
        case "attention":
            return form.attention(x, heads=layer.groups, tokens=None)
    assert weight is not None  # noqa: S101
    match layer.kind:
        case "convolution":
            return form.convolution(
                x,
                weight,
                bias,
                members=members,
                stride=layer.stride,
                groups=layer.groups,
                standardised=layer.standardised,
            )
        case "linear":
            return form.linear(x, weight, bias)
    assert bias is not None  # noqa: S101
    match layer.kind:
        case "batch_norm":
            return form.batch_norm(x, weight, bias, training=True, statistics=None)
        case "group_norm":
            return form.group_norm(x, weight, bias, members=members, groups=layer.groups)
        case "layer_norm":
            return form.layer_norm(x, weight, bias, EPSILON)


def _never(source: object, shape: tuple[int, ...]) -> Any:
    raise AssertionError("nothing is drawn here")


def serve(answer: Callable[[str], None]) -> None:
    """Answers requests until the input ends."""
    while select.select([sys.stdin], [], [], IDLE_SECONDS)[0]:
        line = sys.stdin.readline()
        if not line:
            return
        request = json.loads(line)
        made = request["layer"]
        layer = Layer(**{**made, "size": tuple(made["size"]), "entry": tuple(made["entry"])})
        try:
            answer(json.dumps(asdict(check(layer, FORMS[request["form"]]))))
        except Exception as error:  # noqa: BLE001  a plug-in's form is foreign
            text = f"{type(error).__name__}: {error}"
            memory = isinstance(error, MemoryError) or "allocate memory" in text
            answer(json.dumps({"memory" if memory else "error": text}))


def main() -> None:
    """Loads plug-ins, then serves. The output of plug-ins goes to stderr."""
    threads, *plugins = sys.argv[1:]
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    torch.set_num_threads(int(threads))
    for path in plugins:
        run(Path(path))
    print("ready", file=out, flush=True)
    serve(lambda line: print(line, file=out, flush=True))


if __name__ == "__main__":
    main()
