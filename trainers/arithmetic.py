"""The guard: no form computes a training step here before its layers were checked here.

Each distinct layer of a step is checked alone, output and gradients, in a process of its own
(`trainers.kernels`): a kernel that ends its process is wrong. What was found is kept in the cache
folder, by PyTorch, processor, threads, form and layer.

Checked are the layers of the training batches, with as many members as will be trained. Not
checked: other batch sizes (the last batch of an epoch, evaluations) and GPUs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

import trainers
from trainers import cache
from trainers.fused import FORMS
from trainers.shapes import Layer

LIMIT_SECONDS = 600.0  # for one layer: who takes longer hangs
# From outside: by the user, or by a system without memory. It says nothing about a layer.
FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
# With it, glibc aborts a process whose kernels write beyond their buffers, at once and surely.
HEAP_CHECK = {"LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3"}
# Large tensors stay in the heap: mapping and unmapping each costs a third of the whole check.
HEAP = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "536870912"}
KERNEL_CHOICES = ("ONEDNN_", "DNNL_", "MKL_", "ATEN_")
ROOT = Path(trainers.__file__).parent
READY = b"ready\n"  # the first line of the process


class WrongArithmetic(Exception):
    """A form that was asked for is wrong here, or every form is; the text names the layer."""


class CheckEnded(Exception):
    """A check was ended from outside, or could not begin: nothing is known."""


@dataclass(frozen=True)
class Finding:
    """A layer that a form computes wrongly on this machine.

    Attributes:
        how: what is wrong, in words.
    """

    form: str
    layer: Layer
    how: str

    def __str__(self) -> str:
        return f"form '{self.form}' is wrong on this machine: {self.layer}: {self.how}"


@dataclass(frozen=True)
class Choice:
    """The first form that is right, and what is wrong with those before it."""

    form: str
    findings: tuple[Finding, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """A sentence for the user on each form that is not used."""
        return tuple(f"{finding}; form '{self.form}' is used instead" for finding in self.findings)


class Guard:
    """Checks layers with so many threads; its process lives until `close`, or ends when idle.

    Args:
        plugins: Python files to run in that process first: they may bring forms.
    """

    def __init__(self, *, threads: int, plugins: Sequence[str] = ()) -> None:
        self._threads, self._plugins = threads, tuple(plugins)
        environment = _environment(threads, plugins)
        text = json.dumps(environment, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._path = cache.root() / cache.ARITHMETIC / f"{name}.json"
        self._about = environment
        self._known = self._read()
        self._new: dict[str, dict[str, Any]] = {}
        self._process: _Process | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def choose(self, layers: Iterable[Layer], *, first: str | None = None) -> Choice:
        """The first form, from `first` on, that computes all of these layers right.

        Raises:
            WrongArithmetic: none does.
            CheckEnded, MemoryError: the check did not come to its end.
        """
        distinct, findings = sorted(set(layers)), []
        for form in list(FORMS)[list(FORMS).index(first) if first else 0 :]:
            finding = self.wrong(form, distinct)
            if finding is None:
                return Choice(form, tuple(findings))
            findings.append(finding)
        raise WrongArithmetic("no form is left to train with: " + "; ".join(map(str, findings)))

    def wrong(self, form: str, layers: Iterable[Layer]) -> Finding | None:
        """The first of these layers that the form computes wrongly.

        Raises:
            CheckEnded, MemoryError: the check did not come to its end.
        """
        try:
            for layer in sorted(set(layers)):
                how = _verdict(self._result(form, layer))
                if how:
                    return Finding(form, layer, how)
            return None
        finally:
            self._keep()

    def _result(self, form: str, layer: Layer) -> dict[str, Any]:
        key = f"{form} {json.dumps(asdict(layer))}"
        if key not in self._known:
            found = self._asked(form, layer)
            if "memory" in found:  # there may be more the next time
                return found
            self._known[key] = self._new[key] = found
        return self._known[key]

    def _asked(self, form: str, layer: Layer) -> dict[str, Any]:
        request = {"form": form, "layer": asdict(layer)}
        try:
            with contextlib.suppress(_Idle):
                return self._running().ask(request)
            return self._running().ask(request)
        except _Idle:
            return {"died": "exit code 0"}
        except _Died as death:
            # Where the heap is not watched, an earlier layer may have broken it: not to be kept.
            for key in self._new:
                del self._known[key]
            self._new.clear()
            return {"died": str(death)}

    def _running(self) -> _Process:
        if self._process is None or self._process.over:
            self._process = _Process(self._threads, self._plugins)
        return self._process

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            return dict(json.loads(self._path.read_bytes())["layers"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def _keep(self) -> None:
        """Adds what is new to the file; another process may have added to it."""
        if self._new:
            whole = {"about": self._about, "layers": self._read() | self._new}
            cache.write(self._path, json.dumps(whole, indent=0).encode())
            self._new = {}


def _verdict(result: Mapping[str, Any]) -> str:
    """What is wrong with a layer, in words; nothing where it is right.

    Raises:
        MemoryError: there was no room for the layer.
    """
    if "memory" in result:
        raise MemoryError(result["memory"])
    if "died" in result:
        return f"it ends the process ({result['died']})"
    if "error" in result:
        return f"it fails ({result['error']})"
    if result["off"] <= result["tolerance"]:
        return ""
    return (
        f"its {result['what']} is off by {result['off']:.2g} of its length, "
        f"where rounding explains {result['tolerance']:.1g}"
    )


def _environment(threads: int, plugins: Sequence[str]) -> dict[str, Any]:
    """All that decides which kernels compute, and what they are compared by."""
    sources = [ROOT / f"{name}.py" for name in ("fused", "kernels")] + [Path(p) for p in plugins]
    return {
        "torch": torch.__version__,
        "processor": processor(),
        "variables": {n: v for n, v in sorted(os.environ.items()) if n.startswith(KERNEL_CHOICES)},
        "threads": threads,
        "sources": [hashlib.sha256(path.read_bytes()).hexdigest() for path in sources],
    }


def processor() -> str:
    """The processor's model and what it can do."""
    names = ("model name", "flags", "CPU part", "Features")
    with contextlib.suppress(OSError):
        first = Path("/proc/cpuinfo").read_text("utf-8").partition("\n\n")[0]
        return "; ".join(line for line in first.splitlines() if line.startswith(names))
    return f"{platform.machine()} {platform.processor()}"


