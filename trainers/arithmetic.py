"""Checks the layers of a training step on this machine before a form may train with them.

Each distinct layer of a step is checked on its own, output and gradients, in a separate process
(`trainers.kernels`). A kernel that crashes this process counts as wrong. The cache folder keeps
the results by PyTorch version, processor, threads, form and layer.

The check covers the layers of training batches, with the number of members that will be trained.
It does not cover other batch sizes (the last batch of an epoch, evaluations) or GPUs.
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
from trainers.forms import FORMS
from trainers.shapes import Layer

LIMIT_SECONDS = 600.0  # for one layer; a process that takes longer hangs
# Sent by the user, or by a system that is out of memory. They prove nothing about a layer.
FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
# With these, glibc aborts a process at once if a kernel writes beyond its buffers.
HEAP_CHECK = {"LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3"}
# Keep large tensors in the heap: mapping and unmapping them takes a third of the check's time.
HEAP = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "536870912"}
KERNEL_CHOICES = ("ONEDNN_", "DNNL_", "MKL_", "ATEN_")
ROOT = Path(trainers.__file__).parent
READY = b"ready\n"  # the first line that the process writes


class WrongArithmetic(Exception):
    """The requested form, or every form, computes a layer wrongly here; the text names it."""


class CheckEnded(Exception):
    """A check was ended from outside or could not start, so nothing is known about the layer."""


@dataclass(frozen=True)
class Finding:
    """A layer that a form computes wrongly on this machine.

    Attributes:
        how: a description of the error.
    """

    form: str
    layer: Layer
    how: str

    def __str__(self) -> str:
        return f"form '{self.form}' is wrong on this machine: {self.layer}: {self.how}"


@dataclass(frozen=True)
class Choice:
    """The first correct form, and the errors found in the forms before it."""

    form: str
    findings: tuple[Finding, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """One sentence for the user about each form that is not used."""
        return tuple(f"{finding}; form '{self.form}' is used instead" for finding in self.findings)


class Guard:
    """Checks layers at a given number of threads; its process runs until `close`, or until idle.

    Args:
        plugins: Python files that the process runs first, because they may register forms.
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
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.close()
            self._process = None

    @staticmethod
    def has(form: str) -> bool:
        """Whether there is such a form here; a compiled one may be missing."""
        return form in FORMS

    def choose(self, layers: Iterable[Layer], *, first: str | None = None) -> Choice:
        """Returns the first form, starting from `first`, that computes all these layers correctly.

        Raises:
            WrongArithmetic: no form does.
            CheckEnded, MemoryError: the check did not finish.
        """
        distinct, findings = sorted(set(layers)), []
        for form in list(FORMS)[list(FORMS).index(first) if first else 0 :]:
            finding = self.wrong(form, distinct)
            if finding is None:
                return Choice(form, tuple(findings))
            findings.append(finding)
        raise WrongArithmetic("no form is left to train with: " + "; ".join(map(str, findings)))

    def wrong(self, form: str, layers: Iterable[Layer]) -> Finding | None:
        """Returns the first of these layers that the form computes wrongly.

        Raises:
            CheckEnded, MemoryError: the check did not finish.
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
            if "memory" in found:  # a later check may have enough memory
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
            # Without the heap check, an earlier layer may have damaged the heap: do not keep it.
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
        """Adds new results to the file, to which another process may have added in the meantime."""
        if self._new:
            whole = {"about": self._about, "layers": self._read() | self._new}
            cache.write(self._path, json.dumps(whole, indent=0).encode())
            self._new = {}


def _verdict(result: Mapping[str, Any]) -> str:
    """Returns what is wrong with a layer, in words; an empty text if it is correct.

    Raises:
        MemoryError: there is not enough memory for the layer.
    """
    if "memory" in result:
        raise MemoryError(result["memory"])
    if "died" in result:
        return f"it crashes the process ({result['died']})"
    if "error" in result:
        return f"it fails ({result['error']})"
    if result["off"] <= result["tolerance"]:
        return ""
    return (
        f"its {result['what']} is off by {result['off']:.2g} of its length, "
        f"where rounding explains {result['tolerance']:.1g}"
    )


def _environment(threads: int, plugins: Sequence[str]) -> dict[str, Any]:
    """Everything that decides which kernels compute and how they are compared."""
    sources = [ROOT / f"{name}.py" for name in ("fused", "kernels")] + sorted(
        path for path in (ROOT / "compiled").glob("*.*pp")
    )
    sources += [*sorted((ROOT / "compiled").glob("*.py")), *(Path(p) for p in plugins)]
    return {
        "torch": torch.__version__,
        "processor": processor(),
        "variables": {n: v for n, v in sorted(os.environ.items()) if n.startswith(KERNEL_CHOICES)},
        "threads": threads,
        "sources": [hashlib.sha256(path.read_bytes()).hexdigest() for path in sources],
    }


def processor() -> str:
    """The processor's model and instruction sets."""
    names = ("model name", "flags", "CPU part", "Features")
    with contextlib.suppress(OSError):
        first = Path("/proc/cpuinfo").read_text("utf-8").partition("\n\n")[0]
        return "; ".join(line for line in first.splitlines() if line.startswith(names))
    return f"{platform.machine()} {platform.processor()}"


class _Idle(Exception):
    """The process had already ended, as it does when idle, before it received the request."""


class _Died(Exception):
    """The process died at the layer that it was checking; the text describes how."""


class _Process:
    """Runs `python -m trainers.kernels` and asks it about one layer at a time."""

    def __init__(self, threads: int, plugins: Sequence[str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  `close` closes it
        self._began = False
        self._process = subprocess.Popen(  # noqa: S603  our own interpreter
            # -P: ignore a folder `trainers` in the working directory.
            [sys.executable, "-P", "-m", "trainers.kernels", str(threads), *plugins],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=_variables(threads),
            start_new_session=True,  # Ctrl-C goes to the parent only
        )

    @property
    def over(self) -> bool:
        """Returns whether the process has ended, as it does when idle."""
        return self._process.poll() is not None

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Sends a request and returns the answer.

        Raises:
            _Died: the process ended at this layer.
            _Idle: the process ended before.
            CheckEnded: the process was ended from outside, or could not start.
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
        """The process's next line; empty if it has ended."""
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101
        if select.select([stdout], [], [], LIMIT_SECONDS)[0]:
            return stdout.readline()
        self.close()
        raise CheckEnded(f"the check of a layer took more than {LIMIT_SECONDS:g} s")

    def _end(self) -> tuple[int, str]:
        """The exit code, and the last line that the process wrote about its end."""
        code = self._process.wait()
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        self.close()
        return code, last

    def close(self) -> None:
        """Ends the process and closes its pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _variables(threads: int) -> dict[str, str]:
    """The environment variables of the process: no GPU, and this package's `trainers`."""
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
