"""The executor under sanitizers: it reads and writes only its own memory, and when it may."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from compiled_packs import BEST, COMPILED
from patience import HANG

from trainers.compiled import build

pytestmark = [
    pytest.mark.soak,  # a minute to compile
    pytest.mark.skipif(not COMPILED, reason="the executor's library is not built"),
]

_PRELUDE = """
from pathlib import Path
from trainers.compiled import library
setattr(library, "library_of", lambda level: Path({built!r}))
"""

_STEPS = """
from compiled_packs import LEVERS, NETWORKS, noise, gradient, pack
images = noise((7, 5, 3))
for settings in (*NETWORKS.values(), *LEVERS.values()):
    trainer = pack(images, "compiled_{level}", members=2, batch_size=9, epochs=1, **settings)
    gradient(trainer)
    trainer.update(next(iter(trainer.feed.batches(0, 1))))
    trainer.evaluate()
"""

_STEPS_OF_TEAMS = """
import torch
from compiled_packs import NETWORKS, noise, gradient, pack
images = noise((24, 24, 3))
for network in ("batch norm", "no norm", "preactivation", "padded shortcuts", "group norm"):
    for members, threads in ((1, 2), (5, 3)):
        torch.set_num_threads(threads)
        settings = {{**NETWORKS[network], "width": 1.0, "epochs": 1}}
        trainer = pack(images, "compiled_{level}", members=members, **settings)
        gradient(trainer)
        trainer.update(next(iter(trainer.feed.batches(0, 1))))
        trainer.evaluate()
"""


def _sanitized(
    folder: Path, sanitizers: str, steps: str
) -> tuple[str, subprocess.CompletedProcess[str]]:
    """The name of a library built with sanitizers, and how the steps ended with it."""
    compiler, level = os.environ.get("CXX", "g++"), BEST.removeprefix("compiled_")
    path = folder / f"sanitized-{level}.so"
    options = ["-O1", "-g", f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"]
    build.compile_to(path, compiler, level, *options)
    names = {"address": "asan", "undefined": "ubsan", "thread": "tsan"}
    found = [
        subprocess.run(
            [compiler, f"-print-file-name=lib{name}.so"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in (*(names[one] for one in sanitizers.split(",")), "stdc++")
    ]
    program = _PRELUDE.format(built=str(path)) + steps.format(level=level) + "print('done')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {
            "LD_PRELOAD": " ".join(found),
            "ASAN_OPTIONS": "detect_leaks=0",
            "TSAN_OPTIONS": "exitcode=0",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        capture_output=True, text=True, timeout=HANG, check=False,
    )  # fmt: skip
    return path.name, done


def test_the_executor_reads_and_writes_only_its_own_memory(tmp_path: Path) -> None:
    """Every network and lever under the address and the undefined-behaviour sanitizer."""
    _, done = _sanitized(tmp_path, "address,undefined", _STEPS + _STEPS_OF_TEAMS)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-2000:]


def test_threads_read_only_what_others_have_finished(tmp_path: Path) -> None:
    """The thread sanitizer finds no data race in the executor; those in PyTorch are not counted."""
    name, done = _sanitized(tmp_path, "thread", _STEPS_OF_TEAMS)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-2000:]
    reports = done.stderr.split("WARNING: ThreadSanitizer: ")[1:]
    assert [report for report in reports if name in report] == []
