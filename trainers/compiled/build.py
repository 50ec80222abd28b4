"""Builds the executor's library, a file for each level of instructions: needs only a C++ compiler.

A level is `avx512`, `avx2` (with FMA) or `portable` (NEON on ARM). A library's name has a hash of
the sources, so that one of other sources is never loaded. `python -m trainers.compiled.build`
builds them again.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
FLAGS = ["-std=c++17", "-O3", "-fno-math-errno", "-fPIC", "-shared", "-fvisibility=hidden"]
FLAGS += ["-pthread"]
LEVELS = {
    "avx512": [
        "-DLEVEL=512",
        *(f"-mavx512{part}" for part in ("f", "dq", "vl", "bw")),
        "-mfma",
        "-mprefer-vector-width=512",
    ],
    "avx2": ["-DLEVEL=256", "-mavx2", "-mfma"],
    "portable": ["-DLEVEL=128"],
}
X86 = ("x86_64", "amd64")


class NotBuilt(Exception):
    """The library cannot be built; the text says why."""


@cache
def version() -> str:
    """A hash of the sources and of how they are built."""
    digest = hashlib.sha256(repr((FLAGS, LEVELS)).encode())
    for path in sorted([*HERE.glob("*.hpp"), *HERE.glob("*.cpp")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def levels() -> list[str]:
    """The levels of this processor's architecture, the best first."""
    return list(LEVELS) if platform.machine().lower() in X86 else ["portable"]


def library_of(level: str) -> Path:
    """Where the library of a level lies."""
    return HERE / f"executor-{level}-{version()}.so"


def build() -> list[Path]:
    """Builds what is missing, and removes the libraries of other sources.

    Raises:
        NotBuilt: there is no compiler, or it fails.
    """
    wanted = {level: library_of(level) for level in levels()}
    for old in set(HERE.glob("executor-*.so")) - set(wanted.values()):
        old.unlink()
    missing = [level for level, path in wanted.items() if not path.exists()]
    if missing:
        compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
        if compiler is None:
            raise NotBuilt("there is no C++ compiler (g++ or clang++)")
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda level: compile_to(wanted[level], compiler, level), missing))
    return list(wanted.values())


def lacking() -> str:
    """What a machine without the library lacks, and how to get it; empty if there is one."""
    if any(library_of(level).exists() for level in levels()):
        return ""
    return (
        "the executor is not built, so a processor trains in PyTorch's forms, at about half the "
        "speed: with a C++ compiler, run python -m trainers.compiled.build"
    )


def compile_to(path: Path, compiler: str, level: str, *more: str) -> None:
    """Compiles a level, with further options.

    Raises:
        NotBuilt: the compiler fails.
    """
    made = path.with_suffix(f".{os.getpid()}")
    command = [compiler, *FLAGS, *LEVELS[level], *more, str(HERE / "executor.cpp")]
    done = subprocess.run(  # noqa: S603  the user's own compiler
        [*command, "-o", str(made)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        first = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
        raise NotBuilt(f"{compiler} fails: {first}")
    made.replace(path)


def main() -> int:
    """Prints what was built, or why it was not."""
    try:
        for path in build():
            print(path)
    except NotBuilt as error:
        print(f"the executor was not built: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