class _Idle(Exception):
    """The process had ended, as it does when idle, before it took the request."""


class _Died(Exception):
    """The process ended at the layer that it had been asked for; the text says how."""


class _Process:
    """`python -m trainers.kernels`, asked one layer at a time."""

    def __init__(self, threads: int, plugins: Sequence[str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  `close` closes it
        self._began = False
        self._process = subprocess.Popen(  # noqa: S603  our own interpreter
            # -P: a folder `trainers` in the working directory is not ours.
            [sys.executable, "-P", "-m", "trainers.kernels", str(threads), *plugins],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=_variables(threads),
            start_new_session=True,  # Ctrl-C is for the parent
        )

    @property
    def over(self) -> bool:
        """Whether it has ended, as it does when idle."""
        return self._process.poll() is not None

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What it found.

        Raises:
            _Died, _Idle: it ended at this layer, or before.
            CheckEnded: it was ended from outside, or could not begin.
        """
        began = self._began or self._line() == READY
        if not began:
            raise CheckEnded(f"the check of the arithmetic cannot run: {self._end()[1]}")
        self._began, stdin = True, self._process.stdin
        assert stdin is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()
        line = self._line()
        if line:
            return json.loads(line)
        code, last = self._end()
        if code == 0:
            raise _Idle
        if -code in FROM_OUTSIDE:
            raise CheckEnded(f"the check of the arithmetic was ended by signal {-code}")
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise _Died(": ".join(filter(None, [name, last])))

    def _line(self) -> bytes:
        """Its next line, nothing where it has ended."""
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101
        if select.select([stdout], [], [], LIMIT_SECONDS)[0]:
            return stdout.readline()
        self.close()
        raise CheckEnded(f"the check of a layer took more than {LIMIT_SECONDS:g} s")

    def _end(self) -> tuple[int, str]:
        """The exit code, and the last line that it wrote about it."""
        code = self._process.wait()
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        self.close()
        return code, last

    def close(self) -> None:
        """Ends it, and frees its pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _variables(threads: int) -> dict[str, str]:
    """The environment of the process: no GPU, and our own `trainers`."""
    paths = [str(ROOT.parent), os.environ.get("PYTHONPATH", "")]
    preloaded = [HEAP_CHECK["LD_PRELOAD"], os.environ.get("LD_PRELOAD", "")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "CUDA_VISIBLE_DEVICES": "",
        **HEAP,
        **HEAP_CHECK,
        "LD_PRELOAD": " ".join(filter(None, preloaded)),
    }
